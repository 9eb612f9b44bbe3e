"""What the feed puts on a topic, and at what pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from ewma_ops.demo import feed as feed_module
from ewma_ops.demo.data import RecordedReading, recorded_readings
from ewma_ops.demo.feed import LABEL_HEADER, MALFORMED, MALFORMED_EVERY, Feeder, feed
from ewma_ops.errors import BrokerError
from tests.helpers.brokers import read_all
from tests.helpers.patience import slowness

READINGS = [
    RecordedReading("seattle", 1_000, 39.4),
    RecordedReading("AAPL", 2_000, 130.31, 9616100),
    RecordedReading("seattle", 3_000, -1.5),
]


MakeFeeder = Callable[..., tuple[Feeder, str]]


@pytest.fixture
def feeder_of(embedded: str, topic: Callable[..., str]) -> Iterator[MakeFeeder]:
    feeders: list[Feeder] = []

    def make(stopping: threading.Event | None = None) -> tuple[Feeder, str]:
        name = topic(embedded, partitions=4, name_prefix="feed")
        feeders.append(Feeder(embedded, name, stopping))
        return feeders[-1], name

    yield make
    for feeder in feeders:
        feeder.close()


def test_readings_arrive_as_json_keyed_by_series(embedded: str, feeder_of: MakeFeeder) -> None:
    feeder, name = feeder_of()
    feeder.send(READINGS, readings_per_s=10_000)
    records = read_all(embedded, name, 3)
    payloads = sorted((msgspec.json.decode(r.value) for r in records), key=lambda p: p["ts"])
    assert payloads == [
        {"series_id": "seattle", "ts": 1_000, "value": 39.4},
        {"series_id": "AAPL", "ts": 2_000, "value": 130.31, "volume": 9616100},
        {"series_id": "seattle", "ts": 3_000, "value": -1.5},
    ]
    assert {(r.key, msgspec.json.decode(r.value)["series_id"]) for r in records} == {
        (b"seattle", "seattle"),
        (b"AAPL", "AAPL"),
    }
    assert feeder.sent == 3


def test_malformed_messages_are_labelled_and_spread(embedded: str, feeder_of: MakeFeeder) -> None:
    feeder, name = feeder_of()
    readings = READINGS * MALFORMED_EVERY  # three times as many
    feeder.send(readings, readings_per_s=1_000_000, malformed=MALFORMED)
    assert (feeder.sent, feeder.malformed) == (3 * MALFORMED_EVERY, 3)
    records = read_all(embedded, name, feeder.sent + feeder.malformed)
    labelled = {dict(r.headers)[LABEL_HEADER]: r.value for r in records if r.headers}
    assert labelled == {m.label.encode(): m.payload for m in MALFORMED[:3]}


@pytest.mark.slow
def test_a_dozen_different_malformed_messages_fit_into_the_recorded_readings() -> None:
    assert len(MALFORMED) == len({m.label for m in MALFORMED}) == 12
    assert len(MALFORMED) * MALFORMED_EVERY <= sum(1 for _ in recorded_readings())


def test_pace(feeder_of: MakeFeeder) -> None:
    feeder, _ = feeder_of()
    start_s = time.perf_counter()
    feeder.send(READINGS * 100, readings_per_s=500)
    assert 0.4 < time.perf_counter() - start_s < 0.8 * slowness()


def test_stopping_ends_an_endless_feed(feeder_of: MakeFeeder) -> None:
    stopping = threading.Event()
    feeder, _ = feeder_of(stopping)
    endless = iter(lambda: READINGS[0], None)
    threading.Timer(0.2, stopping.set).start()
    start_s = time.perf_counter()
    feeder.send(endless, readings_per_s=5)
    assert time.perf_counter() - start_s < 2 * slowness()


def test_feed_goes_on_with_synthetic_ticks(
    embedded: str, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()

    def recorded() -> Iterator[RecordedReading]:
        threading.Timer(0.5, stopping.set).start()  # connecting takes as long as it takes
        yield from READINGS

    monkeypatch.setattr(feed_module, "recorded_readings", recorded)
    name = topic(embedded, partitions=1, name_prefix="feed")
    sent = feed(embedded, name, readings_per_s=1000, forever=True, stopping=stopping)
    ids = [msgspec.json.decode(r.value)["series_id"] for r in read_all(embedded, name, sent)]
    assert ids[:4] == ["seattle", "AAPL", "seattle", "synthetic-01"]
    assert sent == len(ids) > 20


def test_no_broker_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_TIMEOUT_S", 1)
    with pytest.raises(BrokerError, match=r"no Kafka answers at 127\.0\.0\.1:9"):
        Feeder("127.0.0.1:9", "readings")
