"""`Rule`: the parameters that rules of every kind have, checked.

Knows words, numbers and durations; must not know kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, ClassVar

from ewma_ops.columns.transitions import SEVERITIES
from ewma_ops.errors import ConfigError
from ewma_ops.stats.checks import number, one_of, whole
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.durations import whole_ticks
from ewma_ops.stats.smoothing import Smoothing

__all__ = ["COUNTED", "Rule", "check_decay", "check_sides"]

_DIRECTIONS = ("both", "high", "low")
COUNTED = 1 << 31
"""Readings of a series are counted up to here: there are counters of 32 bits."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule of alarms: the parameters that every kind has.

    Parameters
    ----------
    for_
        Readings in a row beyond the limit until the alarm is raised, >= 1. ``for`` in a file.
    clear_for
        Readings in a row that have come back until it is cleared, >= 1.
    cooldown
        How long in event time the rule stays quiet for a series after it was cleared, such as
        ``"5min"``; ``None`` for not at all.
    remind
        After how long in event time an alarm that lasts is reported again, as ``held``; ``None``
        for never.
    severity
        ``"info"``, ``"warning"`` or ``"critical"``.
    series
        Globs such as ``"plant1/*"``: the rule is for the series whose id matches one; all if there
        are none.
    field
        The field that the rule is about, if readings have several.
    runbook
        Address of instructions, for people.

    Raises
    ------
    ConfigError
        If a value is out of its range, or of the wrong type.
    """

    kind: ClassVar[str] = ""
    without: ClassVar[tuple[str, ...]] = ()
    """Common parameters that have no meaning for this kind."""
    by_log: ClassVar[bool] = False
    """Whether it uses the clocks of the input partitions, not only readings."""

    for_: int = 1
    clear_for: int = 1
    cooldown: timedelta | str | None = None
    remind: timedelta | str | None = None
    severity: str = "warning"
    series: Sequence[str] = ()
    field: str | None = None
    runbook: str | None = None

    def __post_init__(self) -> None:
        whole("for", self.for_, 1)
        whole("clear_for", self.clear_for, 1)
        one_of("severity", self.severity, SEVERITIES)
        for name in ("cooldown", "remind"):
            self.ticks(name, 1)
        globs = self.series
        if isinstance(globs, str) or not all(isinstance(one, str) and one for one in globs):
            raise ConfigError(f'series is {globs!r}: give a list of globs, such as ["plant1/*"]')
        object.__setattr__(self, "series", tuple(globs))

    def ticks(self, name: str, per_ms: int) -> int:
        """Return ``cooldown`` or ``remind`` in ticks, of which ``per_ms`` are a millisecond.

        0 for none.
        """
        given = getattr(self, name)
        return 0 if given is None else whole_ticks(name, given, per_ms)

    @property
    def designed(self) -> str | None:
        """How many false alarms the rule is designed for; ``None`` if its limit was given."""
        return None

    def with_limit(self, smoothing: Smoothing | None) -> Rule:  # noqa: ARG002 - not every kind designs
        """Return the rule with all derived numbers.

        Parameters
        ----------
        smoothing
            That of the job; ``None`` if there are several, or a composite.
        """
        return self

    def in_ticks(self, per_ms: int) -> Rule:  # noqa: ARG002 - not every kind decays
        """Return the rule for gaps in ticks, of which ``per_ms`` are a millisecond."""
        return self

    def fingerprint(self) -> str:
        """Return a short text, equal for rules that raise the same alarms."""
        every = [(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "runbook"]
        given = [f"{name}={_plain(value)}" for name, value in every if value not in (None, ())]
        return f"{self.kind}({', '.join(given)})"


def check_sides(direction: object, clear: object, critical: object) -> None:
    """Refuse what cannot be ``direction``, ``clear`` and ``critical`` of a rule with a limit."""
    one_of("direction", direction, _DIRECTIONS)
    number("clear", clear, "> 0 and <= 1: a share of the limit", lambda x: 0 < x <= 1)
    if critical is not None:
        number("critical", critical, ">= 1, in limits", lambda x: x >= 1)


def check_decay(decay: object) -> None:
    """Refuse what is neither a decay nor ``None``."""
    if decay is not None and not isinstance(decay, Decay):
        raise ConfigError(f"decay is {decay!r}: give a Decay, such as Decay(beta=0.9)")


def _plain(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
