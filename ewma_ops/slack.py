"""How late a thread may wake: what a thread that only looks around now and then need not hurry for.

Knows one call of the Linux kernel; must not know who calls.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["COARSE_S", "FINE_S", "wake_within"]

COARSE_S = 0.05
FINE_S = 0.00005
"""What the kernel gives a thread by default."""

_PR_SET_TIMERSLACK = 29
_NS = 1_000_000_000


def wake_within(slack_s: float) -> None:
    """Let the kernel end the sleeps of this thread up to ``slack_s`` seconds late, to save power.

    Threads that it starts inherit that. Only Linux knows this; elsewhere nothing changes.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(int(slack_s * _NS)))
