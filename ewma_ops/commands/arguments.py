"""Types of arguments: texts of a command line to numbers and times, or a sentence why not.

Knows argparse; must not know which command an argument is of.
"""

from __future__ import annotations

import argparse

from ewma_ops.settings.moments import moment_ms
from ewma_ops.stats.durations import duration_ms

__all__ = ["count", "moment", "positive", "seconds"]


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def count(text: str) -> int:
    """Return a whole number from 0 to 10,000."""
    if not text.isdecimal() or int(text) > 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 10000")
    return int(text)


def moment(text: str) -> int:
    """Return a time in milliseconds since 1970."""
    try:
        return moment_ms(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seconds(text: str) -> float:
    """Return a duration, or 0, in seconds."""
    try:
        return 0.0 if text == "0" else duration_ms(text) / 1000
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
