"""Transactions on the input: what was aborted is no reading, in the run as in ``ewma verify``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import KafkaProducer, TopicPartition

from ewma_ops.commands.verify import verify
from ewma_ops.connectors.client.connect import close_consumer, connect_consumer
from ewma_ops.connectors.client.exchange import poll
from ewma_ops.connectors.source.offsets import Offsets
from ewma_ops.settings.load import load
from tests.helpers.brokers import read_all
from tests.helpers.jobs import Job, ewma
from tests.helpers.patience import PATIENCE_S

MakeTopic = Callable[..., str]
OWN_KEYS = {"series_id": None, "time": None}


@contextmanager
def transactions(bootstrap: str, topic: str) -> Iterator[Callable[[Sequence[float]], None]]:
    """Yield what sends readings of series ``a`` in the transaction that is open."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"other-{topic}")
    producer.init_transactions()

    def send(values: Sequence[float]) -> None:
        for value in values:
            producer.send(topic, json.dumps({"value": value}).encode(), b"a").get(10)

    send.producer = producer  # type: ignore[attr-defined]
    try:
        yield send
    finally:
        producer.close(5)


def sent(bootstrap: str, topic: str) -> None:
    """Send 1 and 2 committed, 100 and 200 aborted, 3 committed, 999 aborted."""
    with transactions(bootstrap, topic) as send:
        producer = send.producer  # type: ignore[attr-defined]
        for values, end in [
            ([1, 2], producer.commit_transaction),
            ([100, 200], producer.abort_transaction),
            ([3], producer.commit_transaction),
            ([999], producer.abort_transaction),
        ]:
            producer.begin_transaction()
            send(values)
            end()


@pytest.mark.parametrize(
    ("level", "values"),
    [
        (None, [1, 2, 3]),
        ("read_committed", [1, 2, 3]),
        ("read_uncommitted", [1, 2, 100, 200, 3, 999]),
    ],
)
def test_run_and_verify_read_the_same_records(
    kafka: str, tmp_path: Path, level: str | None, values: list[float]
) -> None:
    job = Job(kafka, tmp_path, (1, 1, 1))
    job.configure(input=OWN_KEYS, smooth={"beta": 0.5}, kafka={"isolation_level": level})
    sent(kafka, job.input)
    job.run()
    events = [json.loads(record.value) for record in read_all(kafka, job.output, len(values))]
    assert [event["value"] for event in events] == values
    if len(values) == 3:
        assert [round(event["ewma"], 4) for event in events] == [1, 1.6667, 2.4286]
    found = verify(load(job.path), lambda _: None)
    assert found.right, str(found)
    assert found.readings == len(values)


def test_the_isolation_belongs_to_the_job(kafka: str, tmp_path: Path) -> None:
    job = Job(kafka, tmp_path, (1, 1, 1))
    job.configure(input=OWN_KEYS, smooth={"beta": 0.5})
    job.run()
    job.configure(
        input=OWN_KEYS, smooth={"beta": 0.5}, kafka={"isolation_level": "read_uncommitted"}
    )
    done = ewma("run", str(job.path))
    assert done.returncode == 2
    assert "isolation level" in done.stderr
    assert "read_uncommitted" in done.stderr


def test_a_bounded_run_ends_before_a_transaction_that_is_open(kafka: str, tmp_path: Path) -> None:
    job = Job(kafka, tmp_path, (1, 1, 1))
    job.configure(input=OWN_KEYS, smooth={"beta": 0.5})
    sent(kafka, job.input)
    with transactions(kafka, job.input) as send:
        producer = send.producer  # type: ignore[attr-defined]
        producer.begin_transaction()
        send([7, 8])
        job.run()
        assert verify(load(job.path), lambda _: None).readings == 3
        producer.commit_transaction()
    assert verify(load(job.path), lambda _: None).behind == 2
    job.run()
    found = verify(load(job.path), lambda _: None)
    assert found.right, str(found)
    assert found.readings == 5


def test_ends_and_lag_are_those_of_what_can_be_read(kafka: str, topic: MakeTopic) -> None:
    name = topic(kafka)
    tp = TopicPartition(name, 0)
    client = {"bootstrap_servers": kafka}
    sent(kafka, name)  # ten offsets: six records and four markers
    with transactions(kafka, name) as send:
        producer = send.producer  # type: ignore[attr-defined]
        producer.begin_transaction()
        send([7])
        consumer = connect_consumer(client, "group")
        consumer.assign([tp])
        consumer.seek_to_beginning()
        offsets = Offsets(client, consumer, [tp], "group", start="earliest", on_lost="fail")
        deadline = time.monotonic() + PATIENCE_S
        values: list[bytes | None] = []
        while consumer.position(tp) < 10 and time.monotonic() < deadline:
            values += [
                v for runs in poll(consumer, 100).values() for run in runs for v in run.values
            ]
        assert [json.loads(value or b"")["value"] for value in values] == [1, 2, 3]
        assert (consumer.position(tp), consumer.highwater(tp), offsets.end(tp, 0)) == (10, 10, 10)
        producer.abort_transaction()
        while consumer.position(tp) < 12 and time.monotonic() < deadline:
            poll(consumer, 100)
        assert (consumer.position(tp), consumer.highwater(tp)) == (12, 12)
        close_consumer(consumer, 5)
