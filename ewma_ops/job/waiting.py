"""How a launcher waits: for what may work a moment later, for other hosts, for workers that stop.

Knows errors and time; must not know what is waited for.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ewma_ops.errors import EwmaError
from ewma_ops.job.log import print_line

__all__ = ["POLL_S", "Deadline", "StoppedError", "Waits", "once_ready", "pause", "unless_stopped"]

POLL_S = 0.05
_LONGEST_STEP_S = 0.5
"""A longer one is a pause of this process, not a busy machine."""
_SAY_FIRST_S = 0.5
_SAY_EVERY_S = 5.0
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0

T = TypeVar("T")


class Deadline:
    """A deadline that is put off while this process is paused, and its workers with it.

    Ask it several times a second.

    Parameters
    ----------
    seconds
        How far away it is, >= 0.
    """

    def __init__(self, seconds: float) -> None:
        self._left_s, self._asked_at = seconds, time.monotonic()

    def has_passed(self) -> bool:
        """Return whether the time is over, not counting that of pauses."""
        now = time.monotonic()
        self._left_s -= min(now - self._asked_at, _LONGEST_STEP_S)
        self._asked_at = now
        return self._left_s <= 0


class Waits:
    """Logs what is waited for: after ``first_s`` seconds, and then every five."""

    def __init__(self, first_s: float = _SAY_FIRST_S) -> None:
        self._say_at = time.monotonic() + first_s
        self.said = False
        """Whether there was such a line."""

    def say(self, waits_for: str, level: int = logging.INFO) -> None:
        """Log it, if it is time to."""
        now = time.monotonic()
        if now >= self._say_at:
            print_line(f"waiting for {waits_for}", level)
            self._say_at, self.said = now + _SAY_EVERY_S, True


class StoppedError(Exception):
    """A stop signal came while nothing was running."""


def once_ready(
    make: Callable[[], T],
    signals: Sequence[int],
    wait_s: float = math.inf,
    *,
    failures: int = 0,
) -> T:
    """Call until it no longer fails with a temporary error, for at most ``wait_s`` seconds.

    Raises
    ------
    EwmaError
        A permanent error, or a temporary one that lasted too long.
    StoppedError
        On a stop signal.
    """
    until = time.monotonic() + wait_s
    while True:
        try:
            return make()
        except EwmaError as error:
            if not error.retry or time.monotonic() >= until:
                raise
            print_line(f"ewma: {error}", logging.WARNING)
        failures += 1
        pause(failures, signals, until)


def unless_stopped(ask: Callable[[], T], signals: Sequence[int]) -> T:
    """Ask brokers something in a separate thread, which a stop signal abandons."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="ewma_ops-asking", daemon=True)
    thread.start()
    while thread.is_alive():
        if signals:
            raise StoppedError
        thread.join(POLL_S)
    if errors:
        raise errors[0]
    return answers[0]


def pause(failures: int, signals: Sequence[int], until: float = math.inf) -> None:
    """Wait before the next try, longer with each failure; `StoppedError` on a stop signal."""
    pause_s = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S)
    pause_s = min(pause_s, max(0.0, until - time.monotonic()))
    print_line(f"starting again in {pause_s:.3g} s")
    end = time.monotonic() + pause_s
    while time.monotonic() < end and not signals:
        time.sleep(POLL_S)
    if signals:
        raise StoppedError
