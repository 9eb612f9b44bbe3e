"""Several input topics, and a pattern that more come to match while the job runs.

On Apache Kafka, with ``ewma run`` and ``ewma verify`` as a user starts them.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import init_db_dir

from tests.helpers.brokers import (
    Record,
    add_partitions,
    create_topic_again,
    delete_topic,
    make_topic,
    produce,
    read_all,
)
from tests.helpers.jobs import (
    BYTEWAX,
    START_MS,
    Job,
    Watch,
    assert_told,
    ewma,
    finished,
    wait_until,
)
from tests.helpers.patience import PATIENCE_S

IDS = ["@topic", "series_id"]
BY_TOPIC: dict[str, object] = {"topic": None, "series_id": IDS, "stop": "never"}


def readings(n: int, first: int = 0, partitions: int = 1, **fields: Any) -> list[Record]:
    """Return n readings of five series for each partition; each series in one of them."""
    rows = range(first, first + n)
    return [
        Record(
            json.dumps({"series_id": f"s{i % 5}/{p}", "ts": START_MS + i, "value": i}).encode(),
            partition=p,
            **fields,
        )
        for i in rows
        for p in range(partitions)
    ]


def verified(job: Job, readings: int) -> None:
    done = ewma("verify", str(job.path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{readings:,} readings, 0 dead letters, {readings:,} events" in done.stdout
    assert done.stdout.splitlines()[-1] == "exactly once"


def test_kills_while_topics_and_partitions_come_lose_none_and_double_none(
    kafka: str, tmp_path: Path
) -> None:
    job = Job(kafka, tmp_path, partitions=(1, 3, 2))
    prefix = f"plant{job.output.rpartition('-')[2]}"
    first, second = (make_topic(kafka, 2, f"{prefix}-{name}") for name in ("a", "b"))
    reads = {**BY_TOPIC, "topic_pattern": f"{prefix}-.*", "discover": "1s"}
    job.configure(input=reads, recovery={"interval": "300ms"})
    produce(kafka, first, readings(100, partitions=2))
    produce(kafka, second, readings(100, partitions=2))
    said = ""
    with Watch(kafka, job.output) as watch:
        with job.running(2) as run:
            watch.until(400)
            third = make_topic(kafka, 1, f"{prefix}-c")
            produce(kafka, third, readings(150))
            add_partitions(kafka, first, 3)
            produce(kafka, first, readings(100, 100, partitions=3))
            watch.until(850)  # with the new topic, and the new partition
            run.send_signal(signal.SIGKILL)
            said += run.communicate(timeout=PATIENCE_S)[1]
        produce(kafka, second, readings(50, 100, partitions=2))
        for so_far in (860, 900):
            with job.running() as run:
                watch.until(so_far)
                fourth = make_topic(kafka, 2, f"{prefix}-d")
                produce(kafka, fourth, readings(30, partitions=2))
                run.send_signal(signal.SIGKILL)
                run.communicate(timeout=PATIENCE_S)
        job.configure(input={**reads, "stop": "end"}, recovery={"interval": "300ms"})
        job.run()
        total = 400 + 150 + 300 + 100 + 2 * 60
        watch.until(total)
        events = [(record.key, json.loads(record.value)["time"]) for record in watch.records]
    assert len(events) == len(set(events)) == total
    assert f"topic '{third}' is new" in said
    assert "starting the workers again" in said
    verified(job, total)


def test_new_partitions_of_a_named_topic_are_taken_up_by_a_graceful_restart(
    kafka: str, tmp_path: Path
) -> None:
    job = Job(kafka, tmp_path, partitions=(1, 1, 1))
    job.configure(input={"stop": "never", "discover": "1s", "start": "latest"})
    produce(kafka, job.input, readings(10))
    with job.running() as run, Watch(kafka, job.output) as watch:
        wait_until((job.state / "manifest.json").exists)
        produce(kafka, job.input, readings(20, 10))
        watch.until(20)
        add_partitions(kafka, job.input, 2)
        produce(kafka, job.input, readings(30, 100, partitions=2))
        watch.until(80)
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=PATIENCE_S)[1]
        assert run.returncode == 0, said
    assert f"topic '{job.input}' has grown to 2 partitions: starting the workers again" in said
    assert said.count("started 1 worker") == 2
    assert "failed" not in said
    verified(job, 80)


@pytest.mark.parametrize("delivery", ["exactly-once", "transactional"])
def test_a_topic_that_is_added_to_the_list_is_read_from_its_start(
    kafka: str, tmp_path: Path, delivery: str
) -> None:
    """One topic becomes two on the same store; one of them taken away is refused."""
    job = Job(kafka, tmp_path, partitions=(2, 2, 1))
    output = {"delivery": delivery}
    job.configure(input={"series_id": IDS}, output=output)
    produce(kafka, job.input, readings(40, partitions=2))
    job.run()
    other = make_topic(kafka, 3, "more-readings")
    produce(kafka, other, readings(20, partitions=3))
    produce(kafka, job.input, readings(10, 40, partitions=2))
    both = {"topic": None, "topics": [job.input, other], "series_id": IDS}
    job.configure(input=both, output=output)
    said = job.run(2)
    assert f"topic '{other}' is new to this job: read from its first record" in said
    events = read_all(kafka, job.output, 160, isolation_level="read_committed")
    assert len({event.key for event in events}) == 5 * 2 + 5 * 3
    verified(job, 160)
    job.configure(input={"series_id": IDS}, output=output)
    assert_told(ewma("run", str(job.path)), 2, "belongs to another job: input topic was")
    job.configure(input=both, output=output, recovery={"directory": str(tmp_path / "lost")})
    job.run()  # the whole input once more, and nothing is new
    verified(job, 160)


def test_letters_of_several_topics_say_which_they_are_of(kafka: str, tmp_path: Path) -> None:
    job = Job(kafka, tmp_path, partitions=(2, 2, 2))
    other = make_topic(kafka, 1, "more-readings")
    reads = {"topic": None, "topics": [job.input, other], "series_id": IDS}
    job.configure(input=reads, smooth={"missing": "dead-letter"})
    bad = [
        Record(b"none", partition=0),
        Record(b'{"series_id": "a", "ts": %d}' % START_MS, partition=0),
    ]
    for topic in (job.input, other):
        produce(kafka, topic, [*bad, *readings(3)])
    job.run()
    told = [dict(letter.headers) for letter in job.letters(4)]
    assert sorted((one["ewma-topic"].decode(), one["ewma-offset"]) for one in told) == sorted(
        (topic, offset) for topic in (job.input, other) for offset in (b"0", b"1")
    )
    job.configure(
        input=reads,
        smooth={"missing": "dead-letter"},
        recovery={"directory": str(tmp_path / "lost")},
    )
    job.run()
    assert len(job.letters(4)) == 4


def test_a_topic_of_a_pattern_may_go_and_come_again(kafka: str, tmp_path: Path) -> None:
    job = Job(kafka, tmp_path, partitions=(1, 1, 1))
    prefix = f"gone{job.output.rpartition('-')[2]}"
    stays, goes = (make_topic(kafka, 1, f"{prefix}-{name}") for name in ("stays", "goes"))
    job.configure(input={**BY_TOPIC, "topic_pattern": f"{prefix}-.*", "discover": "1s"})
    produce(kafka, stays, readings(10))
    produce(kafka, goes, readings(10))
    with job.running() as run, Watch(kafka, job.output) as watch:
        watch.until(20)
        delete_topic(kafka, goes)
        produce(kafka, stays, readings(10, 10))
        watch.until(30)
        create_topic_again(kafka, goes, 1)
        produce(kafka, goes, readings(15, 50))
        produce(kafka, stays, readings(10, 20))
        watch.until(55)
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=PATIENCE_S)[1]
        assert run.returncode == 0, said
        events = [(record.key, json.loads(record.value)["time"]) for record in watch.records]
    assert f"topic '{goes}' is new" in said
    assert len(events) == len(set(events)) == 55
    done = ewma("verify", str(job.path))
    assert f"topic '{goes}' was deleted" in done.stdout, done.stdout
    assert done.stdout.splitlines()[-1] == "exactly once, as far as can be known"


def test_under_bytewax_itself_new_topics_are_read_from_the_next_start_on(
    kafka: str, tmp_path: Path
) -> None:
    job = Job(kafka, tmp_path, partitions=(1, 1, 1))
    prefix = f"plain{job.output.rpartition('-')[2]}"
    produce(kafka, make_topic(kafka, 1, f"{prefix}-a"), readings(10))
    reads = {**BY_TOPIC, "topic_pattern": f"{prefix}-.*", "stop": "end"}
    job.configure(input=reads, recovery={"directory": str(tmp_path / "state")})
    parts = tmp_path / "parts"
    parts.mkdir(mode=0o700)
    init_db_dir(parts, 4)
    command = [*BYTEWAX, "-r", str(parts), "-s", "1", "-b", "0"]
    done = finished(command, EWMA_CONFIG=str(job.path))
    assert done.returncode == 0, done.stderr
    assert len(read_all(kafka, job.output, 10)) == 10
    produce(kafka, make_topic(kafka, 2, f"{prefix}-b"), readings(10, partitions=2))
    done = finished(command, EWMA_CONFIG=str(job.path))
    assert done.returncode == 0, done.stderr
    assert len(read_all(kafka, job.output, 30)) == 30
    job.configure(input=reads, recovery={"directory": str(parts)})
    verified(job, 30)


@pytest.mark.parametrize("pattern", ["nothing-like-this-.*"])
def test_a_pattern_that_no_topic_matches_is_refused(
    kafka: str, tmp_path: Path, pattern: str
) -> None:
    job = Job(kafka, tmp_path, partitions=(1, 1, 1))
    job.configure(input={**BY_TOPIC, "topic_pattern": pattern})
    for command in ("run", "check"):
        assert_told(ewma(command, str(job.path)), 2, f"matches input.topic_pattern = '{pattern}'")
