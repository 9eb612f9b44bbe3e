"""What comes out of the flow, counted and shown: a live table, or plain lines without a terminal.

Knows the output topic, the dead letters and how to draw them; must not know how they were made.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ewma_ops.demo.data import SERIES
from ewma_ops.demo.expected import Expected
from ewma_ops.demo.faults import FAULTY
from ewma_ops.demo.feed import LABEL_HEADER, MALFORMED, Feeder
from ewma_ops.demo.flow_process import FETCH_MAX_WAIT_MS

__all__ = ["Event", "OutputReader", "Screen", "Tally"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FRAME_S = 0.1
_LINE_S = 1.0
_RATE_WINDOW_S = 2.0
_LATENCIES = 10_000


class Event(msgspec.Struct):
    """A smoothed event, as far as the demo looks at it."""

    series_id: str
    time: int
    value: float | None
    ewma: float | None
    settled: float | None


class Tally:
    """Count what has come out.

    Parameters
    ----------
    expected
        What was sent, to tell how long each event took.
    followed
        Series of which every event is kept.
    """

    def __init__(self, expected: Expected, followed: str) -> None:
        self.events: Counter[str] = Counter()
        """By series."""
        self.latest: dict[str, Event] = {}
        self.followed: list[Event] = []
        self.causes: list[tuple[str, str]] = []
        """Of each dead letter: the label it was sent with, and the cause the flow gave."""
        self.alarms: list[dict[str, Any]] = []
        """Transitions of alarms, as their records."""
        self.latencies_s: deque[float] = deque(maxlen=_LATENCIES)
        """From sent to seen here, of the latest events."""
        self._expected = expected
        self._followed = followed
        self._decoder = msgspec.json.Decoder(Event)

    def take_event(self, payload: bytes) -> None:
        """Count one record of the output topic."""
        event = self._decoder.decode(payload)
        self.events[event.series_id] += 1
        self.latest[event.series_id] = event
        if event.series_id == self._followed:
            self.followed.append(event)
        latency_s = self._expected.arrived(event.series_id)
        if latency_s is not None:
            self.latencies_s.append(latency_s)

    def take_letter(self, headers: Sequence[tuple[str, bytes]]) -> None:
        """Count one record of the dead-letter topic."""
        texts = {name: value.decode("utf-8", "replace") for name, value in headers}
        label = texts.get(LABEL_HEADER, "a reading that is none of the malformed messages")
        self.causes.append((label, texts.get("ewma-cause", "no cause given")))

    def take_alarm(self, payload: bytes) -> None:
        """Keep one record of the alarms topic."""
        self.alarms.append(msgspec.json.decode(payload))


class OutputReader:
    """Read what a flow writes from its start into a tally: events, dead letters and alarms."""

    def __init__(self, bootstrap_servers: str, output: str, dead_letters: str, alarms: str) -> None:
        self._dead_letters, self._alarms = dead_letters, alarms
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            group_id=None,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        )
        self._consumer.assign(
            [
                TopicPartition(topic, partition)
                for topic in (output, dead_letters, alarms)
                for partition in sorted(self._consumer.partitions_for_topic(topic) or ())
            ]
        )

    def read(self, tally: Tally, wait_s: float) -> int:
        """Count what has arrived, waiting at most ``wait_s`` for the first; return how many."""
        records = self._consumer.poll(timeout_ms=int(wait_s * 1000), max_records=2000)
        for partition, run in records.items():
            for record in run:
                if partition.topic == self._dead_letters:
                    tally.take_letter(record.headers)
                elif partition.topic == self._alarms:
                    tally.take_alarm(record.value)
                else:
                    tally.take_event(record.value)
        return sum(len(run) for run in records.values())

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


class Screen:
    """Show a demo while it runs, for the length of a ``with`` block.

    Parameters
    ----------
    total
        Recorded readings that will be sent.
    """

    def __init__(self, console: Console, feeder: Feeder, tally: Tally, total: int) -> None:
        self._console = console
        self._feeder = feeder
        self._tally = tally
        self._total = total
        self._counts: deque[tuple[float, int]] = deque([(time.perf_counter(), 0)])
        self._start_s = self._shown_s = time.perf_counter()
        self._moving = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Screen:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        if self._moving:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._moving:
            self._live.stop()

    def show(self) -> None:
        """Show how things stand, if it is time to."""
        now_s = time.perf_counter()
        if now_s - self._shown_s < (_FRAME_S if self._moving else _LINE_S):
            return
        self._shown_s = now_s
        self._counts.append((now_s, self._tally.events.total()))
        while now_s - self._counts[0][0] > _RATE_WINDOW_S and len(self._counts) > 2:
            self._counts.popleft()
        if self._moving:
            self._live.update(self.render(), refresh=True)
        else:
            self._console.print(self.line(), soft_wrap=True)

    def line(self) -> str:
        """Return how things stand as one line of text."""
        return (
            f"{self._shown_s - self._start_s:5.1f} s  sent {self._sent():>16}  "
            f"events {self._tally.events.total():>6,}  {self._per_s():>5,.0f}/s  "
            f"dead letters {len(self._tally.causes)} of {self._feeder.malformed}"
        )

    def render(self) -> RenderableType:
        """Return how things stand as a table with what has been sent and seen below it."""
        return Group(Padding(self._series(), (1, 0)), self._progress())

    def _series(self) -> Table:
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
        table.add_column("series", width=17, no_wrap=True)
        table.add_column("events", width=7, justify="right")
        table.add_column("time (UTC)", width=16)
        table.add_column("value", width=9, justify="right")
        table.add_column("ewma", width=9, justify="right", style="bold cyan")
        table.add_column("settled", width=8)
        table.add_column("", width=6, justify="right")
        for series_id in (*SERIES, *sorted(self._tally.latest.keys() - SERIES.keys())):
            event = self._tally.latest.get(series_id)
            cells = ("-", "", "", "", "", "") if event is None else self._cells(event)
            table.add_row(series_id, *cells, style="dim" if event is None else "")
        return table

    def _cells(self, event: Event) -> tuple[RenderableType, ...]:
        settled = event.settled or 0.0
        return (
            f"{self._tally.events[event.series_id]:,}",
            f"{_EPOCH + timedelta(milliseconds=event.time):%Y-%m-%d %H:%M}",
            "-" if event.value is None else f"{event.value:,.2f}",
            "-" if event.ewma is None else f"{event.ewma:,.2f}",
            ProgressBar(total=1, completed=settled, width=8, finished_style="bar.complete"),
            f"{settled:.1%}",
        )

    def _progress(self) -> Table:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=12)
        grid.add_column(width=24)
        grid.add_column(no_wrap=True)
        events = self._tally.events.total()
        seen = f"{events:,}   {self._per_s():,.0f} a second" if events else "the flow is starting"
        grid.add_row("sent", self._bar(self._feeder.sent), self._sent())
        grid.add_row("events", self._bar(events), Text(seen, style="bold cyan"))
        raised = [one for one in self._tally.alarms if one["transition"] == "raised"]
        letters = f"{len(self._tally.causes)} of {self._feeder.malformed} malformed messages"
        grid.add_row("dead letters", self._bar(len(self._tally.causes), len(MALFORMED)), letters)
        newest = f"{len(raised)} raised" + (f", {raised[-1]['summary']}" if raised else "")
        grid.add_row(
            "alarms", "", Text(newest, style="yellow" if raised else "", overflow="ellipsis")
        )
        made_up = self._tally.latest.keys() - SERIES.keys() - {FAULTY}
        if made_up:
            grid.add_row()
            grid.add_row("synthetic-*", "is made up: random walks", "Ctrl-C ends the demo")
        return grid

    def _bar(self, done: int, total: int | None = None) -> ProgressBar:
        return ProgressBar(total=self._total if total is None else total, completed=done, width=24)

    def _sent(self) -> str:
        synthetic = self._feeder.sent - self._total
        if synthetic > 0:
            return f"{self._total:,} + {synthetic:,} synthetic"
        return f"{self._feeder.sent:,} of {self._total:,}"

    def _per_s(self) -> float:
        (first_s, first), (last_s, last) = self._counts[0], self._counts[-1]
        return (last - first) / max(last_s - first_s, 1e-9)
