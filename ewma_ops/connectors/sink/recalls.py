"""Reads the partitions of an output topic back, side by side in a thread.

Knows when a partition's ledger is begun and when it is complete; must not know Bytewax, or the use
of a ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ewma_ops.columns.origins import Origins
from ewma_ops.connectors.sink.ledger import Ledger
from ewma_ops.connectors.sink.readback import Readback, Reading
from ewma_ops.wire.records import Headers

__all__ = ["Recall", "Recalls"]

_FRESH_S = 5.0
"""How old a complete ledger may be when its part is built: another run may have written since."""
_CLOSE_S = 10.0


class Recall:
    """The ledger of one partition, complete some time after its read-back began."""

    def __init__(self, partition: int, ledger: Ledger, until: int, quiet_at: float) -> None:
        self.partition = partition
        self.until, self.quiet_at = until, quiet_at
        self.ended_at: float | None = None
        self._ledger = ledger
        self._error: BaseException | None = None
        self._ended = threading.Event()

    def wait(self) -> Ledger:
        """Return the complete ledger; raise the error that ended the reading, if any."""
        self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._ledger

    @property
    def base(self) -> int:
        """The offset to read from."""
        return self._ledger.base

    @property
    def fresh(self) -> bool:
        """Whether it is under way, or has just completed."""
        if self.ended_at is None:
            return True
        return self._error is None and time.monotonic() < self.ended_at + _FRESH_S

    def take(self, origins: Origins, end: int) -> None:
        """Add what was read."""
        self._ledger.recall(origins)
        self._ledger.reached(end)

    def end(self, error: BaseException | None = None) -> None:
        """Make :meth:`wait` return."""
        if self.ended_at is None:
            self.ended_at, self._error = time.monotonic(), error
            self._ended.set()


class Recalls:
    """Reads back requested partitions, with one consumer, while the engine starts.

    Parameters
    ----------
    connect
        Makes the reader, once there is something to read.
    origins_of
        Returns the origins of the job's own records, by their headers.
    """

    def __init__(
        self,
        connect: Callable[[], Readback],
        origins_of: Callable[[Sequence[Headers]], Origins],
    ) -> None:
        self._connect = connect
        self._origins_of = origins_of
        self._lock = threading.Lock()  # guards the attributes below
        self._new: list[Recall] = []
        self._by_partition: dict[int, Recall] = {}
        self._thread: threading.Thread | None = None
        self._closing = False

    def begin(
        self, partition: int, ledger: Ledger, *, until: int = 0, quiet_at: float = 0.0
    ) -> Recall:
        """Begin to read a partition back, from the base of its ledger; see `Readback.read`."""
        recall = Recall(partition, ledger, until, quiet_at)
        with self._lock:
            self._by_partition[partition] = recall
            self._new.append(recall)
            self._closing = False
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="ewma_ops-readback", daemon=True
                )
                self._thread.start()
        return recall

    def pop(self, partition: int) -> Recall | None:
        """Return the recall begun for a partition, once, unless it is too old to rely on."""
        with self._lock:
            recall = self._by_partition.pop(partition, None)
        return recall if recall is not None and recall.fresh else None

    def close(self) -> None:
        """Drop everything, and end the thread; never raises."""
        with self._lock:
            self._by_partition = {}
            self._closing = True
            thread = self._thread
        if thread is not None:
            thread.join(_CLOSE_S)

    def _run(self) -> None:
        under_way: dict[Reading, Recall] = {}
        new: list[Recall] | None = []
        reader: Readback | None = None
        error: BaseException = RuntimeError("the partition is no longer read back")
        try:
            while (new := self._adopt(under_way)) is not None:
                reader = reader or self._connect()
                for recall in new:
                    at = recall.partition, recall.base
                    reading = reader.begin(*at, until=recall.until, quiet_at=recall.quiet_at)
                    under_way[reading] = recall
                for reading, stretch in reader.poll():
                    under_way[reading].take(self._origins_of(stretch.headers), stretch.end)
                for reading in [one for one in under_way if one.done or one.error is not None]:
                    under_way.pop(reading).end(reading.error)
        except BaseException as raised:  # noqa: BLE001 - raised again by `Recall.wait`
            error = raised
        left = [*under_way.values(), *(new or ())]
        with self._lock:
            if self._thread is threading.current_thread():  # else another thread reads what is new
                self._thread = None
                left += self._new
                self._new = []
        for recall in left:
            recall.end(error)
        if reader is not None:
            reader.close()

    def _adopt(self, under_way: dict[Reading, Recall]) -> list[Recall] | None:
        """Return the recalls begun since the last call; ``None`` if there is nothing to do."""
        with self._lock:
            if self._closing:
                return None
            if not (self._new or under_way):
                self._thread = None
                return None
            new, self._new = self._new, []
        latest = {recall.partition: recall for recall in new}
        replaced = [recall for recall in new if latest[recall.partition] is not recall]
        again = [reading for reading in under_way if reading.tp.partition in latest]
        replaced += map(under_way.pop, again)
        for recall in replaced:
            recall.end(RuntimeError("the partition is read back from elsewhere"))
        return list(latest.values())
