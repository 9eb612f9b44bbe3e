"""Thread settings: how late the kernel may wake a thread, and its interpreter state.

Knows calls of the Linux kernel and of Python; must not know who calls.
"""

from __future__ import annotations

import _thread
import ctypes
import signal
import sys
import threading

__all__ = ["COARSE_S", "FINE_S", "pin_thread_state", "set_timer_slack", "widen_timer_slack_later"]

COARSE_S = 0.05
FINE_S = 0.00005
"""The kernel's default."""

_PR_SET_TIMERSLACK = 29
_NS = 1_000_000_000


def set_timer_slack(slack_s: float) -> None:
    """Let the kernel wake this thread up to ``slack_s`` seconds late, to save power.

    Threads that it starts inherit that. Linux only; elsewhere nothing changes.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(int(slack_s * _NS)))


def widen_timer_slack_later(after_s: float) -> None:
    """Give the main thread `COARSE_S` of slack in ``after_s`` seconds; call it from there.

    Threads that it starts until then sleep no longer than they ask for. Nothing but Python's own
    handling of signals reaches a thread that waits in compiled code, so SIGURG is simulated, which
    Python code that does not handle it ignores.
    """
    signal.signal(signal.SIGURG, lambda *_: set_timer_slack(COARSE_S))
    timer = threading.Timer(after_s, _thread.interrupt_main, [signal.SIGURG])
    timer.daemon = True
    timer.start()


def pin_thread_state() -> None:
    """Keep this thread's interpreter state until the thread ends.

    For a thread that Python did not start, such as Bytewax's workers, the interpreter creates a
    state at each call into Python, with memory from the kernel, and frees it after the call: a
    twentieth of a flow's CPU while readings trickle in. One more reference keeps the state.
    """
    ctypes.pythonapi.PyGILState_Ensure()
