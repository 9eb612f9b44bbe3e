"""Ask from time to time whether a run has been overtaken, and remember the answer.

Knows a clock and a thread; must not know what is asked, nor what is done about it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import final

from ewma_ops.errors import EwmaError
from ewma_ops.job.worker import print_line

__all__ = ["Discovery"]


@final
class Discovery:
    """Call a function once per interval, in a thread, while the ``with`` block runs.

    Parameters
    ----------
    ask
        Returns why the workers should start again, or ``""``. An `EwmaError`, as of brokers that
        are away, is told once in a row and asked again.
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
        # A broker may take its time to answer: nobody waits for this thread.
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
                    print_line(f"looking for new topics and partitions failed: {error}")
                self._failing = True
