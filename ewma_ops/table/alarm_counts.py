"""How many readings each rule of alarms has judged, beside what its design lets expect.

Knows scores and rules; must not know how a score is computed, or what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.monitor.rules import ChartRule, Rule

__all__ = ["AlarmCounts", "Judged"]


class AlarmCounts(NamedTuple):
    """What a table has counted of one rule.

    ``run_length`` is how many readings there are for each false alarm that the rule is designed
    for; ``None`` where it is not. ``judged`` are the readings that it had a score of, since the
    table was made, and ``active`` the series that are in alarm, by severity.
    """

    rule: str
    limit: float | None
    run_length: float | None
    judged: int
    active: Mapping[str, int]


class Judged:
    """Count the readings that one rule has a score of, if it is designed for false alarms.

    Parameters
    ----------
    rule
        The rule.
    concerns
        Tells whether it is for a series, by its id.
    """

    def __init__(self, rule: Rule, concerns: Callable[[str], bool]) -> None:
        self.limit: float | None = None
        self.run_length: float | None = None
        if isinstance(rule, ChartRule):
            self.limit = rule.limit
            self.run_length = None if rule.false_alarms is None else rule.run_length()
        self._concerns = concerns if rule.series else None
        self.n = 0

    def add_one(self, score: float) -> None:
        """Count a reading of a series that the rule is for."""
        if self.run_length is not None:
            self.n += score == score

    def add(
        self,
        scores: NDArray[np.float64],
        rows: NDArray[np.intp],
        order: NDArray[np.intp],
        series_ids: Sequence[str],
    ) -> None:
        """Count n readings, of ``rows`` (intp[n]), and ``order`` (intp[n]) of ``series_ids``."""
        if self.run_length is None:
            return
        if self._concerns is None:
            self.n += int(np.count_nonzero(scores == scores))
            return
        scored = np.flatnonzero(scores == scores)
        _, firsts, counts = np.unique(rows[scored], return_index=True, return_counts=True)
        self.n += sum(
            n
            for at, n in zip(order[scored[firsts]].tolist(), counts.tolist(), strict=True)
            if self._concerns(series_ids[at])
        )
