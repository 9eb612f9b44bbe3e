"""Retry what may work a moment later, until a stop signal.

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
from ewma_ops.job.supervisor import POLL_S

__all__ = ["StoppedError", "once_ready", "pause", "unless_stopped"]

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0

T = TypeVar("T")


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
    """Ask brokers something in a thread of its own, which a stop signal leaves behind."""
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
