"""Topics that grow, or are deleted and created again, under a job: nothing lost in silence.

On Apache Kafka, with ``ewma run`` and ``ewma verify`` as a user starts them.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from tests.brokers import Record, add_partitions, make_topic, produce
from tests.jobs import (
    START_MS,
    Job,
    Reading,
    Watch,
    as_record,
    ewma,
    wait_until,
)


def into(partition: int, series: str, n: int, first: int = 0) -> list[Record]:
    """Return n readings of a series, for one partition, with times of long ago."""
    return [
        as_record(Reading(series, START_MS + 1000 * i, float(i)))._replace(
            partition=partition, timestamp_ms=START_MS
        )
        for i in range(first, first + n)
    ]


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
    job.input = make_topic(kafka, 2, "readings", {"retention.ms": "-1"})  # times are long ago
    produce(kafka, job.input, into(0, "before", 30) + into(1, "before too", 30))
    group = "ewma-test"
    _commit(kafka, group, job.input, {0: 30, 1: 30})
    reads = {"start": start, "group_id": group}
    job.configure(input={**reads, "stop": "never"})
    with job.running(workers) as run, Watch(kafka, job.output) as watch:
        wait_until((job.state / "manifest.json").exists)
        produce(kafka, job.input, into(0, "a", 50))
        watch.until(50)
        add_partitions(kafka, job.input, 3)
        produce(kafka, job.input, into(2, "added", 40) + into(1, "b", 10))
        watch.until(60)
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 0
    _commit(kafka, group, job.input, {2: 35})  # by whoever: the job has not read them
    produce(kafka, job.input, into(2, "added", 20, first=40))
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
