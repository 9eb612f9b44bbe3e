"""When an epoch ends, and that a worker that waits for another one leaves the core alone."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from pathlib import Path

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


def wanted_core_s() -> float:
    """Return how long this thread has had a core or queued for one: beside others it has less."""
    queue = Path("/proc/thread-self/schedstat")
    queued_ns = int(queue.read_text().split()[1]) if queue.exists() else 0
    return time.thread_time() + queued_ns / 1e9


class Part(StatefulSourcePartition[int, None]):
    """Waits for so long in each turn; notes how long epochs take to close, and want a core."""

    def __init__(
        self, turn_s: float, interval: timedelta | None, waits: list[tuple[float, float]]
    ) -> None:
        self._turn_s, self._epochs, self._waits = turn_s, Epochs(interval), waits
        self._turns = 0
        self._ended: tuple[float, float] | None = None

    def next_batch(self) -> list[int]:
        if self._ended is not None:
            at, wanted_s = self._ended
            self._waits.append((time.monotonic() - at, wanted_core_s() - wanted_s))
            self._ended = None
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
        self._ended = time.monotonic(), wanted_core_s()


class Source(FixedPartitionedSource[int, None]):
    """A part of long turns and one of short ones, each on a worker of its own."""

    def __init__(self, interval: timedelta | None) -> None:
        self._interval = interval
        self.waits: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def list_parts(self) -> list[str]:
        return ["0", "1"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Part:
        turn_s = 0.15 if for_part == "0" else 0.005
        return Part(turn_s, self._interval, self.waits[for_part])


@pytest.mark.slow
def test_a_worker_that_waits_for_a_slow_one_takes_little_of_a_core() -> None:
    interval = timedelta(seconds=0.1)

    def share_of_a_core(source: Source) -> float:
        flow = Dataflow("flow")
        op.output("sink", op.input("source", flow, source), TestingSink([]))
        cluster_main(flow, [], 0, epoch_interval=interval, worker_count_per_proc=2)
        waits = source.waits["1"]
        assert len(waits) >= 4
        waited_s, wanted_s = map(sum, zip(*waits[2:], strict=True))
        return wanted_s / waited_s

    as_it_is = share_of_a_core(Source(None))
    assert as_it_is > 0.5, "the engine has changed: it does not look all the time any more"
    # Among a dozen programs to a core waits are so unequal that the last tells little of the next.
    # Without sleep no try comes near: then a worker wants a core all the time, on any machine.
    asleep = (share_of_a_core(Source(interval)) for _ in range(4))
    assert any(share < 0.6 * as_it_is for share in asleep)
