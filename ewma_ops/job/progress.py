"""Logs the progress of a job at intervals: rate, lag, dead letters, snapshots.

Knows measurements and the time; must not know their source.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from ewma_ops.job.log import print_line
from ewma_ops.job.measurements import Measurements, Taken
from ewma_ops.job.report import by_cause, counted

__all__ = ["REPORT_EVERY_S", "Progress", "reporting"]

REPORT_EVERY_S = 60.0
_CLOSE_S = 2.0


class Progress:
    """Counts since the last line."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str, str], float] = {}

    def line(self, taken: Taken, seconds: float, now: float) -> str:
        """Return a line on the ``seconds`` since the last call, at the time ``now``.

        Examples
        --------
        >>> from ewma_ops.job.measurements import Family, Sample
        >>> def read(n):
        ...     sample = Sample("ewma_ops_readings_total", {"worker": "0"}, n)
        ...     return Taken([Family("ewma_ops_readings", "counter", "", [sample])], [True])
        >>> progress = Progress()
        >>> progress.line(read(100.0), 60, 0.0)
        'in 60 s: 100 readings (1.7/s), 0 events, 0 dead letters; lag unknown'
        >>> progress.line(read(6_100.0), 60, 0.0)
        'in 60 s: 6,000 readings (100/s), 0 events, 0 dead letters; lag unknown'
        """
        if not any(taken.answered):
            return "no worker answers"
        made = self._since_before(taken)
        letters = {cause: n for (name, cause), n in made.items() if name == "dead_letters" and n}
        read = made.get(("readings", ""), 0)
        message = counted(sum(letters.values()), "dead letter")
        parts = [
            f"in {seconds:.0f} s: {counted(read, 'reading')} ({_rate(read / seconds)}/s)",
            counted(made.get(("events", ""), 0), "event"),
            message + (f" ({by_cause(letters.items())})" if letters else ""),
        ]
        lags = taken.values("ewma_ops_consumer_lag")
        state = [f"lag {int(sum(lags)):,}" if lags else "lag unknown"]
        if series := int(sum(taken.values("ewma_ops_series"))):
            state.append(f"{series:,} series")
        if at := max(taken.values("ewma_ops_snapshot_timestamp_seconds"), default=0.0):
            state.append(f"last snapshot {max(0.0, now - at):.0f} s ago")
        if silent := taken.answered.count(False):
            state.append(f"{counted(silent, 'worker')} without an answer")
        return f"{', '.join(parts)}; {', '.join(state)}"

    def _since_before(self, taken: Taken) -> dict[tuple[str, str], int]:
        """Return the increase by name and cause; a restarted worker began at 0."""
        made: dict[tuple[str, str], int] = {}
        for name in ("readings", "events", "dead_letters"):
            for sample in taken.samples(f"ewma_ops_{name}_total"):
                cause = sample.labels.get("cause", "")
                key = (name, cause, sample.labels["worker"])
                before = self._before.get(key, 0.0)
                self._before[key] = sample.value
                more = sample.value - before if sample.value >= before else sample.value
                made[name, cause] = made.get((name, cause), 0) + int(more)
        return made


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.2g}"


@contextlib.contextmanager
def reporting(measurements: Measurements, every_s: float) -> Iterator[None]:
    """Log the progress of the job at intervals, for the length of a ``with`` block."""
    ended = threading.Event()
    thread = threading.Thread(
        target=_report, args=(measurements, every_s, ended), name="ewma_ops-progress", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_CLOSE_S)


def _report(measurements: Measurements, every_s: float, ended: threading.Event) -> None:
    progress, last = Progress(), time.monotonic()
    while not ended.wait(every_s):
        taken = measurements.take()
        last, began = time.monotonic(), last
        if not ended.is_set():
            print_line(progress.line(taken, last - began, time.time()))
