"""Bounds: which values, weights and shapes readings may have, and the messages about others.

Knows the bounds and the policies of values; must not know times, rows or state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized

from ewma_ops.columns.readings import LARGEST_WEIGHT, SMALLEST_WEIGHT, WEIGHTS, Readings
from ewma_ops.errors import ReadingError, shown
from ewma_ops.stats.policies import MISSING, NON_FINITE, OUT_OF_RANGE
from ewma_ops.table.smoothing_set import SmoothingSet

__all__ = ["Bounds"]


class Bounds:
    """What readings of a smoothing set must have.

    Parameters
    ----------
    smoothing_set
        Whose readings to check.

    Attributes
    ----------
    low, high
        The bounds of values: the narrowest that any smoothing computes within.
    by_volume
        Whether readings need a weight.
    demands
        Whether they need a time or a weight.
    """

    def __init__(self, smoothing_set: SmoothingSet) -> None:
        policies = smoothing_set.policies
        self._policies, self._causes = policies.by_set, policies.cause_by_set
        self.low, self.high = smoothing_set.bounds
        self._timed, self.by_volume = smoothing_set.by_time, smoothing_set.by_volume
        self.demands = self._timed is not None or self.by_volume
        self._width = smoothing_set.width
        self._forgets = smoothing_set.forget_after is not None

    def check_shape(self, readings: Readings) -> None:
        """Refuse readings that lack times, weights or fields that the smoothing set needs.

        Raises
        ------
        ReadingError
            Naming what they lack.
        """
        if len(readings):
            self.check_given(readings.series_ids[0], readings.times_ms, readings.weights)
        values, width = readings.values, self._width
        if values.size != len(readings) * width:
            raise ReadingError(
                f"values have shape {values.shape}, but there are {width} fields: "
                f"give ({len(readings)}, {width})"
            )

    def check_given(self, series_id: str, times_ms: object, weights: object) -> None:
        """Refuse readings without times or weights if they need them."""
        timed = self._timed
        if times_ms is None and timed is not None:
            what = f"{timed.decay} decays" if timed.decay.by_time else "lateness is measured"
            what = "forget_after goes" if self._forgets else what
            raise ReadingError(
                f"{what} by time, but a reading has none: give (time, value) pairs, or a half-life "
                f"counted in readings (series {shown(series_id)})"
            )
        if weights is None and self.by_volume:
            raise ReadingError(
                "weighting is by volume, but a reading has no weight: give weights with the "
                f"readings, such as Reading(value, time_ms, weight) (series {shown(series_id)})"
            )

    def check_weight(self, series_id: str, weight: float | None) -> None:
        """Refuse an impossible weight if readings need weights; NaN is a missing one.

        Raises
        ------
        ReadingError
            Naming the weight and its bounds.
        """
        if not self.by_volume or weight is None or weight == 0.0 or weight != weight:
            return
        if not SMALLEST_WEIGHT <= weight <= LARGEST_WEIGHT:
            raise ReadingError(
                f"weight {weight} of series {shown(series_id)} is out of bounds: give one within "
                f"{WEIGHTS}"
            )

    def check_width(self, series_id: str, values: object) -> None:
        """Refuse a reading that has more or fewer values than there are fields.

        Raises
        ------
        ReadingError
            Naming how many it has, and how many it must have.
        """
        n = len(values) if isinstance(values, Sized) else 1
        if n != self._width:
            raise ReadingError(
                f"a reading of series {shown(series_id)} has {n} values, but there are "
                f"{self._width} fields: give a value for each, NaN where it is missing"
            )

    def check_bounds(self, series_id: str, values: Sequence[float]) -> None:
        """Refuse values out of bounds, whatever the policy."""
        for value in values:
            if value < self.low or value > self.high:
                raise ReadingError(self._value_message(series_id, value))

    def entering(self, value: float) -> tuple[int, float]:
        """Return the cause of a value, or 0, and the admitted value."""
        if self.low <= value <= self.high:
            return 0, value
        if value != value:
            return MISSING, value
        cause = NON_FINITE if math.isinf(value) else OUT_OF_RANGE
        if self._policies[cause] == "clip":
            return cause, min(max(value, self.low), self.high)
        return cause, math.nan

    def message(self, series_id: str, values: Sequence[float], causes: int) -> str:
        """Return why a reading is a dead letter: its first value with the cause that applies."""
        counts = self._causes[causes]
        for value in values:
            if self._causes[self.entering(value)[0]] == counts:
                return self._value_message(series_id, value)
        return (
            f"series {shown(series_id)} has a reading without a weight: give one, or another policy"
        )

    def _value_message(self, series_id: str, value: float) -> str:
        if value != value:
            return (
                f"series {shown(series_id)} has a reading without a value: give one, or another "
                "policy"
            )
        return (
            f"value {value} of series {shown(series_id)} is out of bounds: give one within "
            f"{self.low:.6g} and {self.high:.6g}, or another policy"
        )
