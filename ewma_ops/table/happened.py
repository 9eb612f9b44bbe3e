"""Events of alarms to columns: readings as triggers, events as transitions.

Knows readings, rows and events; must not know rules or scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import taken
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Readings
from ewma_ops.columns.transitions import EVIDENCE, Transitions
from ewma_ops.monitor.machine import Event, Trigger
from ewma_ops.stats.states import NEVER

__all__ = ["Happened", "as_transitions", "rows_before", "triggers_at"]

_NAN = float("nan")


class Happened(NamedTuple):
    """An event of the rule with a number, at the reading at a place of a batch."""

    at: int
    rule: int
    event: Event


def triggers_at(readings: Readings, at: NDArray[np.intp]) -> list[Trigger]:
    """Return the readings at some places as triggers."""
    times, origins = readings.times_ms, readings.origins
    moments = [NEVER] * len(at) if times is None else times[at].tolist()
    if origins is None:
        return list(map(Trigger, moments))
    ordinals = [0] * len(at) if origins.ordinals is None else origins.ordinals[at].tolist()
    columns = [moments, origins.partitions[at].tolist(), origins.offsets[at].tolist(), ordinals]
    if readings.logged is not None:
        columns.append(readings.logged[at].tolist())
    return list(map(Trigger, *columns))


def rows_before(
    rows: NDArray[np.intp], resets: NDArray[np.bool_], renewed: NDArray[np.intp]
) -> dict[int, int]:
    """Return the row that a series had before each reading that resets it, by its place.

    Examples
    --------
    >>> rows_before(np.array([3, 3, 3]), np.array([False, True, True]), np.array([3, 7, 8]))
    {1: 3, 2: 7}
    """
    newest: dict[int, int] = {}
    before: dict[int, int] = {}
    for at in np.flatnonzero(resets).tolist():
        row = int(rows[at])
        before[at] = newest.get(row, row)
        newest[row] = int(renewed[at])
    return before


def as_transitions(readings: Readings, happened: Sequence[Happened]) -> Transitions | None:
    """Return what happened to readings, which have hashes; ``None`` if nothing did."""
    if not happened:
        return None
    assert readings.hashes is not None  # the table computes them
    at = np.array([one.at for one in happened], np.intp)
    events = [one.event for one in happened]
    origins = None if readings.origins is None else readings.origins.take(at)
    raised = None
    if origins is not None:
        partitions, offsets, ordinals = zip(*(event.raised for event in events), strict=True)
        numbers = np.array(ordinals, np.uint64)
        raised = Origins(
            np.array(partitions, np.int64),
            np.array(offsets, np.int64),
            numbers if numbers.any() or origins.ordinals is not None else None,
        )
    times = _times_of(events, None if readings.times_ms is None else readings.times_ms[at])
    return Transitions(
        taken(readings.series_ids, at),
        readings.hashes[at],
        times,
        origins,
        np.array([one.rule for one in happened], np.uint8),
        np.array([event.transition for event in events], np.uint8),
        np.array([event.by for event in events], np.uint8),
        np.array([event.severity for event in events], np.uint8),
        np.array([event.high for event in events], np.int8),
        raised,
        None if times is None else np.array([event.since for event in events], np.int64),
        {
            # A bound may be a whole number, as the user wrote it; in a column of floats it is not.
            name: np.array([event.evidence.get(name, _NAN) for event in events], np.float64)
            for name in EVIDENCE
        },
        at,
    )


def _times_of(events: Sequence[Event], times: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return when events were: at the times of their triggers, where they do not say otherwise."""
    own = np.array([event.time for event in events], np.int64)
    if times is None:
        return own if (own != NEVER).any() else None
    return np.where(own == NEVER, times, own)
