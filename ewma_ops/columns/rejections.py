"""Rejections of a run of records or readings: place, cause and detail of each.

Knows places and texts; must not know the meaning of causes, or the handling of rejections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rejection", "Rejections"]


class Rejection(NamedTuple):
    """Why the record or the reading at place ``at`` of a run is rejected."""

    at: int
    cause: str
    detail: str


class Rejections(Sequence[Rejection]):
    """Rejections of a run, as columns: places in ascending order, causes and details.

    Parameters
    ----------
    places
        intp[n], places of the records or readings. A record with several rejected readings has as
        many entries.
    causes, details
        n texts each.
    ordinals
        uint64[n], number of the reading in its record, from 0; ``None`` if records hold one each.

    Examples
    --------
    >>> rejections = Rejections.of({5: ("empty", "the value is empty"), 2: ("missing", "no x")})
    >>> rejections[0], rejections.within(3, 9).places.tolist()
    (Rejection(at=2, cause='missing', detail='no x'), [2])
    """

    __slots__ = ("causes", "details", "ordinals", "places")

    def __init__(
        self,
        places: NDArray[np.intp],
        causes: Sequence[str],
        details: Sequence[str],
        ordinals: NDArray[np.uint64] | None = None,
    ) -> None:
        self.places, self.causes, self.details = places, causes, details
        self.ordinals = ordinals

    @classmethod
    def of(cls, reasons: Mapping[int, tuple[str, str]]) -> Rejections:
        """Return rejections from (cause, detail) by place."""
        places = sorted(reasons)
        causes, details = (
            zip(*map(reasons.__getitem__, places), strict=True) if places else ((), ())
        )
        return cls(np.array(places, np.intp), causes, details)

    def within(self, start: int, stop: int) -> Rejections:
        """Return those at places from ``start`` to ``stop``, with places counted from ``start``."""
        lo, hi = np.searchsorted(self.places, (start, stop)).tolist()
        own = self[lo:hi]
        return Rejections(own.places - start, own.causes, own.details, own.ordinals)

    def take(self, at: NDArray[np.intp]) -> Rejections:
        """Return some of them, in the order of ``at``."""
        which = at.tolist()
        causes, details = self.causes, self.details
        ordinals = None if self.ordinals is None else self.ordinals[at]
        causes, details = [causes[i] for i in which], [details[i] for i in which]
        return Rejections(self.places[at], causes, details, ordinals)

    def merged(self, other: Rejections) -> Rejections:
        """Return these and others, by place; records may hold one reading or several."""
        places = np.concatenate([self.places, other.places])
        ordinals = None
        if self.ordinals is not None or other.ordinals is not None:
            parts = (self, other)
            ordinals = np.concatenate(
                [np.zeros(len(p), np.uint64) if p.ordinals is None else p.ordinals for p in parts]
            )
        every = Rejections(
            places, [*self.causes, *other.causes], [*self.details, *other.details], ordinals
        )
        return every.take(np.argsort(places, kind="stable"))

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, at: int) -> Rejection: ...

    @overload
    def __getitem__(self, at: slice) -> Rejections: ...

    def __getitem__(self, at: int | slice) -> Rejection | Rejections:
        if isinstance(at, slice):
            ordinals = None if self.ordinals is None else self.ordinals[at]
            return Rejections(self.places[at], self.causes[at], self.details[at], ordinals)
        return Rejection(int(self.places[at]), self.causes[at], self.details[at])

    def __iter__(self) -> Iterator[Rejection]:
        return map(Rejection, self.places.tolist(), self.causes, self.details)

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, Rejections) else other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return repr(list(self))
