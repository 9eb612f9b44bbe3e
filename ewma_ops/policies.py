"""What is done with readings out of the ordinary: a policy for each cause.

Knows causes, policies and which of them go together; must not know readings, tables, or how
anything is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from ewma_ops.checks import number, one_of
from ewma_ops.decay import duration_ms
from ewma_ops.errors import ConfigError

__all__ = ["CAUSES", "EQUAL_TIMES", "LATE", "MISSING", "NON_FINITE", "OUT_OF_RANGE", "Policies"]

MISSING, NON_FINITE, OUT_OF_RANGE, LATE, EQUAL_TIMES = range(1, 6)
"""Codes of the causes; 0 is a reading in order."""

_VALUE = ("dead-letter", "skip", "decay", "reset", "clip")
_ALLOWED = {
    "missing": ("skip", "decay", "reset", "dead-letter"),
    "non_finite": _VALUE,
    "out_of_range": _VALUE,
    "late": ("take", "skip", "decay", "reset", "clip", "dead-letter"),
    "equal_times": ("take", "skip", "decay", "reset", "dead-letter"),
}

CAUSES = tuple(cause.replace("_", "-") for cause in _ALLOWED)
"""Every cause, in the order of its code from 1: what is amiss with a reading."""


@dataclass(frozen=True)
class Policies:
    """A policy by cause, and the bounds of the causes: the options of a `Smoothing`, checked.

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
    max_lateness_ms: int
    by_time: bool

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
    ) -> Policies:
        """Fill in what was left out: no bounds, no lateness, and what is late is taken."""
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
            0 if max_lateness is None else _milliseconds(max_lateness),
            by_time,
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
        if self.max_lateness_ms and self.late == "take":
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
    def by_code(self) -> tuple[str, ...]:
        """The policy by the code of the cause; what is in order is taken."""
        return ("take", *(str(getattr(self, cause)) for cause in _ALLOWED))

    @property
    def decays(self) -> tuple[bool, ...]:
        """Whether weights decay past a reading without a value, by the code of its cause."""
        return tuple((self.by_code[code or MISSING] == "decay") for code in range(1 + len(CAUSES)))

    @property
    def of_reading(self) -> tuple[object, ...]:
        """What holds for a reading as a whole: not whether weights decay past it."""
        policies = ["skip" if policy == "decay" else policy for policy in self.by_code]
        return (*policies, self.lowest, self.highest, self.max_lateness_ms)

    @property
    def keeps_originals(self) -> bool:
        """Whether only the state of a series tells that a reading is a dead letter."""
        return "dead-letter" in (self.late, self.equal_times)

    @property
    def watches(self) -> bool:
        """Whether the newest time of each series has to be known."""
        return (self.late, self.equal_times) != ("take", "take")

    def describe(self) -> str:
        """Return one line for people: the policy for each cause but a missing value."""
        told = dict(zip(CAUSES, self.by_code[1:], strict=True))
        del told["missing"]
        if math.isfinite(self.lowest) or math.isfinite(self.highest):
            told["out-of-range"] += f" (beyond {self.lowest:g} and {self.highest:g})"
        if self.max_lateness_ms:
            told["late"] += f" (by more than {self.max_lateness_ms / 1000:g} s)"
        return ", ".join(f"{cause} {policy}" for cause, policy in told.items())


def _milliseconds(max_lateness: object) -> int:
    if isinstance(max_lateness, timedelta):
        time_ms = max_lateness / timedelta(milliseconds=1)
    elif isinstance(max_lateness, str):
        try:
            time_ms = duration_ms(max_lateness)
        except ConfigError as error:
            raise ConfigError(f"max_lateness: {error}") from None
    else:
        time_ms = -1.0
    if time_ms < 0:
        raise ConfigError(
            f'max_lateness is {max_lateness!r}: it must be a duration >= 0, such as "10min"'
        )
    return int(time_ms)
