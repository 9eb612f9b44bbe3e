"""Latency and CPU of a flow that runs, at several rates: from append to append, whoever it is.

Knows a topic in, a topic out and a process with all that it started; must not know what it runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import count
from typing import NamedTuple

import numpy as np

from tests.bench.contest import compilers_s, make_topic, tree_cpu_s
from tests.bench.feeding import APPEND_CLOCK, appended, await_events, feed

__all__ = ["LiveScore", "Start", "measure", "tree_cpu_s"]

Start = Callable[[str, str, str], AbstractContextManager[int]]
"""Starts a contender on a broker, an input and an output topic; yields the process id of its root,
and ends all of it when the block ends."""

_FIRST_S = 60.0
"""How long the first event of a contender may take."""
_SETTLE_S = 1.5
_WARM_UP_RATE = 50_000
_numbers = count()


class LiveScore(NamedTuple):
    """What a contender reached at one rate."""

    a_second: int
    p50_ms: float
    p99_ms: float
    core_share: float
    """CPU seconds a second of the root process and of all that it started."""
    compilers_share: float
    """Those of the JVM's just-in-time compilers, which are not in ``core_share``."""


def measure(
    bootstrap: str,
    start: Start,
    rates: Sequence[int],
    *,
    series: int = 1_000,
    warm_up_s: float = 3.0,
    warm_up_readings: int = 0,
    seconds: float = 10.0,
) -> list[LiveScore]:
    """Return the scores of one contender at each rate, one after the other, from one start.

    Latency is from the broker's append of a reading to its append of the event, by the broker's
    own clock, so it takes a broker that keeps LogAppendTime, in milliseconds.

    Parameters
    ----------
    bootstrap
        The broker.
    start
        The contender.
    rates
        Readings a second.
    series
        Over how many series they are spread.
    warm_up_s
        Seconds at each rate before the measurement.
    warm_up_readings
        As many are sent at 50,000 a second before all that: a JVM compiles what runs often.
    seconds
        Length of each measurement.

    Raises
    ------
    RuntimeError
        If a reading has no event.
    """
    number = next(_numbers)
    source, target = (f"live-{kind}-{os.getpid()}-{number}" for kind in ("in", "out"))
    for topic in (source, target):
        make_topic(bootstrap, topic, APPEND_CLOCK)
    send = partial(_send, bootstrap, source, series)
    spans: list[tuple[int, int]] = []
    shares: list[tuple[float, float]] = []
    with start(bootstrap, source, target) as pid:
        at = send(series, 1, 0)
        await_events(bootstrap, target, at, _FIRST_S)
        at = send(_WARM_UP_RATE, warm_up_readings / _WARM_UP_RATE, at)
        for rate in rates:
            at = send(rate, warm_up_s, at)
            used, compiled, began = tree_cpu_s(pid), compilers_s(pid), time.monotonic()
            end = send(rate, seconds, at)
            took, compiled = time.monotonic() - began, compilers_s(pid) - compiled
            shares.append(((tree_cpu_s(pid) - used - compiled) / took, compiled / took))
            spans.append((at, end))
            at = end
        time.sleep(_SETTLE_S)
    came, went = appended(bootstrap, source), appended(bootstrap, target)
    if len(went) < len(came):
        raise RuntimeError(f"{len(went)} events of {len(came)} readings")
    scores = []
    for rate, share, (lo, hi) in zip(rates, shares, spans, strict=True):
        p50, p99 = np.percentile([went[i] - came[i] for i in range(lo, hi)], [50, 99])
        scores.append(LiveScore(rate, float(p50), float(p99), *share))
    return scores


def _send(
    bootstrap: str, topic: str, series: int, a_second: int, seconds: float, first: int
) -> int:
    return feed(bootstrap, topic, a_second=a_second, series=series, seconds=seconds, first=first)
