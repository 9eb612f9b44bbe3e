"""Table ``[alarms]`` of the configuration file: the rules, each a table in it, and their topic.

Knows the keys and which of them apply to all rules; must not know the rest of the file, nor how a
rule judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ewma_ops.errors import ConfigError
from ewma_ops.monitor.rates import readings_per_false_alarm
from ewma_ops.monitor.rules import KINDS, AlarmRules, ChartRule, Frozen, Given, Rule, Spread, Stale
from ewma_ops.settings.model import Alarms, show_value
from ewma_ops.settings.tables import (
    SHARED_ALARM_KEYS,
    find_table,
    read_value,
    refuse_unknown_keys,
    suggestion,
)
from ewma_ops.stats.checks import refused_word
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.durations import whole_ticks
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet

__all__ = ["read_alarms", "used_by_rules"]

_TEXT = (str, "text")
_DURATION = (str, 'a duration such as "30s" or "5min"')
_NUMBER = (float, "a number")
_WHOLE = (Annotated[int, Meta(ge=0)], "a whole number")
_OF_KEYS: dict[str, tuple[Any, str]] = {
    "limit": _NUMBER,
    "false_alarms": (str, 'a rate such as "1 per week" or "1 per 100000 readings"'),
    "readings": (str, 'a rate such as "100 per s"'),
    "least": _NUMBER,
    "direction": _TEXT,
    "clear": _NUMBER,
    "critical": _NUMBER,
    "warm_up": _WHOLE,
    "for": _WHOLE,
    "clear_for": _WHOLE,
    "cooldown": _DURATION,
    "remind": (str, 'a duration such as "1h", or "never"'),
    "severity": _TEXT,
    "series": (tuple[str, ...], 'a list of globs such as ["plant1/*"]'),
    "field": _TEXT,
    "runbook": (str, "an address, as text"),
    "gap": _DURATION,
    "per": _DURATION,
    "repeats": _WHOLE,
    "memory": _TEXT,
    "memory_span": _WHOLE,
    "season": _TEXT,
    "utc_offset": (str, 'how far local time is ahead of UTC, such as "+05:30"'),
    "gaps": _NUMBER,
}
"""What the value of a key must be, unless it is a number that the rule itself checks."""

_OF_KIND: dict[tuple[str, str], tuple[Any, str]] = {("stale", "least"): _DURATION}
"""The same for keys with another meaning for one kind."""

_OF_ALL = ("topic", "in_events")

_BASELINES: dict[frozenset[str], Callable[..., Given | Frozen]] = {
    frozenset({"mean", "std"}): Given,
    frozenset({"readings"}): Frozen,
}
"""The meaning of a table in place of a baseline's decay, by its keys."""

_MOST_READINGS = 1e14
"""Most readings per false alarm in a rate; far more than a limit is computed for."""

_OWN_KEYS = {"for": "for_"}
"""Keys whose name is not valid in Python."""


def used_by_rules(tables: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options of ``[smooth]`` that rules with ``baseline = "outlook"`` depend on."""
    alarms = tables.get("alarms")
    rules = alarms.values() if isinstance(alarms, dict) else ()
    asked = any(isinstance(one, dict) and one.get("baseline") == "outlook" for one in rules)
    return ("outlook", "trend_halflife") if asked else ()


def read_alarms(
    tables: dict[str, Any], smoothing_set: SmoothingSet | None, mistakes: list[str]
) -> Alarms | None:
    """Read the table; ``None`` if it, or ``[smooth]``, which it depends on, has mistakes.

    Keys in ``[alarms]`` itself apply to all of its rules that do not set them; ``false_alarms`` is
    shared among the rules.
    """
    values = find_table("alarms", tables, mistakes)
    if values is None:
        return None
    for name in KINDS:
        if name in values and not isinstance(values[name], dict):
            shown = show_value(name, values[name])
            mistakes.append(f"alarms.{name} = {shown} must be a table; write [alarms.{name}]")
            return None
    refuse_unknown_keys("alarms", values, mistakes)
    known = len(mistakes)
    own: dict[str, Any] = {key: values[key] for key in _OF_ALL if key in values}
    given = _values("alarms", {k: v for k, v in values.items() if k in SHARED_ALARM_KEYS}, mistakes)
    inner = {
        name: table
        for name, table in values.items()
        if isinstance(table, dict) and name not in own and name not in SHARED_ALARM_KEYS
    }
    if not inner:
        mistakes.append("[alarms] has no rule; add a table such as [alarms.level]")
    kinds = {name: _kind(name, table, mistakes) for name, table in inner.items()}
    shares = _Shares(given, inner, kinds)
    rules: dict[str, Rule] = {}
    for name, kind in kinds.items():
        rule = None
        if kind is not None:
            rule = _rule(name, kind, inner[name], shares, smoothing_set, mistakes)
        if rule is not None:
            rules[name] = rule
    topic, in_events = _own(own, mistakes)
    if len(mistakes) > known or smoothing_set is None:
        return None
    try:
        found = AlarmRules.of(rules, in_events=in_events).with_limits(smoothing_set.only)
    except ConfigError as error:
        mistakes.append(str(error))
        return None
    mistakes.extend(
        f"alarms.{name}.limit = {rule.limit:g} is never reached: this rule clips readings at 5 "
        f"standard deviations, so give less than {rule.highest():.4g}"
        for name, rule in found.rules
        if isinstance(rule, Spread) and rule.limit is not None and rule.limit >= rule.highest()
    )
    if len(mistakes) > known:
        return None
    charts = {name: rule for name, rule in rules.items() if isinstance(rule, ChartRule)}
    computed = tuple(name for name, rule in charts.items() if rule.limit is None)
    return Alarms(topic=topic, rules=found, computed=computed)


def _own(values: dict[str, Any], mistakes: list[str]) -> tuple[str, bool]:
    topic, in_events = "alarms", False
    for field in msgspec.structs.fields(Alarms):
        if field.name == "topic" and "topic" in values:
            bound = next(meta.description for meta in reversed(field.type.__metadata__))
            parse = partial(msgspec.convert, type=field.type)
            topic = read_value("alarms", "topic", values, parse, bound, mistakes)
    if "in_events" in values:
        parse = partial(msgspec.convert, type=bool)
        in_events = read_value("alarms", "in_events", values, parse, "true or false", mistakes)
    return topic, in_events


def _kind(name: str, table: Mapping[str, Any], mistakes: list[str]) -> type[Rule] | None:
    """Return the class of a rule: of its ``kind``, or of its name."""
    written = table.get("kind", name)
    if isinstance(written, str) and written in KINDS:
        return KINDS[written]
    if "kind" in table:
        why = refused_word(written, [*KINDS])
        mistakes.append(f"alarms.{name}.kind = {show_value('kind', written)}: {why}")
    else:
        mistakes.append(f"alarms.{name} has no kind; add kind, one of {', '.join(KINDS)}")
    return None


class _Shares:
    """The keys of ``[alarms]`` for all rules, and the share of each rule in its false alarms."""

    def __init__(
        self,
        given: Mapping[str, Any],
        inner: Mapping[str, Mapping[str, Any]],
        kinds: Mapping[str, type[Rule] | None],
    ) -> None:
        self.given = {key: value for key, value in given.items() if key != "false_alarms"}
        self._wanted = given.get("false_alarms")
        self._sharing = sum(
            kind is not None and issubclass(kind, ChartRule) and "false_alarms" not in inner[name]
            for name, kind in kinds.items()
        )

    def of(self, kind: type[Rule], table: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a rule: its own, and the common ones.

        Raises
        ------
        ConfigError
            If the common rate is invalid.
        """
        keys = _keys(kind)
        values = {key: value for key, value in self.given.items() if key in keys}
        if "false_alarms" in keys and "false_alarms" not in table and self._wanted is not None:
            readings = self.given.get("readings")
            together = readings_per_false_alarm(self._wanted, readings)
            share = f"{min(together * self._sharing, _MOST_READINGS):.6f}".rstrip("0").rstrip(".")
            values["false_alarms"] = f"1 per {share} readings"
        return {**values, **table}


def _rule(
    name: str,
    kind: type[Rule],
    table: Mapping[str, Any],
    shares: _Shares,
    smoothing_set: SmoothingSet | None,
    mistakes: list[str],
) -> Rule | None:
    """Read one rule; ``None`` if there are mistakes."""
    known, keys = len(mistakes), _keys(kind)
    mistakes.extend(
        f"alarms.{name}.{key} is not known; {suggestion(key, keys)}"
        for key in table
        if key not in keys
    )
    own = {key: value for key, value in table.items() if key in keys and key != "kind"}
    read = _values(f"alarms.{name}", own, mistakes, kind.kind)
    for key in ("decay", "baseline"):
        if key in read:
            read[key] = _as_decay(f"alarms.{name}.{key}", read[key], smoothing_set, mistakes)
    try:
        values = shares.of(kind, read)
        mistakes.extend(
            f"alarms.{name}.{key} is missing; add it" for key in _needed(kind) if key not in table
        )
        if len(mistakes) > known:
            return None
        rule = kind(**{_OWN_KEYS.get(key, key): value for key, value in values.items()})
    except ConfigError as error:
        mistakes.append(f"alarms.{name}: {error}")
        return None
    if smoothing_set is not None:
        mistakes.extend(f"alarms.{name}: {why}" for why in _field_mistakes(rule, smoothing_set))
        mistakes.extend(f"alarms.{name}: {why}" for why in _never_raised(rule, smoothing_set))
        if isinstance(rule, ChartRule) and rule.decay is None and smoothing_set.only is None:
            mistakes.append(f"alarms.{name}: {_no_decay(kind, smoothing_set)}")
    return rule


def _no_decay(kind: type[Rule], smoothing_set: SmoothingSet) -> str:
    of_one = [name for name, one in smoothing_set.smoothings if isinstance(one, Smoothing) and name]
    such = f'decay = "{of_one[0]}"' if of_one else "decay = { beta = 0.9 }"
    several = len(smoothing_set.smoothings) > 1
    why = "there are several smoothings" if several else "that of [smooth] is composite"
    return f"the {kind.kind} rule has no decay; add one, such as {such}, as {why}"


def _never_raised(rule: Rule, smoothing_set: SmoothingSet) -> Iterator[str]:
    forgets = smoothing_set.forget_after
    if not isinstance(rule, Stale) or forgets is None:
        return
    if whole_ticks("least", rule.least, smoothing_set.tick.per_ms) > forgets:
        yield (
            f"least is {rule.least!r}, but a series that is silent for longer than "
            "smooth.forget_after is forgotten, so the rule would raise nothing: give a shorter "
            "least, or a longer forget_after"
        )


def _field_mistakes(rule: Rule, smoothing_set: SmoothingSet) -> Iterator[str]:
    names = smoothing_set.fields
    if rule.field is not None and rule.field not in names:
        there = f"there are {', '.join(names)}" if names else "there is one field: leave it out"
        yield f'field = "{rule.field}" is not one of the fields; {there}'
    if rule.field is None and names:
        yield f'name the field that it is about, such as field = "{names[0]}"'


def _keys(kind: type[Rule]) -> tuple[str, ...]:
    """Return the keys that a rule of a kind can have in the file."""
    own = {name: key for key, name in _OWN_KEYS.items()}
    named = [field.name for field in fields(kind) if field.name not in kind.without]
    return ("kind", *(own.get(name, name) for name in named))


def _needed(kind: type[Rule]) -> list[str]:
    """Return the keys that a rule of a kind must have."""
    return [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]


def _values(
    table: str, values: Mapping[str, Any], mistakes: list[str], of_kind: str = ""
) -> dict[str, Any]:
    """Return the converted values of keys; mistakes are recorded and left out."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in _OF_KEYS:
            found[key] = value
            continue
        kind, bound = _OF_KIND.get((of_kind, key), _OF_KEYS[key])
        known = len(mistakes)
        parse = partial(msgspec.convert, type=kind)
        found[key] = read_value(table, key, dict(values), parse, bound, mistakes)
        if len(mistakes) > known:
            del found[key]
        elif key == "remind" and value == "never":
            found[key] = None
    return found


def _as_decay(
    name: str, value: object, smoothing_set: SmoothingSet | None, mistakes: list[str]
) -> Any:
    """Return the value of a decay: a table of one parameter, or the name of a smoothing.

    For a baseline, a table may also hold a known mean and standard deviation, or the number of
    readings that they are learned from once. A number is how many times slower it is.
    """
    of_baseline = name.endswith(".baseline")
    if of_baseline and value == "outlook":
        return value
    if isinstance(value, str) and smoothing_set is not None:
        named = dict(smoothing_set.smoothings).get(value)
        if isinstance(named, Smoothing):
            return named.decay
        names = [name for name, one in smoothing_set.smoothings if isinstance(one, Smoothing)]
        words = [*filter(None, names), *(["outlook"] if of_baseline else [])]
        why = refused_word(value, words) if words else "there is no smoothing with a name"
        mistakes.append(
            f'{name} = "{value}": {why}; or give one parameter of a decay, such as '
            '{ halflife = "1h" }'
        )
    elif isinstance(value, dict):
        kind = _BASELINES.get(frozenset(value), Decay) if of_baseline else Decay
        try:
            return kind(**value)
        except (ConfigError, TypeError) as error:
            why = f": {error}" if isinstance(error, ConfigError) else " is none"
            also = ", { mean = 21.5, std = 0.4 } or { readings = 500 }"
            mistakes.append(
                f"{name} = {show_value(name, value)}{why}; give one parameter of a decay, such as "
                f'{{ halflife = "1h" }}{also if of_baseline else ""}'
            )
    elif not (isinstance(value, str) or (of_baseline and _is_number(value))):
        many = (
            ', or "outlook", or a number > 1: how many times slower than the decay'
            if of_baseline
            else ""
        )
        mistakes.append(
            f"{name} = {show_value(name, value)} is not a decay; give one parameter of it, such as "
            f'{{ halflife = "1h" }}, or the name of a smoothing{many}'
        )
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
