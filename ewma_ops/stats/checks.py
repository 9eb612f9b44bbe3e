"""Checks of options: errors name the option, its value and its bound.

Knows words and numbers; must not know what an option is for.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from ewma_ops.errors import ConfigError

__all__ = ["number", "one_of", "refused_word", "whole"]


def one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse a value that is not one of the allowed words.

    Raises
    ------
    ConfigError
        Naming the allowed words; the other checks name their bound.
    """
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(f"{name} is {value!r}: {refused_word(value, allowed)}")


def refused_word(value: object, allowed: Sequence[str]) -> str:
    """Return what a word must be, the nearest first: a long list may be cut.

    Examples
    --------
    >>> refused_word("stdev", ["mean", "std"])
    'did you mean std? It must be one of mean, std'
    >>> refused_word(7, ["mean", "std"])
    'it must be one of mean, std'
    """
    near = difflib.get_close_matches(str(value), allowed, 1)
    words = f"must be one of {', '.join(allowed)}"
    return f"did you mean {near[0]}? It {words}" if near else f"it {words}"


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
