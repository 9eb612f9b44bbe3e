"""What people test their own jobs with: the same bytes as on a broker, and time in their hands."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

from ewma_ops.connectors import KafkaSink, KafkaSource, part_key
from ewma_ops.errors import ConfigError
from ewma_ops.testing import Record, read_records, run_dataflow, run_job, timed
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords
from tests.helpers.brokers import Record as Sent
from tests.helpers.brokers import produce, read_all
from tests.helpers.jobs import Job, made_up

KAFKA = {"bootstrap_servers": "127.0.0.1:1"}


def config(**changes: dict[str, Any]) -> dict[str, Any]:
    tables: dict[str, dict[str, Any]] = {
        "kafka": KAFKA,
        "input": {"topic": "readings", "series_id": "id"},
        "smooth": {"beta": 0.5},
        "output": {"topic": "smoothed"},
    }
    for name, keys in changes.items():
        tables[name] = {**tables.get(name, {}), **keys}
    return tables


def test_a_job_makes_the_bytes_that_it_makes_on_a_broker(embedded: str, tmp_path: Path) -> None:
    """Late readings, missing ones, letters of both kinds, headers, and a column-sized run."""
    job = Job(embedded, tmp_path, partitions=(1, 1, 1))
    job.configure(smooth={"beta": None, "halflife": "5min", "max_lateness": "1min"})
    readings = made_up(3_000, series=7)
    records = [
        Record(
            b'{"series_id":"%b","ts":%d,"value":%b}'
            % (one.series_id.encode(), one.time_ms, str(one.value or "null").encode()),
            b"k",
            [("h", b"1")] if i % 100 == 0 else [],
            one.time_ms,
        )
        for i, one in enumerate(readings)
    ]
    records[50:50] = [Record(b"?", b"k", [("a", b"\xff")], 5), records[3]]
    late = Record(b'{"series_id":"sensor-1","ts":1,"value":1}', b"k", (), 1)
    records.append(late)
    sent = [Sent(one.value, one.key, one.headers, one.timestamp_ms, 0) for one in records]
    produce(embedded, job.input, sent)
    job.run()

    result = run_job(job.path, records)

    assert (result.read, result.skipped) == (len(records), 0)
    events = read_all(embedded, job.output, len(result.events))
    assert [(one.key, one.value) for one in events] == [
        (one.key, one.value) for one in result.events
    ]
    assert sorted(result.causes) == ["late", "not-json"]
    letters = read_all(embedded, job.dead_letters, 2)
    assert sorted((one.key, one.value, one.headers[:-1]) for one in letters) == sorted(
        (one.key, one.value, list(one.headers)) for one in result.dead_letters
    )


def test_offsets_and_partitions_go_into_the_letters() -> None:
    records = [Record(b"?", partition=2), Record(b"?", topic="b"), Record(b"?", partition=2)]
    records += [Record(b"?", partition=2, offset=70), Record(b"?", partition=2)]
    letters = run_job(config(), records).dead_letters
    names = "ewma-topic", "ewma-partition", "ewma-offset"
    assert sorted(tuple(map(one.header, names)) for one in letters) == [
        ("b", "0", "0"),
        *[("readings", "2", offset) for offset in ("0", "1", "70", "71")],
    ]


def test_records_of_several_topics_and_partitions() -> None:
    """Each partition has its own offsets and its own clock; letters say where they are from."""
    tables = config(
        input={"topic": None, "topics": ["a", "b"], "series_id": ["@topic", "id"], "time": "t"},
        smooth={"forget_after": "1min", "max_lateness": "1s"},
    )
    del tables["input"]["topic"]
    records = [
        Record(b'{"id":"x","t":%d,"value":%d}' % (time_ms, value), topic=topic, partition=partition)
        for topic, partition, time_ms, value in [
            (None, 0, 0, 1),
            ("b", 0, 0, 10),
            ("b", 0, 3_600_000, 30),
            ("a", 1, 1, 3),
            ("b", 0, 0, 7),
            ("a", 0, 2, 5),
        ]
    ]
    result = run_job(tables, records)
    events = [one.json() for one in result.events]
    assert {event["series_id"] for event in events} == {"a/x", "b/x"}
    of_a = [event["value"] for event in events if event["series_id"] == "a/x"]
    assert of_a == [1, 3, 5]
    assert events[-1]["ewma"] != 5, "the clock of topic b makes nobody of topic a forget"
    (letter,) = result.dead_letters
    names = "ewma-cause", "ewma-topic", "ewma-partition", "ewma-offset"
    assert [letter.header(name) for name in names] == ["late", "b", "0", "2"]


def test_what_is_skipped_is_counted_and_no_timestamp_is_none() -> None:
    tables = config(input={"where": {"kind": "r"}}, smooth={"beta": None, "halflife": "1s"})
    result = run_job(tables, [{"kind": "x"}, {"kind": "r", "id": "a", "value": 1}])
    assert (result.read, result.skipped, result.causes) == (2, 1, ["no-time"])
    assert str(result) == "no-time: the record's timestamp is -1"


def test_time_is_in_the_hands_of_the_test() -> None:
    tables = config(smooth={"beta": None, "halflife": "1h"})
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    readings = [{"id": "a", "value": value} for value in (0.0, 1.0)]
    ewma = {}
    for every in (timedelta(hours=1), "1h", 3_600_000, "10 days"):
        result = run_job(tables, timed(readings, start, every))
        ewma[every] = result.events[-1].json()["ewma"]
    assert list(ewma.values()) == pytest.approx([2 / 3] * 3 + [1.0])
    assert result.events[0].json()["time"] == 1_767_225_600_000


def test_a_wrong_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the configuration: smooth.beta is 2: .*beta < 1"):
        run_job(config(smooth={"beta": 2}), [])
    with pytest.raises(ConfigError, match="no such file"):
        run_job("absent.toml", [])
    tables = config(input={"extra": 1})
    with pytest.raises(ConfigError, match=r"input\.extra is not known"):
        run_job(tables, [])
    assert "extra" in tables["input"], "the tables are left as they are"


def test_records_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_text('{"value": {"id": 1}}\n\n{"value": "x", "timestamp": 5}\n', "utf-8")
    assert read_records(path) == [
        Record(b'{"id": 1}', offset=0),
        Record(b"x", timestamp_ms=5, offset=2),
    ]
    path.write_text('{"value": 1}\n?\n', "utf-8")
    with pytest.raises(ConfigError, match=r"messages.jsonl, line 2: not an object of JSON"):
        read_records(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_records(tmp_path)


def kafka_flow() -> Dataflow:
    flow = Dataflow("copy")
    runs = op.input("in", flow, KafkaSource(KAFKA, "readings", group_id="g"))

    def copied(run: ConsumerRecords) -> tuple[str, ProducerRecords]:
        return part_key(run.partition), ProducerRecords(run.keys, run.values, run.headers)

    sink = KafkaSink(KAFKA, "copies", job="j")
    op.output("out", op.map("copy", runs, copied), sink)
    return flow


def test_a_dataflow_between_topics_takes_and_gives_records() -> None:
    records = [Record(b"1", b"k", [("h", None)], 7, 3), Record(None, partition=0), Record(b"2")]
    out = run_dataflow(kafka_flow(), {"in": records})
    assert out == {
        "out": [Record(b"1", b"k", (("h", None),), partition=3), Record(None), Record(b"2")]
    }


@pytest.mark.parametrize("batch_size", [1, 100])
def test_a_dataflow_runs_as_it_is_any_number_of_times(batch_size: int) -> None:
    flow = Dataflow("sum")
    items = op.input("in", flow, TestingSource([("never", 1)]))
    total = op.stateful_map("sum", items, lambda old, new: ((old or 0) + new,) * 2)
    op.output("out", total, StdOutSink())
    op.output("in-too", items, StdOutSink())
    for _ in range(2):
        given = [("a", 1), ("b", 5), ("a", 2)]
        out = run_dataflow(flow, {"in": given}, batch_size=batch_size)
        assert sorted(out["out"]) == [("a", 1), ("a", 3), ("b", 5)]
        assert out["in-too"] == given
    assert run_dataflow(flow, {"in": []}) == {"out": [], "in-too": []}


def test_what_a_step_raises_is_raised() -> None:
    flow = Dataflow("divide")
    items = op.input("in", flow, TestingSource([1]))
    op.output("out", op.map("divide", items, lambda item: 1 / item), StdOutSink())
    with pytest.raises(ZeroDivisionError):
        run_dataflow(flow, {"in": [1, 0]})


def test_inputs_that_are_not_the_dataflows_are_refused() -> None:
    flow = kafka_flow()
    every: list[dict[str, list[Any]]] = [{}, {"other": []}, {"in": [], "other": []}]
    for inputs in every:
        with pytest.raises(ConfigError, match="the dataflow reads in in: give each of those"):
            run_dataflow(flow, inputs)
