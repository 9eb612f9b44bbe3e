"""Trackers for rules about neighbouring values: the previous value, and its repetitions.

Knows the recurrences of one series, using only operations that give the same bits for a number and
for a column (`stats.ops`); must not know rules, limits or series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from ewma_ops.monitor.rule import COUNTED
from ewma_ops.stats.ops import Ops

__all__ = ["Changed", "Changes", "Repeated", "Repeats"]


class _Gap(NamedTuple):
    """The time since the newest earlier reading, in ticks; 1 where time does not matter."""

    gap: Any


class Changed(NamedTuple):
    """The value ``before`` a reading, and by how much it changed ``per`` reading, or time."""

    before: Any
    rate: Any
    judged: Any


@dataclass(frozen=True)
class Changes:
    """How fast a series changes: (x - x before) / gap, in units per ``per_ms``; 0 per reading."""

    columns: ClassVar[tuple[tuple[str, str, float], ...]] = (
        ("before", "float64", 0.0),
        ("seen", "uint8", 0),
    )

    per_ms: float
    ticks_per_ms: int = 1

    @property
    def by_time(self) -> bool:
        """Whether it needs the gaps between readings."""
        return self.per_ms > 0.0

    def factors(self, gap: Any, *, columns: bool, time: Any = None) -> _Gap:  # noqa: ARG002 - the same for both
        """Return the gap."""
        return _Gap(gap if self.by_time else 1)

    def step(self, o: Ops, y: Any, x: Any, by: _Gap) -> tuple[tuple[Any, ...], Changed]:
        """Return the state after a reading x, and its change. A late one changes nothing."""
        before, seen = y
        per = self.per_ms * self.ticks_per_ms if self.by_time else 1.0
        judged = (seen > 0) & (by.gap > 0)
        rate = (x - before) / o.where(by.gap > 0, by.gap, 1) * per
        newest = (seen == 0) | (by.gap >= 0)
        state = o.where(newest, x, before), o.where(newest, 1, seen)
        return state, Changed(before * 1.0, rate, judged)

    def compiled(self, *_: Any) -> None:
        """Return None: it is not compiled."""


class Repeated(NamedTuple):
    """How often the same value came in a row."""

    run: Any


@dataclass(frozen=True)
class Repeats:
    """How often the same value came in a row, to the last bit."""

    columns: ClassVar[tuple[tuple[str, str, float], ...]] = (
        ("before", "float64", 0.0),
        ("run", "uint32", 0),
    )
    by_time: ClassVar[bool] = False

    def factors(self, gap: Any, *, columns: bool, time: Any = None) -> _Gap:  # noqa: ARG002 - time does not matter
        """Return a gap of 1, which `step` does not read."""
        return _Gap(1)

    def step(self, o: Ops, y: Any, x: Any, by: _Gap) -> tuple[tuple[Any, ...], Repeated]:  # noqa: ARG002
        """Return the state after a reading x, and how often it was repeated."""
        before, run = y
        run = o.where((x == before) & (run > 0), run + (run < COUNTED), 1)
        return (x, run), Repeated(run)

    def compiled(self, *_: Any) -> None:
        """Return None: it is not compiled."""
