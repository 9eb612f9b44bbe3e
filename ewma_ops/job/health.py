"""Whether a job is ready on a host: its workers answer, it has read, and its state is saved.

Knows measurements; must not know HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["why_not_ready"]

_LONGEST_FIRST_S = 60.0
"""A longer ``recovery.interval`` is too long to wait for the first snapshot."""
_OVERDUE = 5.0
_OVERDUE_S = 30.0


class _Taken(Protocol):
    @property
    def answered(self) -> Sequence[bool]: ...

    def values(self, name: str) -> Sequence[float]: ...


def why_not_ready(
    taken: _Taken, interval_s: float | None, now: Callable[[], float] = time.time
) -> list[str]:
    """Return why a job is not ready, as sentences; nothing if it is.

    Parameters
    ----------
    taken
        The workers' answers.
    interval_s
        Time between two snapshots; None if none are taken.
    """
    if not taken.answered:
        return ["no worker runs: the job is starting, or waits to start again"]
    why = [f"worker {i} does not answer" for i, up in enumerate(taken.answered) if not up]
    if not any(taken.answered):
        return why
    partitions = taken.values("ewma_ops_input_partitions")
    if len(partitions) == taken.answered.count(True) and not any(partitions):
        return why  # one host of several, with nothing to read
    lags = taken.values("ewma_ops_consumer_lag")
    if not any(taken.values("ewma_ops_readings_total")) and (not lags or any(lags)):
        why.append("nothing was read yet, and the input is not known to be at its end")
    if interval_s is not None:
        at = max(taken.values("ewma_ops_snapshot_timestamp_seconds"), default=None)
        if at is None and interval_s <= _LONGEST_FIRST_S:
            why.append(f"no snapshot was taken yet; there is one each {interval_s:g} s")
        elif at is not None and now() - at > _OVERDUE * interval_s + _OVERDUE_S:
            why.append(
                f"the last snapshot is {now() - at:.0f} s old; there should be one each "
                f"{interval_s:g} s"
            )
    return why
