"""``ewma verify`` against outputs that are right, and that are wrong in every way there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

import numpy as np
import pytest
from kafka import KafkaConsumer

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Readings
from ewma_ops.commands import verify as module
from ewma_ops.commands.cli import main
from ewma_ops.commands.topic_reader import TopicReader
from ewma_ops.commands.verify import verify
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.sink.ledger import identities
from ewma_ops.errors import ConfigError
from ewma_ops.job.alarms import AlarmRecords
from ewma_ops.job.identity import identify
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.table.table import SeriesTable
from ewma_ops.wire.records import ConsumerRecords
from tests.helpers.brokers import Record, configure_topic, produce, read_all
from tests.helpers.jobs import START_MS, Job, ewma, wait_until

MakeTopic = Callable[..., str]

CONFIG = """
[kafka]
bootstrap_servers = "{0}"
[input]
topic = "{1}"
series_id = "id"
time = "ts"
[smooth]
beta = 0.9
[output]
topic = "{2}"
"""


class Written(NamedTuple):
    """A job as if it had run: its configuration, and the events that it should have written."""

    config: Path
    settings: Settings
    events: list[Record]

    def write(self, bootstrap: str, events: Sequence[Record]) -> None:
        produce(bootstrap, self.settings.output.topic, events)


@pytest.fixture
def written(broker: str, topic: MakeTopic, tmp_path: Path) -> Written:
    """300 readings of 10 series in 2 partitions, one of them unreadable."""
    source, target = topic(broker, 2), topic(broker, 2)
    config = tmp_path / "job.toml"
    config.write_text(CONFIG.format(broker, source, target))
    settings = load(config)
    rows = [(f"s{i % 10}", float(i), i, i % 10 % 2) for i in range(300)]
    payloads = [json.dumps({"id": s, "value": v, "ts": t}).encode() for s, v, t, _ in rows]
    payloads[150] = b"not json"
    sent = [Record(payload, partition=row[3]) for payload, row in zip(payloads, rows, strict=True)]
    offsets = produce(broker, source, sent)
    good = [i for i in range(300) if i != 150]
    readings = Readings.of(
        [rows[i][0] for i in good], [rows[i][1] for i in good], [rows[i][2] for i in good]
    )
    values = JsonEncoder(["mean"]).encode(SeriesTable(settings.smoothing_set).update(readings))
    job = identify(settings, letters=False)
    origins = Origins(
        np.array([job.inputs.number(source, rows[i][3]) for i in good], np.int64),
        np.array([offsets[i] for i in good], np.int64),
    )
    names = identities(murmur2(job.events.encode()), origins)
    events = [
        Record(value, key.encode(), named, partition=int(key[1:]) % 2)
        for key, value, named in zip(readings.series_ids, values, names, strict=True)
    ]
    return Written(config, settings, events)


def test_what_is_right_is_found_right(
    broker: str, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    written.write(broker, written.events)
    assert main(["verify", str(written.config)]) == 0
    assert capsys.readouterr().out == (
        "299 readings, 1 dead letters, 299 events\n"
        "missing 0, doubled 0, wrong value 0, out of order 0\n"
        "exactly once\n"
    )


def test_each_fault_is_counted_and_named(broker: str, written: Written) -> None:
    events = list(written.events)
    events[5], events[15] = events[15], events[5]  # s5: the second before the first
    events[40] = events[40]._replace(value=b"{}")
    del events[77]
    written.write(broker, [*events, events[100]])
    found = verify(written.settings, lambda line: None)
    assert not found.right
    assert (found.missing, found.doubled, found.wrong, found.disordered) == (1, 1, 1, 1)
    assert (found.behind, found.spread) == (0, 0)
    told = "\n".join(found.examples)
    assert "disordered: series 's5', input 1/2" in told
    assert "wrong: series 's0', input 0/20" in told
    assert "missing: input 1/38" in told
    assert "doubled: series 's1'" in told


def test_a_double_in_the_same_breath_is_counted(broker: str, written: Written) -> None:
    events = [event for event in written.events for _ in range(2)]
    written.write(broker, events)
    assert verify(written.settings, lambda line: None).doubled == 299


def test_what_is_not_written_yet_is_told_apart(broker: str, written: Written) -> None:
    written.write(broker, written.events[:-20])
    found = verify(written.settings, lambda line: None)
    assert (found.missing, found.behind, found.right) == (0, 20, False)
    assert "not written yet: 20" in str(found)


def singly(run: ConsumerRecords) -> Iterator[ConsumerRecords]:
    for at in (slice(i, i + 1) for i in range(len(run))):
        headers = None if run.headers is None else run.headers[at]
        columns = (run.offsets[at], run.timestamps_ms[at], run.keys[at], run.values[at])
        yield ConsumerRecords(run.topic, run.partition, *columns, headers)


class _Sips(TopicReader):
    """A topic that comes a few records at a time: of the input three, of the output fifty."""

    sizes: ClassVar[dict[str, int]] = {}

    def __init__(
        self, client: Mapping[str, object], topics: InputTopics, consumer: KafkaConsumer
    ) -> None:
        super().__init__(client, topics, consumer)
        (topic,) = topics.names
        self._size = self.sizes[topic]
        self._left: dict[int, list[ConsumerRecords]] = {}

    def poll(self) -> dict[int, list[ConsumerRecords]]:
        for partition, runs in super().poll().items():
            self._left.setdefault(partition, []).extend(one for run in runs for one in singly(run))
        taken = {partition: records[: self._size] for partition, records in self._left.items()}
        self._left = {p: records[self._size :] for p, records in self._left.items()}
        return {partition: records for partition, records in taken.items() if records}

    @property
    def ended(self) -> bool:
        return super().ended and not any(self._left.values())


def test_what_is_written_ahead_of_what_was_read_is_in_order(
    broker: str, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = written.settings
    sizes = {settings.input.topic: 3, settings.output.topic: 50}
    monkeypatch.setattr(_Sips, "sizes", sizes)
    monkeypatch.setattr(module, "TopicReader", _Sips)
    lead = {"s0": 100, "s1": 100}  # these series run ahead of the others
    places = enumerate(written.events)
    ahead = sorted(places, key=lambda at: at[0] - lead.get(str(at[1].key, "utf-8"), 0))  # type: ignore[arg-type]
    written.write(broker, [event for _, event in ahead])
    found = verify(settings, lambda line: None)
    assert found.right, found


def test_events_of_other_jobs_are_nobodys_fault(broker: str, written: Written) -> None:
    other = identities(1, Origins(np.array([0], np.int32), np.array([0])))[0]
    written.write(broker, [Record(b"v", b"k"), Record(b"v", b"k", other), *written.events])
    assert verify(written.settings, lambda line: None).right


def test_memory_is_bounded_where_nothing_fits(
    broker: str, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_APART", 50)
    found = verify(written.settings, lambda line: None)
    assert any("more than 50 readings have no event" in text for text in found.examples)
    assert not found.right


def test_what_cannot_be_verified_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "job.toml"
    text = CONFIG.format("127.0.0.1:1", "in", "out")
    config.write_text(text + 'delivery = "at-least-once"\n')
    with pytest.raises(ConfigError, match="do not say which reading they are of"):
        verify(load(config))
    config.write_text(text.replace('time = "ts"', 'start = "latest"'))
    with pytest.raises(ConfigError, match="that position is no longer known"):
        verify(load(config))


@pytest.mark.parametrize("delivery", ["exactly-once", "transactional"])
def test_a_real_run_of_every_kind_is_found_right(kafka: str, tmp_path: Path, delivery: str) -> None:
    """Two fields, two smoothings by time, one of them of pairs, weights, and missing values.

    Two fields of each message are passed through to its event.
    """
    job = Job(kafka, tmp_path, partitions=(2, 3, 1))
    tables: dict[str, dict[str, object]] = {
        "input": {"value": ["quote.bid", "quote.ask"], "weight": "size"},
        "smooth": {"beta": None, "missing": "decay", "weighting": "volume"},
        "smooth.fast": {"halflife": "5s", "statistics": ["mean", "std", "cov"]},
        "smooth.slow": {"span": 20, "statistics": ["mean", "n_eff", "sum"]},
        "output": {"delivery": delivery, "include": ["unit", "site.name"]},
    }
    job.configure(**tables)
    rows = [
        {
            "series_id": f"s{i % 7}",
            "ts": START_MS + 700 * (i - 3 * (i % 11 == 0)),
            "quote": {"bid": None if i % 13 == 0 else 20 + i % 5, "ask": 21.5 + i % 3},
            "size": 1 + i % 4,
            "unit": "EUR",
            "site": {"name": i // 2},
        }
        for i in range(600)
    ]
    produce(kafka, job.input, [Record(json.dumps(r).encode(), b"k", (), None, 0) for r in rows])
    job.run(workers=2)
    found = verify(load(job.path), lambda _: None)
    assert found.right, str(found)
    assert found.events == 600
    one = read_all(kafka, job.output, 600, isolation_level="read_committed")[0]
    event = json.loads(one.value or b"")
    sent = (event["time"] - START_MS) // 700 // 2 if event["time"] > START_MS else 0
    assert event["unit"] == "EUR"
    assert sent <= event["site_name"] <= sent + 2
    produce(kafka, job.output, [Record(one.value, one.key, tuple(one.headers))])
    assert verify(load(job.path), lambda _: None).doubled == 1


COMPACTED: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(1 << 20),
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "100",
}


def compact(bootstrap: str, topic: str, records: int) -> None:
    """Have a topic of one partition compacted, until some of its first records are gone."""
    configure_topic(bootstrap, topic, COMPACTED)

    def left() -> int:  # the newest segment is never compacted: one more record closes it
        produce(bootstrap, topic, [Record(b"{}", b"closes a segment")])
        return sum(record.offset < records for record in read_all(bootstrap, topic, 1))

    wait_until(lambda: left() < records)


def test_what_compaction_has_removed_from_the_input_is_not_called_doubled_or_wrong(
    kafka: str, tmp_path: Path
) -> None:
    job = Job(kafka, tmp_path, partitions=(1, 1, 1))
    rows = [{"series_id": f"s{i % 3}", "ts": START_MS + i, "value": float(i)} for i in range(300)]
    keys = [b"k%d" % (i % 3) for i in range(300)]
    sent = [json.dumps(row).encode() for row in rows]
    produce(kafka, job.input, [Record(v, k) for v, k in zip(sent, keys, strict=True)])
    job.run()
    compact(kafka, job.input, 300)
    later = {"series_id": "new", "ts": START_MS + 300, "value": 0.0}
    produce(kafka, job.input, [Record(json.dumps(later).encode(), b"new")])
    job.run()
    told = ewma("verify", str(job.path))
    found = verify(load(job.path), lambda _: None)
    assert (found.missing, found.doubled, found.wrong, found.right) == (0, 0, 0, False), str(found)
    assert 0 < found.orphaned < 300
    assert "cannot be known: the input topic is compacted and some of its readings" in told.stdout
    assert told.stdout.splitlines()[-1] == "exactly once, as far as can be known"
    assert told.returncode == 1
    event = read_all(kafka, job.output, 300)[-1]
    produce(kafka, job.output, [Record(event.value, event.key, tuple(event.headers))])
    assert verify(load(job.path), lambda _: None).doubled == 1


def test_what_compaction_has_removed_from_the_output_is_not_called_missing(
    kafka: str, tmp_path: Path
) -> None:
    job = Job(kafka, tmp_path, partitions=(1, 1, 1))
    rows = [{"series_id": f"s{i % 3}", "ts": START_MS + i, "value": float(i)} for i in range(300)]
    produce(kafka, job.input, [Record(json.dumps(row).encode()) for row in rows])
    job.run()
    compact(kafka, job.output, 300)
    found = verify(load(job.path), lambda _: None)
    assert (found.missing, found.doubled, found.wrong, found.right) == (0, 0, 0, False), str(found)
    assert "the output topic is compacted and some of its events are gone" in str(found)


ALARMS = """
[alarms]
topic = "{0}"
[alarms.level]
limit = 3.0
warm_up = 20
[alarms.high]
kind = "bounds"
above = 250
"""


def test_alarms_are_held_against_the_input_too(
    embedded: str, topic: MakeTopic, tmp_path: Path
) -> None:
    """Those that are missing, doubled, wrong and out of order, each counted by itself."""
    source, target, alarms = topic(embedded, 1), topic(embedded, 1), topic(embedded, 2)
    config = tmp_path / "job.toml"
    config.write_text(CONFIG.format(embedded, source, target) + ALARMS.format(alarms))
    settings = load(config)
    assert settings.alarms is not None
    payloads = [
        json.dumps({"id": f"s{i % 10}", "value": (i * 7) % 300, "ts": i}).encode()
        for i in range(900)
    ]
    produce(embedded, source, [Record(payload) for payload in payloads])
    job = identify(settings, letters=False)
    rows = [json.loads(payload) for payload in payloads]
    readings = replace(
        Readings.of([r["id"] for r in rows], [r["value"] for r in rows], [r["ts"] for r in rows]),
        origins=Origins(
            np.full(900, job.inputs.number(source, 0), np.int64), np.arange(900, dtype=np.int64)
        ),
    )
    smoothed = SeriesTable(settings.smoothing_set, alarms=settings.alarms.rules).update(readings)
    assert smoothed.transitions is not None
    assert smoothed.readings.origins is not None
    names = identities(murmur2(job.events.encode()), smoothed.readings.origins)
    values = JsonEncoder(["mean"]).encode(smoothed)
    keys = map(str.encode, smoothed.readings.series_ids)
    events = [Record(v, k, n) for k, v, n in zip(keys, values, names, strict=True)]
    produce(embedded, target, events)

    made = AlarmRecords(settings.alarms.rules, job.alarms, job.inputs).of(smoothed.transitions)
    assert made.origins is not None
    columns = zip(
        made.keys, made.values, identities(murmur2(job.alarms.encode()), made.origins), strict=True
    )
    records = [Record(v, k, n, None, murmur2(k or b"") % 2) for k, v, n in columns]
    assert len(records) > 100
    produce(embedded, alarms, records[:60])
    found = verify(settings, lambda line: None)
    assert found.alarms is not None
    assert (found.faults, found.alarms.behind) == (len(records) - 60, len(records) - 60)
    assert not found.right

    rest = list(records[60:])
    del rest[20]
    rest[5] = rest[5]._replace(value=b"{}")
    produce(embedded, alarms, [*rest, rest[0]])
    found = verify(settings, lambda line: None)
    assert found.alarms is not None
    one = found.alarms
    assert (one.missing + one.behind, one.doubled, one.wrong, one.disordered) == (1, 1, 1, 0)
    assert found.faults == one.faults == 3, "the events are right"
    told = str(found).splitlines()
    assert told[2].startswith(f"{len(records)} transitions of alarms, {len(records)} records")
    assert "missing 1, doubled 1, wrong value 1, out of order 0" in told[3]
