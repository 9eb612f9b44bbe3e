"""`SeasonLoop`: the season of an outlook by compiled loops, over a batch as it arrived.

Comes to the same bits as `season`, by one reading of each series at a time. All that depends on
what is left without the season is stepped in the loops: `STEPPED`.
Must not know series ids, tables or streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.compiled import library
from ewma_ops.stats.batch_plan import BatchPlan
from ewma_ops.stats.exact_exp2 import COEFFICIENTS
from ewma_ops.stats.moments import Moments

__all__ = ["STEPPED", "SeasonLoop"]

Floats = NDArray[np.float64]
State = Mapping[str, NDArray[Any]]

STEPPED = ("season_count", "season_sum", "adjusted_mean", "trend_mean", "trend")
"""The states that the loops step, beside those of phases. They take them with all rows."""

_NONE = np.empty(0)


class SeasonLoop:
    """`season.weigh` and `season.adjust` of the readings of a batch.

    Parameters
    ----------
    m
        `season.locate` has set the times of the readings.
    plan
        The batch as it arrived.
    state
        The columns of state, as `ColumnStepper.advance` takes them.
    leads
        How far ahead the season is asked for.
    """

    def __init__(self, m: Moments, plan: BatchPlan, state: State, leads: tuple[int, ...]) -> None:
        assert library.kernels is not None
        assert plan.at is not None
        assert m.ahead.season is not None
        self._kernels, self._season = library.kernels, m.ahead.season
        self._at, self._rows = plan.at, plan.series
        self._m, self._state, self._leads = m, state, leads
        n, places = len(plan.at), 1 + len(leads)
        self._phase, self._share = np.empty((places, n), np.int64), np.empty((places, n))
        self._known, self._gains = np.empty((places, n), np.uint8), np.empty((2, n))

    def weigh(self) -> None:
        """Move the weights of the phases; set whether they were met, and how many there are."""
        m, season, n = self._m, self._season, len(self._at)
        offsets = [divmod(season.offset + lead, season.slot) for lead in (0, *self._leads)]
        m.season_opened, m.season_count = np.empty(n), np.empty(n)
        self._kernels.weigh_season(
            self._at,
            self._rows,
            np.ascontiguousarray(m.season_time),
            np.ascontiguousarray(m.now),
            m.observed.view(np.uint8),
            m.season_started.view(np.uint8),
            season.phases,
            season.slot,
            np.array(offsets),
            np.array([season.halflife, *COEFFICIENTS]),
            self._state["season_weight"],
            self._state["season_period"],
            self._state["season_count"],
            self._phase,
            self._share,
            self._known,
            self._gains,
            m.season_opened,
            m.season_count,
        )
        m.season_known = self._known[0].view(np.bool_)

    def adjust(self) -> None:
        """Learn the season of each field, and fit the line to what is left of it.

        Set what is known of both after each reading, and of the season where it is asked for.
        """
        m, state, (width, n) = self._m, self._state, self._m.values.shape
        phases, sloped = self._season.phases, m.ahead.sloped
        lever = (m.apart, m.trend_apart, m.before["age_variance"]) if sloped else (_NONE,) * 3
        given = [np.ascontiguousarray(x) for x in (m.r, m.p, m.trend_r, m.trend_p, *lever)]
        found, shown = np.empty((6, width, n)), np.empty((width, len(self._leads), n))
        for i, values in enumerate(np.ascontiguousarray(m.values)):
            self._kernels.adjust_season(
                self._at,
                self._rows,
                phases,
                self._season.multiplicative,
                self._phase,
                self._share,
                self._known,
                self._gains,
                m.season_opened,
                (m.seen <= 1).view(np.uint8),
                values,
                *given,
                state["season"][i * phases : (i + 1) * phases],
                state["season_sum"][i],
                state["adjusted_mean"][i],
                state["trend_mean"][i],
                state["trend"][i] if sloped else _NONE,
                *found[:, i],
                shown[i],
            )
        m.season_before, m.line_d, m.season_sum, m.adjusted_mean, m.before["trend"], m.trend = found
        for j, lead in enumerate(self._leads):
            m.season_ahead[lead] = shown[:, j], self._known[1 + j].view(np.bool_)
