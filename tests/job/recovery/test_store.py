from __future__ import annotations

import ast
import contextlib
import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import InconsistentPartitionsError, RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from bytewax.testing import TestingSink

from ewma_ops.errors import ConfigError, StateError
from ewma_ops.job.recovery.guard import guard_parts
from ewma_ops.job.recovery.manifest import Beginning, InputNote
from ewma_ops.job.recovery.part_files import ResumePoint, purge_ghosts
from ewma_ops.job.recovery.store import RecoveryStore
from tests.helpers.patience import PATIENCE_S

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
JOB: dict[str, str | int] = {"input topic": "readings", "output partitions": 4}


class _Part(StatefulSourcePartition[tuple[str, int], int]):
    def __init__(self, batches: list[list[tuple[str, int]]], start: int) -> None:
        self.batches, self.at, self.polls = batches, start, 0

    def next_batch(self) -> list[tuple[str, int]]:
        if self.at == len(self.batches):
            raise StopIteration
        self.polls += 1
        if not self.batches[self.at] and self.polls > 2:  # two empty epochs, then a crash
            os.kill(os.getpid(), signal.SIGKILL)
        batch = self.batches[self.at]
        self.at += bool(batch)
        return batch

    def snapshot(self) -> int:
        return self.at


class Batches(FixedPartitionedSource[tuple[str, int], int]):
    """One batch an epoch; an empty batch stands for a broker that has nothing yet."""

    def __init__(self, batches: list[list[tuple[str, int]]]) -> None:
        self.batches = batches

    def list_parts(self) -> list[str]:
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Part:
        return _Part(self.batches, resume_state or 0)


def run(
    parts: Path, batches: list[list[tuple[str, int]]], crash_at: int | None = None
) -> list[tuple[str, int]]:
    """Add up the numbers of each key, an epoch per batch; crash in the epoch of one number."""

    def add(total: int | None, n: int) -> tuple[int, int]:
        if n == crash_at:
            die_before_the_frontier()
        return (total or 0) + n, (total or 0) + n

    out: list[tuple[str, int]] = []
    flow = Dataflow("counting")
    stream = op.input("in", flow, Batches(batches))
    op.output("out", op.stateful_map("count", stream, add), TestingSink(out))
    recovery = RecoveryConfig(parts)
    cli_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)
    return out


def die_before_the_frontier() -> None:
    """Have the frontier's part file locked; the alarm kills us with the snapshots written."""
    print("lock it", flush=True)
    sys.stdin.readline()
    signal.setitimer(signal.ITIMER_REAL, 0.5)


def run_and_crash(
    parts: Path, batches: list[list[tuple[str, int]]], crash_at: int | None = None
) -> None:
    arguments = [sys.executable, __file__, str(parts), repr((batches, crash_at))]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, env=ENV, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        if crash_at is not None:
            child.stdout.readline()
            (path,) = (p for p in parts.glob("*.sqlite3") if rows(p, "SELECT 1 FROM fronts"))
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as part:
                part.execute("BEGIN IMMEDIATE")
                child.communicate("go\n", timeout=PATIENCE_S)
    assert child.returncode < 0


def new_parts(directory: Path, count: int) -> None:
    init_db_dir(directory, count)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as part:
        return part.execute(query).fetchall()


SNAPSHOTS = "SELECT state_key, snap_epoch FROM snaps WHERE step_id LIKE '%.count.%'"


@pytest.mark.slow
@pytest.mark.parametrize(("purge", "total"), [(False, 11 + 100), (True, 11)])
def test_ghosts_are_loaded_by_bytewax_unless_purged(
    tmp_path: Path, purge: bool, total: int
) -> None:
    readings = [[("a", 1)], [("a", 10)], [("a", 100)]]
    new_parts(tmp_path, 3)
    run_and_crash(tmp_path, readings, crash_at=100)
    assert ("a", 3) in rows_of_all(tmp_path, SNAPSHOTS)
    if purge:
        assert purge_ghosts(tmp_path) == ResumePoint(epoch=3, purged=2)
    run_and_crash(tmp_path, [*readings[:2], []])
    if purge:
        purge_ghosts(tmp_path)
    assert run(tmp_path, readings) == [("a", total + 100)]


EXECUTIONS = "INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (?, ?, ?)"
FRONTIERS = "INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (?, ?, ?)"


def change(path: Path, query: str, *values: tuple[object, ...]) -> None:
    with contextlib.closing(sqlite3.connect(path)) as part, part:
        part.executemany(query, values or [()])


@pytest.mark.parametrize(
    ("executions", "frontiers", "epoch"),
    [
        ([], [], 1),
        ([(0, 1, 1)], [], 1),
        ([(0, 2, 1)], [(0, 0, 9), (0, 1, 8)], 8),
        ([(0, 2, 1)], [(0, 0, 9)], 1),  # worker 1 never wrote: where the execution began
        ([(0, 1, 1), (1, 3, 11)], [(0, 0, 50), (1, 0, 13), (1, 2, 13)], 11),
        ([(0, 1, 1), (1, 2, 11)], [(0, 0, 11), (1, 0, 13), (1, 1, 12)], 12),
        ([(0, 2, 1), (1, 1, 11)], [(0, 0, 11), (0, 1, 11), (1, 0, 7)], 11),  # below its start
    ],
)
def test_the_resume_epoch_is_the_one_bytewax_takes(
    tmp_path: Path,
    executions: list[tuple[object, ...]],
    frontiers: list[tuple[object, ...]],
    epoch: int,
) -> None:
    new_parts(tmp_path, 2)
    for i, row in enumerate(executions):
        change(tmp_path / f"part-{i % 2}.sqlite3", EXECUTIONS, row)
    for i, row in enumerate(frontiers):
        change(tmp_path / f"part-{(i + 1) % 2}.sqlite3", FRONTIERS, row)
    assert purge_ghosts(tmp_path).epoch == epoch
    run(tmp_path, [])
    query = "SELECT ex_num, resume_epoch FROM exs"
    assert (len(executions), epoch) in rows_of_all(tmp_path, query)


def rows_of_all(parts: Path, query: str) -> list[tuple[object, ...]]:
    return [row for path in sorted(parts.glob("*.sqlite3")) for row in rows(path, query)]


def test_only_rows_from_the_resume_epoch_on_are_purged(tmp_path: Path) -> None:
    new_parts(tmp_path, 2)
    change(tmp_path / "part-0.sqlite3", EXECUTIONS, (0, 1, 1))
    change(tmp_path / "part-1.sqlite3", FRONTIERS, (0, 0, 7))
    snapshot = "INSERT INTO snaps (step_id, state_key, snap_epoch) VALUES ('s', 'k', ?)"
    change(tmp_path / "part-0.sqlite3", snapshot, (5,), (6,), (7,), (8,))
    change(tmp_path / "part-1.sqlite3", snapshot, (2,), (7,))
    assert purge_ghosts(tmp_path) == ResumePoint(epoch=7, purged=3)
    assert rows_of_all(tmp_path, "SELECT snap_epoch FROM snaps") == [(5,), (6,), (2,)]


def test_parts_of_different_moments_are_refused_as_bytewax_would(tmp_path: Path) -> None:
    new_parts(tmp_path, 2)
    change(tmp_path / "part-0.sqlite3", EXECUTIONS, (0, 1, 5))
    change(
        tmp_path / "part-1.sqlite3", "INSERT INTO commits (part_index, commit_epoch) VALUES (1, 9)"
    )
    with pytest.raises(StateError, match=r"older than epoch 9.* epoch 5 only"):
        purge_ghosts(tmp_path)
    with pytest.raises(InconsistentPartitionsError):
        run(tmp_path, [])


def prepared(directory: Path, changes: dict[str, str | int] | None = None) -> ResumePoint:
    with RecoveryStore(directory) as store:
        return store.prepare({**JOB, **(changes or {})})


def test_a_store_is_created_once_and_then_found_again(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    assert prepared(state) == ResumePoint(epoch=1, purged=0, created=True)
    assert prepared(state) == ResumePoint(epoch=1, purged=0, created=False)
    assert run(state / "parts", [[("a", 1)]]) == [("a", 1)]
    assert prepared(state).epoch > 1
    assert run(state / "parts", [[("a", 1)], [("a", 1)]]) == [("a", 2)]


def test_a_store_has_large_pages_and_keeps_its_journal(tmp_path: Path) -> None:
    prepared(tmp_path)
    assert run(tmp_path / "parts", [[("a", 1)]]) == [("a", 1)]
    for path in (tmp_path / "parts").glob("*.sqlite3"):
        with contextlib.closing(sqlite3.connect(path)) as part:
            assert part.execute("PRAGMA page_size").fetchone() == (16_384,)
            assert part.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_creation_cut_short_is_done_again(tmp_path: Path) -> None:
    new_parts(tmp_path, 1)
    draft = tmp_path / "state" / "parts.new"
    draft.mkdir(parents=True)
    (tmp_path / "part-0.sqlite3").rename(draft / "part-0.sqlite3")
    assert prepared(tmp_path / "state").created
    (tmp_path / "state" / "manifest.json").unlink()  # cut short between the two steps
    assert prepared(tmp_path / "state").epoch == 1


def test_another_job_is_refused_key_by_key(tmp_path: Path) -> None:
    prepared(tmp_path, {"shards": 16})
    with pytest.raises(StateError) as caught:
        prepared(tmp_path, {"output partitions": 8, "smoothing": "beta=0.9"})
    text = str(caught.value)
    assert "output partitions was 4, now 8" in text
    assert "shards was 16, now not set" in text
    assert "smoothing was not set, now 'beta=0.9'" in text
    assert "input topic" not in text
    assert "another directory" in text
    prepared(tmp_path, {"shards": 16})


def test_used_parts_without_a_manifest_are_refused(tmp_path: Path) -> None:
    prepared(tmp_path)
    run(tmp_path / "parts", [[("a", 1)]])
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(StateError, match="nothing says which job"):
        prepared(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 6}', '{"format": 7, "job": {}}'])
def test_a_damaged_or_newer_manifest_is_refused(tmp_path: Path, text: str) -> None:
    prepared(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StateError, match=r"manifest\.json' (is damaged|has format 7)"):
        prepared(tmp_path)


def test_a_store_of_an_older_format_is_refused(tmp_path: Path) -> None:
    prepared(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 2, "job": {}, "began": {}}')
    before = (tmp_path / "parts" / "part-0.sqlite3").read_bytes()
    with pytest.raises(StateError) as refused:
        prepared(tmp_path)
    text = str(refused.value)
    assert "manifest.json' has format 2, not 6: run the version of ewma_ops that wrote it" in text
    assert (tmp_path / "parts" / "part-0.sqlite3").read_bytes() == before


def test_missing_part_files_are_refused(tmp_path: Path) -> None:
    prepared(tmp_path)
    (tmp_path / "parts" / "part-2.sqlite3").unlink()
    with pytest.raises(StateError, match=r"holds 3 part files .*, not the 4"):
        prepared(tmp_path)
    for path in (tmp_path / "parts").iterdir():
        path.unlink()
    with pytest.raises(StateError, match="holds 0 part files"):
        prepared(tmp_path)


def test_part_files_of_two_stores_are_refused(tmp_path: Path) -> None:
    prepared(tmp_path)
    new_parts(tmp_path, 3)
    (tmp_path / "part-2.sqlite3").rename(tmp_path / "parts" / "part-2.sqlite3")
    with pytest.raises(StateError, match="belong together"):
        prepared(tmp_path)


@pytest.mark.parametrize("offset", [0, 100, 16_384 * 3])
def test_a_damaged_part_file_is_refused(tmp_path: Path, offset: int) -> None:
    prepared(tmp_path)
    path = tmp_path / "parts" / "part-1.sqlite3"
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 64)
    with pytest.raises(StateError, match=r"part-1\.sqlite3' is damaged"):
        prepared(tmp_path)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    prepared(tmp_path)
    change(tmp_path / "parts" / "part-0.sqlite3", "PRAGMA user_version = 6")
    with pytest.raises(StateError, match="schema version 6, not 5"):
        prepared(tmp_path)


def test_another_bytewax_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.22.0")
    with pytest.raises(ConfigError, match=r"bytewax 0.22.0 is installed.*bytewax==0.21.1"):
        prepared(tmp_path)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    for path in (tmp_path / "state", tmp_path / "state" / "deeper"):
        with pytest.raises(ConfigError, match="name a directory"):
            prepared(path)


@contextlib.contextmanager
def nobody(directory: Path) -> Iterator[None]:
    """Run without the right to write to the directory, even where the tests run as root."""
    user = os.geteuid()
    directory.chmod(0o555)
    if user == 0:
        for parent in [directory, *directory.parents][:-2]:  # pytest's directories are private
            parent.chmod(parent.stat().st_mode | 0o055)
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        directory.chmod(0o755)


def test_an_unwritable_directory_is_refused(tmp_path: Path) -> None:
    with nobody(tmp_path):
        for path in (tmp_path, tmp_path / "state"):
            with pytest.raises(ConfigError, match=r"cannot be written to.*make it writable"):
                prepared(path)


def test_an_unwritable_part_file_is_refused(tmp_path: Path) -> None:
    prepared(tmp_path)
    (tmp_path / "lock").chmod(0o666)
    (tmp_path / "parts" / "part-0.sqlite3").chmod(0o444)
    with nobody(tmp_path), pytest.raises(ConfigError, match=r"cannot be written to.*make it"):
        prepared(tmp_path)


def test_a_store_in_use_is_refused_until_its_last_holder_is_gone(tmp_path: Path) -> None:
    with RecoveryStore(tmp_path) as store:
        store.prepare(JOB)
        with pytest.raises(StateError, match=f"in use by process {os.getpid()}: stop that run"):
            prepared(tmp_path)
        heir = subprocess.Popen(["sleep", "60"], pass_fds=[store.lock_fd])
    try:
        with pytest.raises(StateError, match="in use"):
            prepared(tmp_path)
    finally:
        heir.kill()
        heir.wait()
    prepared(tmp_path)


def test_a_holder_that_died_before_its_workers_is_named_so(tmp_path: Path) -> None:
    prepared(tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        print(dead.pid, file=file, flush=True)
        with pytest.raises(StateError, match=f"process {dead.pid}, which is gone while a worker"):
            prepared(tmp_path)


@pytest.mark.slow
def test_parts_given_to_bytewax_itself_are_locked_and_cleaned(tmp_path: Path) -> None:
    prepared(tmp_path / "state")
    parts = tmp_path / "state" / "parts"
    snapshot = "INSERT INTO snaps (step_id, state_key, snap_epoch) VALUES ('s', 'k', 1)"
    change(parts / "part-0.sqlite3", snapshot)
    program = "import sys; from ewma_ops.job.recovery.guard import guard_parts\n"
    program += f"print(guard_parts(sys.argv[1], {JOB!r}).purged, flush=True); sys.stdin.read()"
    line = [sys.executable, "-c", program, str(parts)]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, env=ENV, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "1\n"
        with pytest.raises(StateError, match=f"in use by process {child.pid}"):
            prepared(tmp_path / "state")
        child.communicate("", timeout=PATIENCE_S)
    prepared(tmp_path / "state")
    with pytest.raises(StateError, match="belongs to another job: output partitions was 4, now 8"):
        guard_parts(parts, {**JOB, "output partitions": 8})
    with pytest.raises(ConfigError, match=r"python -m bytewax.recovery"):
        guard_parts(tmp_path / "absent", JOB)


def test_an_unlocked_store_is_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="with block"):
        RecoveryStore(tmp_path).prepare(JOB)


if __name__ == "__main__":
    run(Path(sys.argv[1]), *ast.literal_eval(sys.argv[2]))


def test_a_store_of_other_topics_is_not_said_to_be_of_recreated_ones(tmp_path: Path) -> None:
    was = {"input topic": "a", "input topic id": "A", "output topic": "b", "output topic id": "B"}
    now = {"input topic": "c", "input topic id": "C", "output topic": "d", "output topic id": "D"}
    with RecoveryStore(tmp_path / "state") as store:
        store.prepare(was)
        with pytest.raises(StateError) as refused:
            store.prepare(now)
        assert str(refused.value).endswith(
            "belongs to another job: input topic was 'a', now 'c'; output topic was 'b', now 'd'. "
            "Give each job a recovery directory of its own, or set the old values again"
        )
        with pytest.raises(StateError, match="The output topic was deleted and created again"):
            store.prepare({**was, "output topic id": "D"})


def test_where_a_job_began_is_noted_once(tmp_path: Path) -> None:
    with RecoveryStore(tmp_path / "state") as store:
        assert store.noted is None
        store.prepare(JOB, lambda: Beginning({0: 7, 10: 0}, {"smoothed": 3}))
        store.prepare(JOB, lambda: Beginning({0: 9}))
        assert store.noted is not None
        assert store.noted.beginning == Beginning({0: 7, 10: 0}, {"smoothed": 3})
        assert store.noted.job == JOB


def test_a_job_may_read_more_topics_and_not_others(tmp_path: Path) -> None:
    one = {"input topic": "b", "input topic id": "B"}
    two = {"input topic": "a, b", "input topic id": "A, B"}
    with RecoveryStore(tmp_path / "state") as store:
        store.prepare(one, lambda: Beginning({0: 7}, {"smoothed": 3}))
        more = Beginning({0: 7, 1: 0}, {"smoothed": 3}, {1: InputNote("a", 2)})
        store.prepare(two, extend=lambda _: more)
        assert store.noted == (two, more)
        for other in (one, {**two, "input topic id": "A, C"}, {"input topic": "pattern a|b"}):
            with pytest.raises(StateError, match="belongs to another job: input topic"):
                store.prepare(other)
        assert store.noted == (two, more)
