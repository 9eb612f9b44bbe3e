"""A thread for each receiver: sends notices in order, retries, and counts.

Knows when something is sent; must not know Kafka, nor what a receiver does with a notice.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol

from ewma_ops.notify.alarm import Transition
from ewma_ops.notify.calls import AwayError
from ewma_ops.notify.ongoing import Notice
from ewma_ops.secrets.masking import masked_traceback

__all__ = ["Delivery", "Receiver"]

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0
_SAY_EACH_S = 60.0


class Receiver(Protocol):
    """Where alarms are sent. Both methods that send raise `AwayError` if it cannot be reached."""

    name: str
    together: int
    """How many transitions one call takes."""

    def restore(self, active: Sequence[Transition]) -> None:
        """Add alarms that are on and were sent before."""

    def send(self, transitions: Sequence[Transition]) -> dict[str, str]:
        """Send transitions; return why some are refused for good, by their key."""

    def send_again(self) -> int:
        """Send again what has to be repeated; return how many."""


class Delivery(threading.Thread):
    """Send notices to one receiver, in order, each until it is accepted or refused for good.

    Parameters
    ----------
    receiver
        Where to send.
    resend_s
        Seconds between repetitions of alarms that are on.
    on_done
        Called with the records of notices that are done.
    tell
        Called with lines about failures: the first at once, then one a minute.
    """

    def __init__(
        self,
        receiver: Receiver,
        resend_s: float,
        on_done: Callable[[Iterable[Hashable]], None],
        tell: Callable[[str], None],
    ) -> None:
        super().__init__(name=f"deliver to {receiver.name}", daemon=True)
        self.receiver = receiver
        self.sent: Counter[str] = Counter()
        """Accepted transitions, by kind."""
        self.sent_again = self.refused = self.failed = 0
        self._resend_s, self._on_done, self._tell = resend_s, on_done, tell
        self._queue: deque[Notice] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._again_at = time.monotonic()
        self._pause_s = _FIRST_PAUSE_S
        self._away_since: float | None = None
        self._said_at = -math.inf

    def __len__(self) -> int:
        """Return how many notices wait."""
        return len(self._queue)

    @property
    def away_s(self) -> float:
        """For how many seconds the receiver has not answered; 0 if it does."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    def put(self, notices: Iterable[Notice]) -> None:
        """Append notices to the queue."""
        with self._changed:
            self._queue.extend(notices)
            self._changed.notify()

    def stop(self) -> None:
        """Stop after the current call."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        """Deliver until :meth:`stop`."""
        while True:
            with self._changed:
                while not (self._stopping or self._queue or time.monotonic() >= self._again_at):
                    self._changed.wait(max(0.0, self._again_at - time.monotonic()))
                if self._stopping:
                    return
                notices = [self._queue[i] for i in range(min(len(self._queue), self._together))]
            try:
                self._send(notices)
            except AwayError as error:
                self._wait_for_it(str(error), error.after_s)
            except Exception as error:  # noqa: BLE001 - said, and tried again: nothing is lost
                self._wait_for_it(f"a fault in the program\n{masked_traceback(error)}", 0.0)

    @property
    def _together(self) -> int:
        return self.receiver.together

    def _send(self, notices: Sequence[Notice]) -> None:
        if notices:
            refused = self.receiver.send([one.transition for one in notices])
            with self._changed:
                for _ in notices:
                    self._queue.popleft()
            for key, why in refused.items():
                self._tell(f"{self.receiver.name} refuses {key}: {why}; it is not sent again")
            self.refused += len(refused)
            taken = [one.transition for one in notices if one.transition.key not in refused]
            self.sent.update(one.transition for one in taken)
            self._on_done(record for one in notices for record in one.records)
        if time.monotonic() >= self._again_at:
            self.sent_again += self.receiver.send_again()
            self._again_at = time.monotonic() + self._resend_s
        if self._away_since is not None:
            away_s = time.monotonic() - self._away_since
            self._tell(f"{self.receiver.name} takes alarms again, after {away_s:,.0f} s")
        self._away_since, self._pause_s, self._said_at = None, _FIRST_PAUSE_S, -math.inf

    def _wait_for_it(self, why: str, after_s: float) -> None:
        self.failed += 1
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        if now >= self._said_at + _SAY_EACH_S:
            self._said_at = now
            waiting = f"; {len(self._queue):,} wait" if self._queue else ""
            self._tell(f"{self.receiver.name} {why}; trying again{waiting}")
        # Jitter: others may be waiting for the same server.
        until = now + max(after_s, self._pause_s * random.uniform(0.75, 1.25))
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        with self._changed:
            while not self._stopping and time.monotonic() < until:
                self._changed.wait(max(0.0, until - time.monotonic()))
