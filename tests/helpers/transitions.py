"""Transitions of alarms made by hand, row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ewma_ops.columns.murmur2 import murmur2_column
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.transitions import BY, EVIDENCE, SEVERITIES, TRANSITIONS, Transitions

__all__ = ["Row", "columns_of"]


class Row(NamedTuple):
    """One transition; ``at`` and ``raised`` are number of the partition, offset and ordinal."""

    series_id: str
    at: tuple[int, int, int]
    rule: int = 0
    transition: str = "raised"
    by: str = ""
    severity: str = "warning"
    high: int = 1
    time_ms: int = 1_700_000_000_000
    raised: tuple[int, int, int] | None = None
    since_ms: int | None = None
    evidence: Mapping[str, float] = MappingProxyType({})


def columns_of(rows: Sequence[Row]) -> Transitions:
    """Return transitions as columns."""
    ids = [row.series_id for row in rows]
    return Transitions(
        ids,
        murmur2_column(ids),
        np.array([row.time_ms for row in rows], np.int64),
        _origins([row.at for row in rows]),
        np.array([row.rule for row in rows], np.uint8),
        np.array([TRANSITIONS.index(row.transition) for row in rows], np.uint8),
        np.array([BY.index(row.by) for row in rows], np.uint8),
        np.array([SEVERITIES.index(row.severity) for row in rows], np.uint8),
        np.array([row.high for row in rows], np.int8),
        _origins([row.at if row.raised is None else row.raised for row in rows]),
        np.array([row.time_ms if row.since_ms is None else row.since_ms for row in rows], np.int64),
        {
            name: np.array([row.evidence.get(name, math.nan) for row in rows], np.float64)
            for name in EVIDENCE
        },
    )


def _origins(places: Sequence[Any]) -> Origins:
    numbers, offsets, ordinals = (
        np.array(column, np.int64) for column in zip(*places, strict=True)
    )
    return Origins(numbers, offsets, ordinals.astype(np.uint64) if ordinals.any() else None)
