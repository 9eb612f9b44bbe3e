"""Types of arguments: text of the command line to numbers and times, checked.

Knows argparse; must not know which command an argument belongs to.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

from ewma_ops.settings.moments import moment_ms
from ewma_ops.stats.durations import duration_ms

__all__ = ["Commands", "duration", "moment", "seconds", "whole"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the type of a whole number between bounds; ``None`` for no upper one.

    Examples
    --------
    >>> whole(1, 200)("40")
    40
    >>> whole(1)("0")
    Traceback (most recent call last):
        ...
    argparse.ArgumentTypeError: '0' is not a whole number of at least 1
    """
    bounds = f"of at least {least}" if most is None else f"from {least} to {most:,}"

    def number(text: str) -> int:
        found = int(text) if text.isdecimal() else None
        if found is None or found < least or (most is not None and found > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {bounds}")
        return found

    return number


def moment(text: str) -> int:
    """Return a time in milliseconds since 1970."""
    try:
        return moment_ms(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seconds(text: str) -> float:
    """Return a duration, or 0, in seconds."""
    return 0.0 if text == "0" else duration(text)


def duration(text: str) -> float:
    """Return a duration in seconds, > 0."""
    try:
        return duration_ms(text) / 1000
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
