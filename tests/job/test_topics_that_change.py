"""Topics that grow, or are deleted and created again, under a job: nothing lost in silence.

On Apache Kafka, with ``ewma run`` and ``ewma verify`` as a user starts them.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from tests.helpers.brokers import (
    Record,
    add_partitions,
    make_topic,
    produce,
    read_all,
    recreate_topic,
)
from tests.helpers.jobs import (
    START_MS,
    Job,
    Reading,
    Watch,
    as_record,
    assert_told,
    ewma,
    wait_until,
)
from tests.helpers.patience import PATIENCE_S


def into(partition: int, series: str, n: int, first: int = 0, **fields: Any) -> list[Record]:
    """Return n readings of a series, for one partition."""
    return [
        as_record(Reading(series, START_MS + 1000 * i, float(i)))._replace(
            partition=partition, **fields
        )
        for i in range(first, first + n)
    ]


def events_of(job: Job) -> list[Any]:
    """Return the events there are, those of aborted transactions left out."""
    return read_all(job.bootstrap, job.output, 0, isolation_level="read_committed")


def verified(job: Job, readings: int) -> None:
    done = ewma("verify", str(job.path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{readings:,} readings" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("start", "workers"), [("latest", 2), ("2026-01-31T00:00:00Z", 1), ("committed", 1)]
)
def test_an_input_partition_added_to_a_running_job_is_read_from_its_start(
    kafka: str, tmp_path: Path, start: str, workers: int
) -> None:
    job = Job(kafka, tmp_path, partitions=(2, 2, 1))
    job.input = make_topic(kafka, 2, "readings", {"retention.ms": "-1"})
    old = {"timestamp_ms": START_MS}  # what is added is to be read, however old
    produce(kafka, job.input, into(0, "before", 30, **old) + into(1, "before too", 30, **old))
    group = "ewma-test"
    _commit(kafka, group, job.input, {0: 30, 1: 30})
    reads = {"start": start, "group_id": group}
    job.configure(input={**reads, "stop": "never"})
    with job.running(workers) as run, Watch(kafka, job.output) as watch:
        wait_until((job.state / "manifest.json").exists)
        produce(kafka, job.input, into(0, "a", 50))
        watch.until(50)
        add_partitions(kafka, job.input, 3)
        produce(kafka, job.input, into(2, "added", 40, **old) + into(1, "b", 10))
        watch.until(60)
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 0
    _commit(kafka, group, job.input, {2: 35})  # by whoever: the job has not read them
    produce(kafka, job.input, into(2, "added", 20, 40, **old))
    job.configure(input={**reads, "stop": "end"})
    job.run(workers)
    assert {key: len(own) for key, own in job.events(120).items()} == {
        "a": 50,
        "b": 10,
        "added": 60,
    }
    verified(job, 120)


def _commit(bootstrap: str, group: str, topic: str, offsets: dict[int, int]) -> None:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in offsets])
        consumer.commit(
            {
                TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1)
                for partition, offset in offsets.items()
            }
        )
    finally:
        consumer.close(autocommit=False)


@pytest.mark.parametrize(
    ("table", "delivery"),
    [
        ("output", "exactly-once"),
        ("dead_letters", "exactly-once"),
        ("input", "exactly-once"),
        ("output", "transactional"),
        ("output", "at-least-once"),
    ],
)
def test_a_topic_that_is_created_again_under_a_job_stops_it(
    kafka: str, tmp_path: Path, table: str, delivery: str
) -> None:
    """And the advice of its last words, followed, gives every event of what the input has."""
    job = Job(kafka, tmp_path, partitions=(2, 2, 2))
    output = {"delivery": delivery}
    job.configure(input={"stop": "never"}, output=output)
    name = {"output": job.output, "dead_letters": job.dead_letters, "input": job.input}[table]
    bad = [Record(b"no reading", partition=p) for p in (0, 1)]
    with job.running() as run:
        produce(kafka, job.input, into(0, "a", 100) + into(1, "b", 100) + bad)
        wait_until(lambda: len(events_of(job)) == 200)
        wait_until(lambda: len(job.letters(0)) >= 2)
        recreate_topic(kafka, name, 2)
        produce(kafka, job.input, into(0, "a", 50, 100) + into(1, "b", 50, 100) + bad)
        said = run.communicate(timeout=PATIENCE_S)[1]
        assert run.returncode == 2, said
    assert f"topic '{name}' was deleted and created again" in said
    assert "start with a new recovery directory" in said
    assert "Traceback" not in said
    assert_told(ewma("run", str(job.path)), 2, "belongs to another job", "topic id")

    if table != "input":
        recreate_topic(kafka, name, 2)
    job.configure(output=output, recovery={"directory": str(tmp_path / "new")})
    job.run()
    if delivery == "at-least-once":
        events = {(r.key, r.value) for r in read_all(kafka, job.output, 300)}
        assert len(events) == 300  # some are there twice, as it says
    else:
        verified(job, 100 if table == "input" else 300)  # other readings have events of their own
    if table == "dead_letters":
        assert len(job.letters(4)) == 4


@pytest.mark.parametrize("delivery", ["exactly-once", "transactional"])
def test_output_partitions_that_were_added_double_nothing(
    kafka: str, tmp_path: Path, delivery: str
) -> None:
    """Not with the store, nor without it, nor when the advice is followed to write to all."""
    job = Job(kafka, tmp_path, partitions=(3, 2, 1))
    output = {"delivery": delivery}
    job.configure(input={"stop": "never"}, output=output, recovery={"interval": "1min"})
    bad = [Record(b"no reading", partition=p) for p in range(3)]
    names = [f"series-{i}" for i in range(30)]
    first = [r for i, name in enumerate(names) for r in into(i % 3, name, 10)]
    produce(kafka, job.input, first + bad)
    with job.running(2) as run:
        if delivery == "exactly-once":
            wait_until(lambda: len(events_of(job)) == 300)
            run.kill()  # before the first snapshot: all of it is made again
        else:
            wait_until((job.state / "manifest.json").exists)
            run.send_signal(signal.SIGTERM)
        run.wait(PATIENCE_S)
    add_partitions(kafka, job.output, 3)
    add_partitions(kafka, job.dead_letters, 2)
    produce(kafka, job.input, [r for i, n in enumerate(names) for r in into(i % 3, n, 5, 10)])

    job.configure(output=output)
    assert f"{job.output!r} has 3 partitions: the flow keeps to the first 2" in job.run(2)
    verified(job, 450)
    job.configure(output=output, recovery={"directory": str(tmp_path / "lost")})
    job.run(2)  # the whole input once more, and nothing is new
    verified(job, 450)
    assert {record.partition for record in events_of(job)} == {0, 1}
    letters = read_all(kafka, job.dead_letters, 3, isolation_level="read_committed")
    assert len(letters) == 3

    job.output = make_topic(kafka, 3, "all-of-it")
    job.configure(output=output, recovery={"directory": str(tmp_path / "new")})
    assert "keeps to the first 2" not in job.run(2)
    verified(job, 450)
    assert {record.partition for record in events_of(job)} == {0, 1, 2}
