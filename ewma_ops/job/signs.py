"""What a launcher and its workers agree on: exit codes and stop signals.

Knows the operating system; must not know what a worker runs, so that a launcher that only starts
workers need not import that.
"""

from __future__ import annotations

import signal

__all__ = ["LOST_PEER", "STOP_SIGNALS", "UNAVAILABLE", "caught_signals"]

LOST_PEER = 75
"""Exit code of a worker that ended only because another one was gone."""

UNAVAILABLE = 69
"""Exit code of a worker that failed with a temporary error, such as a broker that is away."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def caught_signals() -> list[signal.Signals]:
    """Return the stop signals, without SIGHUP if it is ignored, as under ``nohup``."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in STOP_SIGNALS if not (ignored and number == signal.SIGHUP)]
