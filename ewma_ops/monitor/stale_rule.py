"""The rule about series that send nothing: stale.

Knows durations and counts; must not know series, state or clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar

from ewma_ops.errors import ConfigError
from ewma_ops.monitor.rule import COUNTED, Rule, check_decay
from ewma_ops.stats.checks import number, whole
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.durations import NS_PER_MS, whole_ticks
from ewma_ops.stats.smoothing import Smoothing

__all__ = ["Stale"]

_USUAL = Decay(beta=0.9)
"""The decay of the usual gap if there are several smoothings, or a composite."""
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Stale(Rule):
    """A series that sends nothing for longer than it usually does.

    The clock is that of the log: the timestamps of all records of the series' input partition,
    checked once a second. So an alarm is raised while other series of the partition continue, and
    is the same when the log is read again. A partition that is silent as a whole has no clock. The
    usual gap is an exponentially weighted mean of the series' own gaps; the gap of a silence is not
    learned, unless the one before was a silence too.

    It has no ``for_`` and ``clear_for``: there are no readings to count, and the next one clears
    the alarm, ``by`` ``"resumed"``.

    Parameters
    ----------
    gaps
        How many usual gaps a series may be silent, >= 1; or 0 to go by ``least`` alone.
    least
        Least silence for an alarm, such as ``"30s"``, >= 1 s.
    warm_up
        Readings of a series before it may raise an alarm, >= 2.
    decay
        How fast the usual gap forgets: that of the smoothing, if there is one, else
        ``Decay(beta=0.9)``.

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Notes
    -----
    A rule for jobs (``[alarms.stale]``), and for readings with ``logged`` and ``heartbeats``: other
    dataflows have no log with a clock.

    Examples
    --------
    >>> Stale(gaps=10, least="30s").kind
    'stale'
    """

    kind: ClassVar[str] = "stale"
    without: ClassVar[tuple[str, ...]] = ("for_", "clear_for")
    by_log: ClassVar[bool] = True

    gaps: float = 10.0
    least: timedelta | str = "30s"
    warm_up: int = 10
    decay: Decay | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given in (("for", self.for_), ("clear_for", self.clear_for)):
            if given != 1:
                raise ConfigError(
                    f"{name} is {given!r}: the stale rule has no readings to count; leave it out, "
                    "and give a greater gaps or least for a later alarm"
                )
        number("gaps", self.gaps, ">= 1, or 0 for least alone", lambda x: x == 0 or x >= 1)
        if whole_ticks("least", self.least, NS_PER_MS) < _SECOND_NS:
            raise ConfigError(
                f'least is {self.least!r}: it must be a duration >= 1 s, such as "30s", as the '
                "clock of a log is read once a second"
            )
        whole("warm_up", self.warm_up, 2, COUNTED)
        check_decay(self.decay)

    def with_limit(self, smoothing: Smoothing | None) -> Stale:
        """Return the rule with its decay."""
        if self.decay is not None:
            return self
        return replace(self, decay=_USUAL if smoothing is None else smoothing.decay)

    def in_ticks(self, per_ms: int) -> Stale:
        """Return the rule of `with_limit` for gaps in ticks, ``per_ms`` to a millisecond."""
        assert self.decay is not None
        return replace(self, decay=self.decay.in_ticks(per_ms))
