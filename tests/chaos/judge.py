"""What a job wrote, held against the truth: computed from the input, as if nothing had happened.

Shares no code with the product. The truth is the seed formula, v = 0.9 v + 0.1 x, divided by
1 - 0.9^t; the product keeps other state. What an event must look like is written down here again.
"""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition

from tests.chaos.feeder import MUST_BE_REJECTED
from tests.chaos.job import BETA, Job

__all__ = ["Judge", "Position", "Verdict", "ask_verify"]

IDENTITY_HEADER = "ewma"
TOLERANCE = 1e-13
"""Of a value, relative: two orders of the same sums round differently, by a few units of 1e-16."""

Position = tuple[int, int]
"""Partition and offset in the input."""


class Expected(NamedTuple):
    """What the event of one reading says; None in place of it is a dead letter."""

    series_id: str
    time: int
    value: float
    ewma: float


@dataclass
class Verdict:
    """How the output differs from the truth; right if nothing was lost, doubled and so on.

    ``alarms`` counts transitions, where the job has rules.
    """

    readings: int = 0
    letters: int = 0
    alarms: int = 0
    kills: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    hurts: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    disordered: int = 0
    failed: str = ""
    examples: list[str] = field(default_factory=list)
    slowest_stop_s: float = 0.0
    longest_gap_s: float = 0.0
    gaps: dict[str, list[float]] = field(default_factory=dict)
    """How long nothing was written after something was done, by what that was."""

    @property
    def faults(self) -> int:
        return self.lost + self.doubled + self.wrong + self.disordered

    @property
    def right(self) -> bool:
        return not (self.faults or self.failed)

    @property
    def blows(self) -> int:
        return self.kills + self.hurts.total()

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.hurts.total()} hurts, {self.readings} readings and "
            f"{self.letters} dead letters{self._of_alarms()}: {self.lost} lost, "
            f"{self.doubled} doubled, {self.wrong} wrong, {self.disordered} out of order"
            f"{'; ' + self.failed if self.failed else ''}"
        )

    def _of_alarms(self) -> str:
        return f" and {self.alarms} transitions of alarms" if self.alarms else ""

    def details(self) -> str:
        """Return how often each thing was done to it, and the first faults."""
        done = sorted({**self.deaths, **self.hurts}.items())
        lines = [f"  {n:4} {what}" for what, n in done]
        lines += [f"  {n:4} stops that said {what!r}" for what, n in sorted(self.stops.items())]
        lines += [_gaps_line(what, sorted(gaps)) for what, gaps in sorted(self.gaps.items())]
        lines += [f"  {example}" for example in self.examples]
        return "\n".join([*lines, f"  slowest graceful stop {self.slowest_stop_s:.1f} s"])

    def note_gap(self, what: str, seconds: float) -> None:
        self.gaps.setdefault(what, []).append(seconds)

    def fail(self, reason: str) -> None:
        self.failed += f"; {reason}" if self.failed else reason

    def example(self, text: str) -> None:
        if len(self.examples) < 12:
            self.examples.append(text)


def _gaps_line(what: str, gaps: list[float]) -> str:
    median, longest = gaps[len(gaps) // 2], gaps[-1]
    return f"  written again {median:.1f} s (median; longest {longest:.1f} s) after {what}"


class Judge:
    """Compares as multisets of (series, position, value), and the order within each series.

    Everything is read once: a look costs what has been written since the one before.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self.forget()

    def forget(self) -> None:
        """Start over: the input is another one. Events of jobs seen until now do not count."""
        self._old: set[int] = getattr(self, "_jobs", set())
        self._jobs: set[int] = set()
        self._input = Topic(self._job, self._job.source)
        self._state: dict[str, tuple[float, float]] = {}
        self.truth: dict[Position, Expected | None] = {}
        self.forget_output()
        self.forget_letters()

    def forget_output(self) -> None:
        """Start over with an output topic that was created again."""
        self._output = Topic(self._job, self._job.target)
        self.events: Counter[Position] = Counter()
        self.wrong_events = 0
        self._unjudged: list[tuple[Position, int, bytes, bytes]] = []
        self._newest: dict[tuple[int, bytes], Position] = {}

    def forget_letters(self) -> None:
        """Start over with a dead-letter topic that was created again."""
        self._letters = Topic(self._job, self._job.letters)
        self.letters: Counter[Position] = Counter()
        self.wrong_letters: set[Position] = set()

    def read_input(self) -> None:
        """Compute what follows from the input that was not read yet."""
        rows = sorted(self._input.read(), key=lambda row: (row.partition, row.offset))
        for row in rows:
            position = (row.partition, row.offset)
            if MUST_BE_REJECTED in row.headers:
                self.truth[position] = None
                continue
            reading = json.loads(row.value)
            series, value = reading["id"], reading["value"]
            mean, weight = self._state.get(series, (0.0, 1.0))
            mean, weight = BETA * mean + (1 - BETA) * value, BETA * weight
            self._state[series] = mean, weight
            self.truth[position] = Expected(series, row.timestamp, value, mean / (1 - weight))

    def read_output(self) -> None:
        for row in self._output.read():
            position = self._position(row)
            if position is not None:
                self.events[position] += 1
                self._unjudged.append((position, row.partition, row.key, row.value))
        for row in self._letters.read():
            position = self._position(row)
            if position is not None:
                self.letters[position] += 1

    def missing(self) -> set[Position]:
        """Return the positions that have neither event nor letter where they must have one."""
        return {
            position
            for position, event in self.truth.items()
            if position not in (self.letters if event is None else self.events)
        }

    def compare(self, verdict: Verdict) -> None:
        """Judge what was written since the last comparison; nothing may be missing now."""
        missing = sorted(self.missing())
        self.read_input()  # so that all that is written has its truth
        verdict.readings = sum(event is not None for event in self.truth.values())
        verdict.letters = len(self.truth) - verdict.readings
        verdict.lost = len(missing)
        for position in missing[:3]:
            verdict.example(f"lost: {position}: {self.truth[position]}")
        both = (self.events, self.letters)
        self._compare_letters(verdict)
        for position, partition, key, value in self._unjudged:
            self._compare_event(position, partition, key, value, verdict)
        self._unjudged = []
        verdict.wrong = self.wrong_events + len(self.wrong_letters)
        verdict.doubled = sum(counted.total() - len(counted) for counted in both)
        for counted in both:
            for position, n in counted.items():
                if n > 1:
                    verdict.example(f"{n} times: {position}: {self.truth.get(position)}")

    def _compare_letters(self, verdict: Verdict) -> None:
        """Look for letters of what is a reading."""
        for position in self.letters.keys() - self.wrong_letters:
            if self.truth.get(position, False) is not None:
                self.wrong_letters.add(position)
                verdict.example(f"put aside: {position}: {self.truth.get(position)}")

    def _compare_event(
        self, position: Position, partition: int, key: bytes, value: bytes, verdict: Verdict
    ) -> None:
        want = self.truth.get(position)
        if want is None or not _is_event_of(want, key, value):
            self.wrong_events += 1
            verdict.example(f"wrong: {position}: {value[:200]!r}, not {want}")
        before = self._newest.get((partition, key), (-1, -1))
        if position[0] == before[0] and position[1] < before[1]:
            verdict.disordered += 1
            verdict.example(f"out of order: {position} of {key!r} comes after {before}")
        self._newest[partition, key] = position

    def _position(self, row: Any) -> Position | None:
        identity = [content for name, content in row.headers if name == IDENTITY_HEADER][-1]
        job, partition, offset, _ = struct.unpack(">IiqQ", identity)
        if job in self._old:
            return None
        self._jobs.add(job)
        return partition, offset


def _is_event_of(want: Expected, key: bytes, value: bytes) -> bool:
    event = json.loads(value)
    told = dict(want._asdict(), ewma=event.get("ewma"))
    same = event == told and key == want.series_id.encode()
    return same and math.isclose(event["ewma"], want.ewma, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


class Topic:
    """Reads a topic on, to its end, each time; only committed records of transactions."""

    def __init__(self, job: Job, topic: str) -> None:
        self._job, self._topic = job, topic
        self._reached: dict[int, int] = {}

    def read(self) -> list[Any]:
        committed = self._job.plan.delivery == "transactional"
        consumer = KafkaConsumer(
            bootstrap_servers=self._job.bootstrap,
            auto_offset_reset="earliest",
            group_id=None,
            isolation_level="read_committed" if committed else "read_uncommitted",
            max_poll_records=20_000,
        )
        try:
            return self._read(consumer)
        finally:
            consumer.close()

    def _read(self, consumer: Any) -> list[Any]:
        found: list[Any] = []
        tps = [TopicPartition(self._topic, p) for p in consumer.partitions_for_topic(self._topic)]
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, self._reached.get(tp.partition, 0))
        ends = dict(consumer.end_offsets(tps))
        fetched: set[TopicPartition] = set()
        while len(fetched) < len(tps) or any(consumer.position(tp) < ends[tp] for tp in tps):
            polled = consumer.poll(timeout_ms=150)
            found += [_small(record) for run in polled.values() for record in run]
            for tp in set(tps) - fetched:  # some brokers list too low an end, and fetch a right one
                mark = consumer.highwater(tp)
                if mark is not None:
                    fetched.add(tp)
                    ends[tp] = max(ends[tp], mark)
        self._reached = {tp.partition: consumer.position(tp) for tp in tps}
        return found


def _small(record: Any) -> Any:
    """Return a record without the bulk of a bomb."""
    value = record.value
    return record if value is None or len(value) < 100_000 else record._replace(value=value[:100])


def ask_verify(config: Path) -> tuple[int, str]:
    """Run ``ewma verify``, as a user would; return its exit code and what it printed."""
    line = [sys.executable, "-m", "ewma_ops.commands.cli", "verify", str(config)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr
