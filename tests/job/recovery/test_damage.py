"""A recovery store with flipped bits: refused with a sentence, or resumed without a wrong event."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import stat
from pathlib import Path

import pytest

from ewma_ops.columns.sealed import check_pickle
from ewma_ops.errors import StateError
from ewma_ops.job.recovery.part_files import open_part, part_files
from ewma_ops.job.recovery.store import RecoveryStore
from tests.helpers.jobs import Job, Watch, assert_same, assert_told, ewma, made_up, pandas_says

READINGS = made_up(600, 20)


def killed(job: Job) -> None:
    """Run the job over a third of the readings, and end it without a last snapshot."""
    job.configure(input={"stop": "never"})
    with job.running() as run, Watch(job.bootstrap, job.output) as watch:
        job.send(READINGS[:200])
        watch.until(200)
        run.kill()
        run.communicate()
    job.configure()


def flip(path: Path, random_: random.Random, bits: int) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(bits):
        at = random_.randrange(8 * len(data))
        data[at // 8] ^= 1 << at % 8
    path.write_bytes(data)


def flip_snapshot(parts: Path) -> None:
    """Flip four bits in the numbers of a shard's snapshot, wherever it stands."""
    for path in sorted(parts.glob("*.sqlite3*")):
        data = bytearray(path.read_bytes())
        at = data.find(b'{"kind": "shard"')
        if at >= 0:
            for bit in (3, 17, 40, 61):
                data[at + 60 + bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)


def test_a_damaged_snapshot_is_refused_and_a_new_directory_gives_exactly_once(
    embedded: str, tmp_path: Path
) -> None:
    job = Job(embedded, tmp_path)
    job.send(READINGS[:200])
    job.run()
    flip_snapshot(job.state / "parts")
    job.send(READINGS[200:])
    done = ewma("run", str(job.path))
    assert_told(done, 2, "a snapshot is damaged (its checksum is wrong)", "start over with a new")
    job.configure(recovery={"directory": str(tmp_path / "another")})
    job.run()
    assert_same(job.events(len(READINGS)), pandas_says(READINGS))
    assert len([e for events in job.events(600).values() for e in events]) == len(READINGS)


def loaded(state: Path, identity: dict[str, str]) -> tuple[int, dict[tuple[str, str], bytes]]:
    """Return the epoch and the snapshots that Bytewax would resume with."""
    with RecoveryStore(state) as store:
        epoch = store.prepare(identity, sound=check_pickle).epoch
    found: dict[tuple[str, str], tuple[int, bytes]] = {}
    for path in part_files(state / "parts"):
        with contextlib.closing(open_part(path)) as part:
            for step, key, at, pickled in part.execute(
                "SELECT step_id, state_key, snap_epoch, ser_change FROM snaps"
            ):
                found[step, key] = max(found.get((step, key), (0, b"")), (at, pickled))
    return epoch, {name: pickled for name, (_, pickled) in found.items()}


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_flipped_bits_anywhere_are_refused_or_harmless(
    embedded: str, tmp_path: Path, end: str
) -> None:
    job = Job(embedded, tmp_path)
    if end == "killed":
        killed(job)
    else:
        job.send(READINGS[:200])
        job.run()
    copy, tried = tmp_path / "copy", tmp_path / "tried"
    job.state.rename(copy)
    shutil.copytree(copy, tried)
    identity = json.loads((copy / "manifest.json").read_bytes())["job"]
    whole = loaded(tried, identity)
    files = [path.relative_to(copy) for path in sorted(copy.rglob("*")) if path.name != "lock"]
    files = [path for path in files if (copy / path).is_file() and "-" not in path.name[-5:]]
    random_ = random.Random(1)
    refusals: list[str] = []
    for _ in range(200):
        shutil.rmtree(tried)
        shutil.copytree(copy, tried)
        name = random_.choice(files)
        flip(tried / name, random_, 4)
        try:
            assert loaded(tried, identity) == whole, name
        except StateError as refusal:
            refusals.append(str(refusal))
    assert len(refusals) > 30
    assert not [text for text in refusals if "start over with a new" not in text]


def test_a_store_is_closed_to_others(embedded: str, tmp_path: Path) -> None:
    job = Job(embedded, tmp_path)
    killed(job)
    assert stat.S_IMODE(job.state.stat().st_mode) == 0o700
    for path in job.state.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert len(list(job.state.rglob("*-wal"))) == 4
    assert "open to other users" not in job.run()
    job.state.chmod(0o755)
    assert "is open to other users (mode 0755)" in job.run()
