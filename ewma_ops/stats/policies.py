"""Policies for unusual readings: one for each cause, and which of several applies.

Knows causes, policies and their compatibility; must not know readings, tables, or how
anything is computed.

A reading can have several causes: each of its values may have one, and its time may. It is treated
as a whole, by one policy: the most severe of those of its causes, in the order of `SEVERITY`. That
is computed here once for every set of causes; the code that handles readings looks it up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

from ewma_ops.errors import ConfigError
from ewma_ops.stats.checks import number, one_of
from ewma_ops.stats.durations import whole_ticks

__all__ = [
    "CAUSES",
    "EQUAL_TIMES",
    "LATE",
    "MISSING",
    "NON_FINITE",
    "OUT_OF_RANGE",
    "SEVERITY",
    "Policies",
]

MISSING, NON_FINITE, OUT_OF_RANGE, LATE, EQUAL_TIMES = (1 << bit for bit in range(5))
"""The causes, as bits: the causes of a reading are a set of them, and 0 is a usual reading."""

SEVERITY = ("take", "clip", "skip", "decay", "reset", "dead-letter")
"""The policies, from the mildest to the most severe."""

_VALUE = ("dead-letter", "skip", "decay", "reset", "clip")
_ALLOWED = {
    "missing": ("skip", "decay", "reset", "dead-letter"),
    "non_finite": _VALUE,
    "out_of_range": _VALUE,
    "late": ("take", "skip", "decay", "reset", "clip", "dead-letter"),
    "equal_times": ("take", "skip", "decay", "reset", "dead-letter"),
}

CAUSES = tuple(cause.replace("_", "-") for cause in _ALLOWED)
"""Name of each cause, in the order of the bits."""

_SETS = range(1 << len(CAUSES))


@dataclass(frozen=True)
class Policies:
    """A policy by cause, and the bounds of the causes: the options of a `Smoothing`, checked.

    ``max_lateness`` is in ticks, of which ``ticks_per_ms`` are a millisecond.

    Raises
    ------
    ConfigError
        If a policy has no meaning for its cause, or lacks the bound it needs.
    """

    missing: str
    non_finite: str
    out_of_range: str
    late: str
    equal_times: str
    lowest: float
    highest: float
    max_lateness: int
    by_time: bool
    ticks_per_ms: int

    @classmethod
    def of(
        cls,
        *,
        missing: str,
        non_finite: str,
        out_of_range: str,
        late: str | None,
        equal_times: str,
        lowest: float | None,
        highest: float | None,
        max_lateness: timedelta | str | None,
        by_time: bool,
        ticks_per_ms: int = 1,
    ) -> Policies:
        """Fill in defaults: no bounds, no lateness, and late readings are taken."""
        if late is None:
            late = "take" if max_lateness is None else "dead-letter"
        for name, bound in (("lowest", lowest), ("highest", highest)):
            if bound is not None:
                number(name, bound, "that is finite", lambda _: True)
        return cls(
            missing,
            non_finite,
            out_of_range,
            late,
            equal_times,
            -math.inf if lowest is None else float(lowest),
            math.inf if highest is None else float(highest),
            0 if max_lateness is None else whole_ticks("max_lateness", max_lateness, ticks_per_ms),
            by_time,
            ticks_per_ms,
        )

    def __post_init__(self) -> None:
        for cause, allowed in _ALLOWED.items():
            one_of(cause, getattr(self, cause), allowed)
        if not self.lowest < self.highest:
            raise ConfigError(
                f"lowest is {self.lowest!r}: it must be below highest, {self.highest!r}"
            )
        bounds = math.isfinite(self.lowest) + math.isfinite(self.highest)
        for cause, needed, words in (
            ("out_of_range", 1, "lowest, highest or both"),
            ("non_finite", 2, "lowest and highest"),
        ):
            if getattr(self, cause) == "clip" and bounds < needed:
                raise ConfigError(f'{cause} is "clip": give {words}, to which values are clipped')
        if self.max_lateness and self.late == "take":
            raise ConfigError(
                'late is "take", so max_lateness has no meaning: leave one of them out'
            )
        for cause in ("late", "equal_times"):
            if self.by_time and getattr(self, cause) == "decay":
                raise ConfigError(
                    f'{cause} is "decay", but no time passes with it and the decay is by time: '
                    'use "skip"'
                )

    @property
    def by_cause(self) -> dict[str, str]:
        """The policy for each of `CAUSES`."""
        return {name: getattr(self, field) for name, field in zip(CAUSES, _ALLOWED, strict=True)}

    @property
    def cause_by_set(self) -> tuple[str, ...]:
        """The cause whose policy applies, by the set of causes; of equally severe ones the first.

        ``""`` for none.
        """
        return _causes_that_count(tuple(self.by_cause.values()))

    @property
    def by_set(self) -> tuple[str, ...]:
        """The policy that applies, by the set of causes; a usual reading is taken."""
        policies = {"": "take", **self.by_cause}
        return tuple(policies[cause] for cause in self.cause_by_set)

    @property
    def decays(self) -> tuple[bool, ...]:
        """Whether weights decay past a reading that is not observed, by the set of causes.

        A field that is not observed in a reading without a cause is missing.
        """
        by_set = self.by_set
        return tuple(by_set[causes or MISSING] == "decay" for causes in _SETS)

    @property
    def of_reading(self) -> tuple[object, ...]:
        """What smoothings of the same readings must agree on: everything but skip or decay."""
        policies = ["skip" if policy == "decay" else policy for policy in self.by_cause.values()]
        return (*policies, self.lowest, self.highest, self.max_lateness)

    def joined(self, others: Iterable[Policies]) -> Policies:
        """Return the policies of several smoothings of the same readings.

        They agree, except that some may decay where others skip: the result decays.
        """
        every = [self, *others]
        decaying: dict[str, Any] = {
            field: "decay"
            for field in _ALLOWED
            if any(getattr(policies, field) == "decay" for policies in every)
        }
        return replace(self, by_time=all(policies.by_time for policies in every), **decaying)

    @property
    def keeps_originals(self) -> bool:
        """Whether it takes the state of a series to tell that a reading is a dead letter."""
        return "dead-letter" in (self.late, self.equal_times)

    @property
    def watches(self) -> bool:
        """Whether a policy depends on the newest time of a series."""
        return (self.late, self.equal_times) != ("take", "take")

    def describe(self) -> str:
        """Return one line for people: the policy for each cause but a missing value."""
        shown = self.by_cause
        del shown["missing"]
        if math.isfinite(self.lowest) or math.isfinite(self.highest):
            shown["out-of-range"] += f" (beyond {self.lowest:g} and {self.highest:g})"
        if self.max_lateness:
            shown["late"] += f" (by more than {self.max_lateness / self.ticks_per_ms / 1000:g} s)"
        return ", ".join(f"{cause} {policy}" for cause, policy in shown.items())


@lru_cache(maxsize=1 << 10)
def _causes_that_count(policies: tuple[str, ...]) -> tuple[str, ...]:
    severity = [SEVERITY.index(policy) for policy in policies]
    return tuple(
        CAUSES[max(present, key=severity.__getitem__)] if present else ""
        for causes in _SETS
        for present in [[bit for bit in range(len(CAUSES)) if causes >> bit & 1]]
    )
