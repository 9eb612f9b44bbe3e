"""The rules of alarms: the parameters of each kind of rule, checked.

Those about standard errors are in `chart_rules`. Knows words and numbers; must not know series,
state or how a score is computed (`scores`).

To add a kind of rule: a class here, in `KINDS`, and its score in `scores`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar

from ewma_ops.errors import ConfigError
from ewma_ops.monitor.chart_rule import ChartRule, Frozen, Given
from ewma_ops.monitor.chart_rules import Level, Spike, Spread
from ewma_ops.monitor.rule import COUNTED, Rule, check_sides
from ewma_ops.monitor.stale_rule import Stale
from ewma_ops.stats.checks import number, whole
from ewma_ops.stats.durations import NS_PER_MS, whole_ticks
from ewma_ops.stats.smoothing import Smoothing

__all__ = [
    "KINDS",
    "AlarmRules",
    "Bounds",
    "Change",
    "ChartRule",
    "Flat",
    "Frozen",
    "Given",
    "Level",
    "Rule",
    "Spike",
    "Spread",
    "Stale",
]

MOST_RULES = 64
"""Rules of a job: a transition names its rule in a byte."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Bounds(Rule):
    """A reading above or below a fixed number.

    Parameters
    ----------
    above, below
        The alarm is raised by a greater, or a smaller value; at least one of them.
    clear_above, clear_below
        It is cleared by a value that is not greater, or not smaller, than this: ``above`` and
        ``below``, if not given.

    Raises
    ------
    ConfigError
        If no bound is given, one is not finite, or no value could clear the alarm.

    Examples
    --------
    >>> Bounds(above=30.0, clear_above=28.0, for_=3).kind
    'bounds'
    """

    kind: ClassVar[str] = "bounds"

    above: float | None = None
    clear_above: float | None = None
    below: float | None = None
    clear_below: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("above", "clear_above", "below", "clear_below"):
            if (given := getattr(self, name)) is not None:
                number(name, given, "that is finite", lambda _: True)
        if self.above is None and self.below is None:
            raise ConfigError("the bounds rule has no bound: give above, below, or both")
        for name in ("above", "below"):
            if getattr(self, name) is None and getattr(self, f"clear_{name}") is not None:
                raise ConfigError(f"clear_{name} is given without {name}: give both, or leave it")
        high, low = self.above, self.below
        back_high = high if self.clear_above is None else self.clear_above
        back_low = low if self.clear_below is None else self.clear_below
        if high is not None and back_high is not None and back_high > high:
            raise ConfigError(
                f"clear_above = {back_high:g} is beyond above = {high:g}: an alarm would be "
                "cleared as it is raised; give a smaller one"
            )
        if low is not None and back_low is not None and back_low < low:
            raise ConfigError(
                f"clear_below = {back_low:g} is beyond below = {low:g}: an alarm would be cleared "
                "as it is raised; give a greater one"
            )
        if back_high is not None and back_low is not None and back_low > back_high:
            raise ConfigError(
                f"a value cannot be back: it would have to be at least {back_low:g}, and at most "
                f"{back_high:g}; give bounds that leave room between them"
            )


@dataclass(frozen=True, kw_only=True)
class Change(Rule):
    """A value that differs too much from the one before it.

    Parameters
    ----------
    limit
        The greatest change, > 0, in the units of the readings.
    per
        The time that ``limit`` is about, such as ``"1min"``; ``None`` for the change from one
        reading to the next, however long that took. By time, a late reading, and one at the same
        time as the one before it, are not judged.
    direction
        ``"both"``, ``"high"`` for what rises or ``"low"`` for what falls.
    clear
        The share of the limit, 0 < clear <= 1, below which the alarm is cleared.
    critical
        The alarm is critical from this multiple of the limit on, >= 1; ``None`` for never.

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Examples
    --------
    >>> Change(limit=5.0, per="1min").kind
    'change'
    """

    kind: ClassVar[str] = "change"

    limit: float
    per: timedelta | str | None = None
    direction: str = "both"
    clear: float = 0.5
    critical: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        number("limit", self.limit, "> 0", lambda x: x > 0)
        check_sides(self.direction, self.clear, self.critical)
        if self.per is not None and not whole_ticks("per", self.per, NS_PER_MS):
            raise ConfigError(f'per is {self.per!r}: it must be a duration > 0, such as "1min"')


@dataclass(frozen=True, kw_only=True)
class Flat(Rule):
    """The same value too many times in a row, as from a stuck sensor.

    Parameters
    ----------
    repeats
        From how many equal values in a row on the alarm is raised, >= 2. Another value clears it.

    Raises
    ------
    ConfigError
        If ``repeats`` is below 2, or no whole number.

    Examples
    --------
    >>> Flat(repeats=60).kind
    'flat'
    """

    kind: ClassVar[str] = "flat"

    repeats: int

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("repeats", self.repeats, 2, COUNTED)


KINDS: dict[str, type[Rule]] = {
    one.kind: one for one in (Level, Spike, Bounds, Change, Flat, Spread, Stale)
}
"""The kinds of rules by name. The keys of a kind are the fields of its class."""


@dataclass(frozen=True)
class AlarmRules:
    """Rules by name, in order, for operators and tables.

    Parameters
    ----------
    rules
        Names and rules; :meth:`of` checks them.
    in_events
        Whether to add the scores to the statistics: `score_names`.
    parts
        Which parts of each score to add; studies need other parts than events.
    """

    rules: tuple[tuple[str, Rule], ...]
    in_events: bool = False
    parts: tuple[str, ...] = ("z", "lower", "upper")

    @classmethod
    def of(cls, rules: Mapping[str, Rule], *, in_events: bool = False) -> AlarmRules:
        """Return rules by name, checked.

        Raises
        ------
        ConfigError
            If there are none or too many, or a name is not made of letters, digits and ``_``.

        Examples
        --------
        >>> AlarmRules.of({"level": Level(limit=4.0), "too_hot": Bounds(above=30.0)}).names
        ('level', 'too_hot')
        """
        if not isinstance(rules, Mapping) or not 0 < len(rules) <= MOST_RULES:
            raise ConfigError(
                f"rules are {rules!r:.80}: give 1 to {MOST_RULES} by name, such as "
                '{"level": Level(limit=4.5)}'
            )
        for name, rule in rules.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{name!r} is not the name of a rule: use up to 64 letters, digits and _, "
                    "beginning with a letter"
                )
            if not isinstance(rule, Rule) or not rule.kind:
                kinds = ", ".join(one.__name__ for one in KINDS.values())
                raise ConfigError(f"rule {name!r} is {rule!r:.80}: it must be one of {kinds}")
        return cls(tuple(rules.items()), in_events)

    def __len__(self) -> int:
        return len(self.rules)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order: a transition refers to its rule by place."""
        return tuple(name for name, _ in self.rules)

    @property
    def by_log(self) -> tuple[str, ...]:
        """Names of the rules that use the clocks of the input partitions."""
        return tuple(name for name, rule in self.rules if rule.by_log)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the statistics that the rules add to events; none without ``in_events``.

        For each rule about a score: ``level_z`` (standard errors), ``level_lower`` and
        ``level_upper`` (the bounds within which there is no alarm).
        """
        if not self.in_events:
            return ()
        charts = [name for name, rule in self.rules if isinstance(rule, ChartRule)]
        return tuple(f"{name}_{part}" for name in charts for part in self.parts)

    def with_limits(self, smoothing: Smoothing | None) -> AlarmRules:
        """Return the rules with all derived numbers, such as the limits.

        ``smoothing`` is that of the job; ``None`` if there are several, or a composite.

        Raises
        ------
        ConfigError
            If a limit cannot be computed, by the rule's name.
        """
        found = []
        for name, rule in self.rules:
            try:
                found.append((name, rule.with_limit(smoothing)))
            except ConfigError as error:
                raise ConfigError(f"alarms.{name}: {error}") from None
        return replace(self, rules=tuple(found))

    def fingerprint(self) -> str:
        """Return a short text, equal for rules that raise the same alarms: of `with_limits`."""
        return "; ".join(f"{name}: {rule.fingerprint()}" for name, rule in self.rules)
