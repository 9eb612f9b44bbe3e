"""How long to wait for what must happen, and how slow this machine is at the moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["PATIENCE_S", "slowness", "slowness_during"]

PATIENCE_S = 120.0
"""A deadline for what is not measured: nothing takes as long as this but what hangs."""

_BURN_S = 0.1


def slowness() -> float:
    """Return how many seconds a second of work takes now, for others on the machine: 1 if idle.

    A bound on the time that something takes is multiplied by it, so that the bound is as strict as
    it says on an idle machine, and a busy one does not break it.
    """
    began, worked = time.monotonic(), time.thread_time()
    while time.thread_time() < worked + _BURN_S:
        pass
    return max(1.0, (time.monotonic() - began) / (time.thread_time() - worked))


@contextmanager
def slowness_during() -> Iterator[Callable[[], float]]:
    """Measure all along the block, for what takes many seconds; yields what gives the largest."""
    found, done = [slowness()], threading.Event()

    def measure() -> None:
        while not done.wait(1.0):
            found.append(slowness())

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield lambda: max(found)
    finally:
        done.set()
        thread.join()
