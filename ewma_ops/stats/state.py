"""`State`: how one column of state is kept, and what each operation does to it.

Knows the terms of updating, merging, retracting and correcting; must not know which states there
are, or formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ewma_ops.stats.moments import Moments, Options

__all__ = ["LARGEST", "Correction", "Join", "Retraction", "State"]

LARGEST = 2.0**1022
"""Greatest magnitude of a value that is not squared."""


class Join(NamedTuple):
    """Terms of merging two states: r and p are the shares of one and other in the joint weight.

    ``one`` and ``other`` are the states, ``weight`` is the sum of both weights, and ``d`` is
    m_other - m_one, float64[k, n]; second moments are a one + b other + c d_i d_j.
    """

    one: Mapping[str, Any]
    other: Mapping[str, Any]
    weight: Any
    r: Any
    p: Any
    d: Any
    a: Any
    b: Any
    c: Any


class Retraction(NamedTuple):
    """Terms of retracting a reading: p = -w / (S - w), r = S / (S - w), d = x - m.

    ``one`` is the state before, ``after`` the columns that have been computed already, by name.
    """

    left: float
    p: float
    r: float
    d: Any
    one: Mapping[str, Any]
    after: Mapping[str, Any]


class Correction(NamedTuple):
    """Terms of correcting a reading: p = w / S, r = 1 - p, a = x_old - m, d = x_new - x_old."""

    p: float
    r: float
    a: Any
    d: Any
    one: Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """One column of state.

    ``i`` and ``j``, which the functions take, are the two fields of a pair, or the same field
    twice; for columns, indices that select them.

    Parameters
    ----------
    name
        Its name.
    of
        ``"field"``, ``"pair"``: a value for each field, or each pair of fields; ``"reading"``: one,
        which all fields share.
    whole
        int64, and not float64.
    initial
        Value before any reading: a number, or a function of the options.
    kept
        (options, needs) -> whether the column exists; ``None``: if a statistic needs it.
    option
        How the fingerprint of a smoothing names it, if a statistic needs it.
    largest
        Greatest magnitude of an input value with which it cannot overflow.
    phased
        It has a number for each phase of the season, of which `season` moves those of the reading.
    tally
        (moments) -> whether to count the reading: n <- n + 1.
    step
        (moments, i, j) -> (a, g): y <- a y + g.
    reads
        The moments whose values before the reading the step depends on: ``before`` of `Moments`
        has them.
    merge
        (join, one, other, i, j) -> merged column; ``None`` if states with it cannot be merged.
    retract
        (retraction, one, i, j) -> the column without the reading. Unchanged by default.
    correct
        (correction, one, i, j) -> the column with the reading corrected. Unchanged by default.
    """

    name: str
    of: Literal["field", "pair", "reading"] = "reading"
    whole: bool = False
    initial: float | Callable[[Options], float] = 0.0
    kept: Callable[[Options, Collection[str]], bool] | None = None
    option: str = ""
    largest: float = LARGEST
    phased: bool = False
    tally: Callable[[Moments], Any] | None = None
    step: Callable[[Moments, Any, Any], tuple[Any, Any]] | None = None
    reads: Collection[str] = ()
    merge: Callable[[Join, Any, Any, Any, Any], Any] | None = None
    retract: Callable[[Retraction, Any, Any, Any], Any] = lambda _, one, *__: one
    correct: Callable[[Correction, Any, Any, Any], Any] = lambda _, one, *__: one

    def is_kept(self, options: Options, needs: Collection[str]) -> bool:
        """Return whether the column exists for these options and needs."""
        return self.name in needs if self.kept is None else self.kept(options, needs)
