"""The result of decoding a run of payloads: readings, rejections and counts, in order.

Knows columns of readings; must not know how payloads are read, nor why one is rejected.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.columns.rejections import Rejections
from ewma_ops.serde.fields import Fields, distinct
from ewma_ops.serde.format import SKIPPED, Reasons

__all__ = ["Decoded", "joined", "with_tombstones"]

_NO_TIME_MS = int(np.iinfo(np.int64).min)
"""The time of a tombstone: no clock uses it."""


class Decoded(NamedTuple):
    """The result of decoding a run of payloads.

    ``kept`` holds the positions (intp, ascending) of the payloads that became ``readings``, in that
    order; ``rejected`` the others, by position. A payload may hold several readings: it is there as
    many times, and ``ordinals`` (uint64, ascending within a payload) says which of its readings
    each one is, as those of ``rejected`` do. ``None`` where a payload is one reading. ``skipped``
    is how many were not the job's, ``clipped`` how many times were too far ahead of their record's
    and were clipped.
    """

    kept: NDArray[np.intp]
    readings: Readings
    rejected: Rejections
    ordinals: NDArray[np.uint64] | None = None
    skipped: int = 0
    clipped: int = 0

    @property
    def n_readings(self) -> int:
        """How many readings there are, without the tombstones among them."""
        marks = self.readings.tombstones
        return len(self.readings) - (0 if marks is None else int(np.count_nonzero(marks)))


def joined(readings: Readings, rejected: Reasons, fields: Fields, n: int) -> Decoded:
    """Join readings, rejections and counts of n payloads."""
    owners, ordinals = fields.owners, fields.ordinals
    if not rejected and owners is None:
        return Decoded(np.arange(n), readings, Rejections.of({}))
    if not rejected and owners is not None:
        none = Rejections(np.zeros(0, np.intp), (), (), np.zeros(0, np.uint64))
        skipped = fields.skipped + n - distinct(owners)
        return Decoded(owners, readings, none, ordinals, skipped)
    rows, letters = _parted(len(readings), rejected)
    skipped = len(rejected) - len(letters)
    if owners is None or ordinals is None:
        return Decoded(rows, readings.take(rows), letters, None, skipped)
    at = letters.places
    own = Rejections(owners[at], letters.causes, letters.details, ordinals[at])
    skipped += fields.skipped + n - distinct(owners)  # payloads without readings
    return Decoded(owners[rows], readings.take(rows), own, ordinals[rows], skipped)


def with_tombstones(decoded: Decoded, nulls: NDArray[np.intp], forgotten: Decoded) -> Decoded:
    """Put tombstones among readings, at their places; they count as skipped."""
    readings, n = decoded.readings, len(forgotten.readings)
    readings = replace(readings, tombstones=np.zeros(len(readings), np.bool_))
    if not len(nulls):
        return decoded._replace(readings=readings)
    marks = Readings(
        forgotten.readings.series_ids,
        np.full((n, *readings.values.shape[1:]), np.nan),
        np.full(n, _NO_TIME_MS),
        weights=None if readings.weights is None else np.full(n, np.nan),
        included=None if readings.included is None else [None] * n,
        tombstones=np.ones(n, np.bool_),
    )
    at = np.concatenate([decoded.kept, nulls[forgotten.kept]])
    order = np.argsort(at, kind="stable")
    ordinals = decoded.ordinals
    if ordinals is not None:
        ordinals = np.concatenate([ordinals, np.zeros(n, np.uint64)])[order]
    letters = forgotten.rejected
    letters = Rejections(nulls[letters.places], letters.causes, letters.details)
    return decoded._replace(
        kept=at[order],
        readings=Readings.concat([readings, marks]).take(order),
        rejected=decoded.rejected.merged(letters),
        ordinals=ordinals,
        skipped=decoded.skipped - len(letters),
    )


def _parted(n: int, rejected: Reasons) -> tuple[NDArray[np.intp], Rejections]:
    """Return the rows of readings, and the rejections with a letter."""
    kept = np.ones(n, np.bool_)
    kept[list(rejected)] = False
    letters = {place: why for place, why in rejected.items() if why != SKIPPED}
    return np.flatnonzero(kept), Rejections.of(letters)
