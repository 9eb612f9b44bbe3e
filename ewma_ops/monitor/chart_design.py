"""The design of an alarm: its limit for a wanted rate of false alarms, and its delays.

Knows the chart and its decay; must not know streams, series or configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ewma_ops.errors import ConfigError
from ewma_ops.monitor.run_lengths import average_run_length, limit_for
from ewma_ops.monitor.spread_run_lengths import spread_limit_for, spread_run_length
from ewma_ops.stats.checks import one_of
from ewma_ops.stats.decay import Decay

__all__ = ["DESIGNED", "Design", "design"]

DESIGNED = ("level", "spread")
"""The kinds of rules that are designed here."""

_SHIFTS = (0.25, 0.5, 1.0, 2.0, 3.0)
_GROWTHS = (1.25, 1.5, 2.0, 3.0, 5.0)


class Design(NamedTuple):
    """A limit and what it costs.

    ``limit`` is in standard errors of the EWMA; ``delays`` holds the average number of readings
    until an alarm by the size of a lasting shift, in standard deviations of a reading; for a spread
    rule, by the ratio of the new standard deviation to the old. ``limits`` are ``"fixed"``,
    ``"exact"``, or, for a spread rule, ``"upper"``.
    """

    beta: float
    readings_per_false_alarm: float
    limits: str
    limit: float
    delays: Mapping[float, float]


def design(
    decay: Decay, readings_per_false_alarm: float, *, exact: bool = False, kind: str = "level"
) -> Design:
    """Return the limit of an EWMA for a wanted rate of false alarms.

    It holds for independent, normal readings with a known standard deviation. Real series are
    neither: calibrate the limit on history before you rely on its rate.

    Parameters
    ----------
    decay
        By reading, not by time.
    readings_per_false_alarm
        From 2 to 1e9.
    exact
        Whether the limits are exact from the first reading on, as mean +- limit * std /
        sqrt(n_eff) are, or those in the long run.
    kind
        Of the rule: ``"level"``, or ``"spread"``, whose limits are never exact.

    Raises
    ------
    ConfigError
        If the decay is by time, or an argument is out of range.

    Examples
    --------
    >>> found = design(Decay(beta=0.9), 500)
    >>> found.limit, round(found.delays[1.0], 1)
    (2.81431, 10.3)
    """
    if decay.by_time:
        raise ConfigError(
            f"{decay!r} is by time: run lengths are counted in readings; give the decay by "
            "reading, beta = 2^(-gap / halflife) of the usual gap between readings"
        )
    alpha = decay.alpha
    one_of("kind", kind, DESIGNED)
    if kind == "spread":
        if exact:
            raise ConfigError(
                "only a level rule has exact limits; leave one of the two options out"
            )
        limit = spread_limit_for(readings_per_false_alarm, alpha)
        delays = {growth: spread_run_length(limit, alpha, growth) for growth in _GROWTHS}
        return Design(decay.beta, readings_per_false_alarm, "upper", limit, delays)
    limit = limit_for(readings_per_false_alarm, alpha, exact=exact)
    delays = {shift: average_run_length(limit, alpha, shift, exact=exact) for shift in _SHIFTS}
    limits = "exact" if exact else "fixed"
    return Design(decay.beta, readings_per_false_alarm, limits, limit, delays)
