"""Checks of options: errors name the option, its value and its bound.

Knows words and numbers; must not know what an option is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from ewma_ops.errors import ConfigError

__all__ = ["number", "one_of", "whole"]


def one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse a value that is not one of the allowed words.

    Raises
    ------
    ConfigError
        Naming the allowed words; the other checks name their bound.
    """
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(f"{name} is {value!r}: it must be one of {', '.join(allowed)}")


def whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse a value that is not an integer of at least ``least``, and at most ``most``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} is {value!r}: it must be an integer >= {least}")
    if most is not None and value > most:
        raise ConfigError(f"{name} is {value!r}: it must be an integer <= {most}")


def number(name: str, value: Any, bound: str, within: Callable[[Any], bool]) -> None:
    """Refuse a value that is not a finite number within a bound; ``bound`` describes it."""
    found = isinstance(value, Real) and not isinstance(value, bool)
    if not (found and math.isfinite(value) and within(value)):
        raise ConfigError(f"{name} is {value!r}: it must be a number {bound}")
