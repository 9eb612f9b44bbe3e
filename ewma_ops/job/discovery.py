"""Checks periodically whether a run should start again, and keeps the reason.

Knows a clock and a thread; must not know the question, nor the effect of the answer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import final

from ewma_ops.errors import EwmaError
from ewma_ops.job.log import print_line

__all__ = ["Discovery"]


@final
class Discovery:
    """Call a function once per interval, in a thread, while the ``with`` block runs.

    Parameters
    ----------
    ask
        Returns why the workers should start again, or ``""``. The first of several `EwmaError` in a
        row, for example while brokers are down, is logged; the function is called again in any
        case.
    interval
        Between two calls, and before the first.

    Examples
    --------
    >>> import time
    >>> with Discovery(lambda: "topic 'b' is new", timedelta(milliseconds=1)) as discovery:
    ...     while not discovery.reason():
    ...         time.sleep(0.01)
    ...     discovery.reason()
    "topic 'b' is new"
    """

    def __init__(self, ask: Callable[[], str], interval: timedelta) -> None:
        self._ask, self._interval = ask, interval
        self._reason = ""
        self._ended = threading.Event()
        self._failing = False

    def reason(self) -> str:
        """Return why the workers should start again; ``""`` while there is no reason."""
        return self._reason

    def __enter__(self) -> Discovery:
        # A broker may be slow to answer: nobody waits for this thread.
        threading.Thread(target=self._run, name="ewma_ops-discovery", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._reason and not self._ended.wait(self._interval.total_seconds()):
            try:
                self._reason = self._ask()
                self._failing = False
            except EwmaError as error:
                if not self._failing and not self._ended.is_set():
                    message = f"looking for new topics and partitions failed: {error}"
                    print_line(message, logging.WARNING)
                self._failing = True
