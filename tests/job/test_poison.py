"""Messages that are made to stop or to starve the flow: each ends as a letter, the rest flows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.brokers import Record, make_topic, produce, read_all, set_configs
from tests.helpers.jobs import START_MS, Job, Reading, assert_same, ewma, pandas_says

GOOD = [Reading("good", START_MS + i, float(i)) for i in range(20)]


def job_with(
    kafka: str,
    directory: Path,
    output: Mapping[str, str] | None = None,
    dead_letters: Mapping[str, str] | None = None,
) -> Job:
    """Return a job whose topics have options of their own."""
    job = Job(kafka, directory, partitions=(1, 1, 1))
    if output is not None:
        job.output = make_topic(kafka, 1, "smoothed", output)
    if dead_letters is not None:
        job.dead_letters = make_topic(kafka, 1, "dead-letters", dead_letters)
    job.configure()
    return job


def headers(letter: object) -> dict[str, bytes]:
    return dict(letter.headers)  # type: ignore[attr-defined]


def test_a_letter_is_cut_to_what_its_topic_takes(kafka: str, tmp_path: Path) -> None:
    job = job_with(kafka, tmp_path, dead_letters={"max.message.bytes": "100000"})
    poison = Record(b"x" * 300_000, b"key", [("h", b"1")])
    produce(kafka, job.input, [poison])
    job.send(GOOD)
    checked = ewma("check", str(job.path))
    assert checked.returncode == 0
    assert "set dead_letters.max_bytes = 99872, or raise max.message.bytes" in checked.stdout
    said = job.run()
    assert said.count("started 1 worker") == 1
    assert "dead_letters.max_bytes is 1000000" in said
    assert_same(job.events(len(GOOD)), pandas_says(GOOD))
    [letter] = job.letters(1)
    assert headers(letter)["ewma-cut"] == b"3 300000"
    assert len(letter.value) > 99_000
    job.configure(dead_letters={"max_bytes": 99_872})  # as advised
    assert "dead_letters.max_bytes" not in ewma("check", str(job.path)).stdout


def test_a_topic_that_refuses_letters_is_found_before_the_run_and_the_fix_works(
    kafka: str, tmp_path: Path
) -> None:
    job = job_with(kafka, tmp_path, dead_letters={"cleanup.policy": "compact"})
    produce(kafka, job.input, [Record(b"no reading")])
    job.send(GOOD)
    done = ewma("run", str(job.path))
    assert done.returncode == 2
    assert "started 1 worker" not in done.stderr
    assert f"topic '{job.dead_letters}' (dead_letters.topic) is compacted" in done.stderr
    assert "--add-config cleanup.policy=delete" in done.stderr
    assert "Traceback" not in done.stderr
    set_configs(kafka, job.dead_letters, {"cleanup.policy": "delete"})
    job.run()
    assert_same(job.events(len(GOOD)), pandas_says(GOOD))
    assert len(job.letters(1)) == 1


def test_a_little_that_stands_for_a_lot_is_a_letter(kafka: str, tmp_path: Path) -> None:
    job = job_with(kafka, tmp_path)
    blanks = b" " * (150 << 20)
    options = {"compression_type": "gzip", "max_request_size": 1 << 30}
    produce(kafka, job.input, [Record(blanks, b"key")], **options)
    del blanks
    job.send(GOOD)
    said = job.run()
    assert said.count("started 1 worker") == 1
    assert_same(job.events(len(GOOD)), pandas_says(GOOD))
    [letter] = job.letters(1)
    assert headers(letter)["ewma-cause"] == b"value-too-long"
    assert headers(letter)["ewma-cut"] == b"3 8388609"
    assert (letter.key, letter.value[:9]) == (b"key", b" " * 9)
    done = ewma("verify", str(job.path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("advice", ["raise max.message.bytes", "lower input.max_id_bytes"])
def test_a_topic_that_may_not_take_every_event_is_refused_before_it_stops_the_flow(
    kafka: str, tmp_path: Path, advice: str
) -> None:
    job = Job(kafka, tmp_path, (1, 1, 1))
    small = make_topic(kafka, 1, "small", {"max.message.bytes": "5000"})
    own = {"series_id": None, "time": None, "key": "text"}
    job.configure(output={"topic": small}, input=own)
    for command in ("check", "run"):
        done = ewma(command, str(job.path))
        assert done.returncode == 2, done.stderr
        assert f"topic '{small}' takes records of up to 5000 bytes" in done.stderr
    assert advice in done.stderr.lower()
    if advice.startswith("raise"):
        needed = re.search(r"Raise max\.message\.bytes to (\d+)", done.stderr)
        assert needed
        small = make_topic(kafka, 1, "larger", {"max.message.bytes": needed[1]})
        longest = 1024
    else:
        longest = 500
    job.configure(
        output={"topic": small},
        input={**own, "max_id_bytes": longest},
        recovery={"directory": str(tmp_path / "another")},
    )
    keys = [b"\x01" * longest, b"\x01" * (longest + 1), b"short"]
    produce(kafka, job.input, [Record(b'{"value": -2.2250738585072014e-308}', k) for k in keys])
    job.run()
    assert [e.key for e in read_all(kafka, small, 2)] == [keys[0], keys[2]]
    assert len(read_all(kafka, job.dead_letters, 1)) == 1


def test_a_request_size_below_the_largest_event_is_refused(kafka: str, tmp_path: Path) -> None:
    job = Job(kafka, tmp_path, (1, 1, 1))
    job.configure(kafka={"max_request_size": 5000})
    done = ewma("check", str(job.path))
    assert done.returncode == 2, done.stderr
    advice = r"Raise kafka\.max_request_size to (\d+), or lower input\.max_id_bytes \(1024\)"
    needed = re.search(advice, done.stderr)
    assert needed, done.stderr
    job.configure(kafka={"max_request_size": int(needed[1])})
    assert ewma("check", str(job.path)).returncode == 0
