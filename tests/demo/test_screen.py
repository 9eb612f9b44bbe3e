"""What the screen counts and shows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator

import msgspec
import pytest
from rich.console import Console

from ewma_ops.demo import screen as screen_module
from ewma_ops.demo.data import RecordedReading
from ewma_ops.demo.expected import Expected
from ewma_ops.demo.feed import LABEL_HEADER, Feeder
from ewma_ops.demo.screen import OutputReader, Screen, Tally
from tests.helpers.brokers import Record, produce


def event(series_id: str, value: float | None, ewma: float | None, settled: float) -> bytes:
    fields = {"series_id": series_id, "time": 1_262_332_800_000, "value": value}
    return msgspec.json.encode({**fields, "ewma": ewma, "n_eff": 1.0, "settled": settled})


@pytest.fixture
def tally() -> Tally:
    expected = Expected(beta=0.9)
    list(expected.entering([RecordedReading("seattle-hourly", 0, 39.4)]))
    return Tally(expected, followed="seattle-hourly")


@pytest.fixture
def feeder(embedded: str) -> Iterator[Feeder]:
    feeder = Feeder(embedded, "never-sent-to")
    feeder.sent, feeder.malformed = 4, 2
    yield feeder
    feeder.close()


def test_tally_counts_events_and_times_them(tally: Tally) -> None:
    tally.take_event(event("seattle-hourly", 39.4, 39.4, 0.1))
    tally.take_event(event("AAPL", None, 130.5, 0.2))
    assert tally.events == {"seattle-hourly": 1, "AAPL": 1}
    assert tally.latest["AAPL"].ewma == 130.5
    assert [e.value for e in tally.followed] == [39.4]
    assert len(tally.latencies_s) == 1  # the other one was never sent


def test_tally_names_dead_letters(tally: Tally) -> None:
    tally.take_letter([(LABEL_HEADER, b"truncated JSON"), ("ewma-cause", b"not-json")])
    tally.take_letter([("ewma-cause", b"no-time")])
    assert tally.causes[0] == ("truncated JSON", "not-json")
    assert "none of the malformed" in tally.causes[1][0]


def test_reader_reads_all_topics_from_the_start(
    embedded: str, topic: Callable[..., str], tally: Tally
) -> None:
    output = topic(embedded, partitions=4)
    letters = topic(embedded, partitions=1)
    payload = event("seattle-hourly", 39.4, 39.4, 0.1)
    produce(embedded, output, [Record(payload, b"seattle-hourly", partition=3)])
    headers = ((LABEL_HEADER, b"empty payload"), ("ewma-cause", b"empty"))
    produce(embedded, letters, [Record(b"", b"AAPL", headers)])
    alarms = topic(embedded, partitions=2)
    alarm = {"transition": "raised", "summary": "AAPL is high"}
    produce(embedded, alarms, [Record(json.dumps(alarm).encode(), b"AAPL", partition=1)])
    reader = OutputReader(embedded, output, letters, alarms)
    try:
        seen = sum(reader.read(tally, 0.5) for _ in range(6))
    finally:
        reader.close()
    assert seen == 3
    assert tally.alarms == [alarm]
    assert tally.events == {"seattle-hourly": 1}
    assert tally.causes == [("empty payload", "empty")]


def test_table_fits_80_columns_and_tells_all(feeder: Feeder, tally: Tally) -> None:
    tally.take_event(event("seattle-hourly", 39.4, 39.41, 0.1))
    tally.take_event(event("GOOG", None, -1_234.567, 1.0))
    tally.take_event(event("synthetic-01", 100.0, None, 0.0))
    tally.take_letter([(LABEL_HEADER, b"empty payload")])
    console = Console(width=80, file=io.StringIO())
    with console.capture() as captured:
        console.print(Screen(console, feeder, tally, total=2).render())
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("2010-01-01 08:00" in line and "39.41" in line and "10.0%" in line for line in lines)
    assert any("GOOG" in line and "-1,234.57" in line for line in lines)
    assert any("synthetic-*" in line and "made up" in line for line in lines)
    assert any("2 + 2 synthetic" in line for line in lines)
    assert any("1 of 2 malformed" in line for line in lines)


def test_plain_lines_without_a_terminal(
    feeder: Feeder,
    tally: Tally,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(screen_module, "_LINE_S", 0.0)
    tally.take_event(event("seattle-hourly", 39.4, 39.4, 0.1))
    with Screen(Console(), feeder, tally, total=1000) as shown:
        shown.show()
    (line,) = capsys.readouterr().out.splitlines()
    assert "4 of 1,000" in line
    assert "events      1" in line
    assert "dead letters 0 of 2" in line
    assert "\x1b" not in line
    assert len(line) <= 80
