"""Messages that are made to stop or to starve the flow: each ends as a letter, the rest flows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.brokers import Record, make_topic, produce, set_configs
from tests.jobs import START_MS, Job, Reading, assert_same, ewma, pandas_says

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


def test_a_letter_that_its_topic_refuses_ends_the_run_with_the_fix(
    kafka: str, tmp_path: Path
) -> None:
    job = job_with(kafka, tmp_path, dead_letters={"cleanup.policy": "compact"})
    produce(kafka, job.input, [Record(b"no reading")])
    job.send(GOOD)
    done = ewma("run", str(job.path))
    assert done.returncode == 2
    assert done.stderr.count("started 1 worker") == 1
    assert f"set cleanup.policy=delete for topic '{job.dead_letters}'" in done.stderr
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
