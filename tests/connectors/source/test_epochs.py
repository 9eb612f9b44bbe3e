"""When an epoch ends, and that a worker that waits for another one leaves the core alone."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import datetime, timedelta, timezone

import pytest
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink, cluster_main

from ewma_ops.connectors.source.epochs import Epochs


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def closed(epochs: Epochs, clock: Clock, after_s: float, took_s: float) -> datetime | None:
    """End an epoch with a turn that begins so late, and return what that turn said."""
    clock.now += after_s
    epochs.turn_begins()
    awake = epochs.next_awake()
    epochs.ends()
    clock.now += took_s
    epochs.is_durable()
    return awake


def slept_s(awake: datetime | None, clock: Clock, took_s: float) -> float:
    assert awake is not None
    return (awake - datetime.fromtimestamp(clock.now - took_s, timezone.utc)).total_seconds()


def test_a_worker_sleeps_for_most_of_the_time_that_the_last_epoch_took() -> None:
    clock = Clock()
    epochs = Epochs(timedelta(seconds=10), clock)
    assert closed(epochs, clock, 10.0, took_s=0.4) is None, "nothing is known yet"
    assert slept_s(closed(epochs, clock, 10.0, took_s=0.4), clock, 0.4) == pytest.approx(0.3)
    # What took less takes at least what was slept: it becomes less all the same.
    assert slept_s(closed(epochs, clock, 10.0, took_s=0.3), clock, 0.3) == pytest.approx(0.3)
    assert slept_s(closed(epochs, clock, 10.0, took_s=9.0), clock, 9.0) == pytest.approx(0.225)
    assert slept_s(closed(epochs, clock, 10.0, took_s=0.0), clock, 0.0) == pytest.approx(0.5)
    assert closed(epochs, clock, 10.0, took_s=0.0) is None, "it would be less than a millisecond"


def test_a_turn_that_ends_no_epoch_says_nothing_and_all_parts_of_one_that_does_the_same() -> None:
    clock = Clock()
    epochs = Epochs(timedelta(seconds=10), clock)
    closed(epochs, clock, 10.0, took_s=0.4)
    clock.now += 9.5
    epochs.turn_begins()
    assert epochs.next_awake() is None, "the epoch began with the turn in which the last one ended"
    clock.now += 0.2
    epochs.turn_begins()
    first = epochs.next_awake()
    clock.now += 0.05
    assert epochs.next_awake() == first is not None
    epochs.ends()
    epochs.ends()  # for each part
    clock.now += 0.4
    epochs.is_durable()
    epochs.is_durable()
    epochs.turn_begins()
    assert epochs.next_awake() is None


def test_a_worker_that_is_alone_waits_for_nobody() -> None:
    clock = Clock()
    epochs = Epochs(None, clock)
    closed(epochs, clock, 10.0, took_s=0.4)
    assert closed(epochs, clock, 10.0, took_s=0.4) is None


class Part(StatefulSourcePartition[int, None]):
    """Waits for so long in each turn, and notes the CPU time of its thread as epochs close."""

    def __init__(self, turn_s: float, interval: timedelta | None, spent: list[float]) -> None:
        self._turn_s, self._epochs, self._spent = turn_s, Epochs(interval), spent
        self._turns, self._cpu_s = 0, -1.0

    def next_batch(self) -> list[int]:
        if self._cpu_s >= 0:
            self._spent.append(time.thread_time() - self._cpu_s)
            self._cpu_s = -1.0
            self._epochs.is_durable()
        if self._turns * self._turn_s >= 1.2:
            raise StopIteration
        self._turns += 1
        self._epochs.turn_begins()
        time.sleep(self._turn_s)
        return []

    def next_awake(self) -> datetime | None:
        return self._epochs.next_awake()

    def snapshot(self) -> None:
        self._epochs.ends()
        self._cpu_s = time.thread_time()


class Source(FixedPartitionedSource[int, None]):
    """A part of long turns and one of short ones, each on a worker of its own."""

    def __init__(self, interval: timedelta | None) -> None:
        self._interval = interval
        self.spent: dict[str, list[float]] = defaultdict(list)

    def list_parts(self) -> list[str]:
        return ["0", "1"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Part:
        turn_s = 0.15 if for_part == "0" else 0.005
        return Part(turn_s, self._interval, self.spent[for_part])


@pytest.mark.slow
def test_a_worker_that_waits_for_a_slow_one_takes_little_of_a_core() -> None:
    interval = timedelta(seconds=0.1)

    def cpu_s(source: Source) -> float:
        flow = Dataflow("flow")
        op.output("sink", op.input("source", flow, source), TestingSink([]))
        cluster_main(flow, [], 0, epoch_interval=interval, worker_count_per_proc=2)
        spent = source.spent["1"]
        assert len(spent) >= 4
        return sum(spent[2:]) / len(spent[2:])

    as_it_is, asleep = cpu_s(Source(None)), cpu_s(Source(interval))
    assert as_it_is > 0.003, "the engine has changed: it does not look all the time any more"
    assert asleep < 0.6 * as_it_is
