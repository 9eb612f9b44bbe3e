"""The readings of a series from before it was opened, read back from its partition.

Knows offsets and keys; must not know who looks.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from kafka import TopicPartition
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, taken, windows
from ewma_ops.errors import EwmaError
from ewma_ops.settings.model import Settings
from ewma_ops.watch.book import Book
from ewma_ops.watch.deep import Deep, Part
from ewma_ops.watch.events import EventReader
from ewma_ops.watch.status import Status
from ewma_ops.watch.tail import tailing
from ewma_ops.wire.batch import Columns

__all__ = ["History", "having_key"]

_log = logging.getLogger(__name__)

_WAIT_S = 0.5
_LONGEST_S = 4.0
_MOST = 2_000_000
_FETCH_BYTES = 4 << 20
_WINDOW = 64
_UNREAD = "what was written before cannot be read; the log of ewma watch says why"


class _Asked(NamedTuple):
    row: int
    place: int
    deep: Deep


class History:
    """Read series back, one after the other, in a thread of its own.

    Parameters
    ----------
    settings
        Of the job.
    book
        Where the series are.
    status
        Says when to stop.
    parts
        The partitions that the book's events are noted with.
    history_s
        How many seconds back; at most 2 million records, and 4 seconds, of each.
    logs
        Whether what goes wrong is logged.
    """

    def __init__(
        self,
        settings: Settings,
        book: Book,
        status: Status,
        parts: Sequence[TopicPartition],
        history_s: float,
        *,
        logs: bool = True,
    ) -> None:
        self._settings, self._book, self._status = settings, book, status
        self._parts, self._history_s, self._logs = parts, history_s, logs
        self._events = EventReader(settings)
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()

    def ask(self, row: int, place: int, deep: Deep) -> None:
        """Ask for what came before."""
        self._asked.put(_Asked(row, place, deep))

    def run(self) -> None:
        """Serve who asks, until stopped."""
        while not self._status.stopping.is_set():
            try:
                asked = self._asked.get(timeout=_WAIT_S)
            except queue.Empty:
                continue
            try:
                self._read(asked)
            except EwmaError as error:
                if self._logs:
                    _log.warning("reading a series back: %s", error)
                asked.deep.note = _UNREAD
            except Exception:  # noqa: BLE001 - the page says so, and goes on
                _log.exception("reading a series back failed")
                asked.deep.note = _UNREAD
            with self._book.lock:
                asked.deep.is_read = True
                asked.deep.version += 1
                self._book.version += 1
            self._book.changed.set()

    def _read(self, asked: _Asked) -> None:
        book = self._book
        with book.lock:
            key, part = book.key(asked.row), int(book.columns.part[asked.row])
        tp, stop = self._parts[part], asked.deep.live_from
        with tailing(self._settings, [tp], "reading a series back", _FETCH_BYTES) as tail:
            (first,) = tail.since(self._history_s, _MOST, {tp: stop}).values()
            if first == stop - _MOST:
                asked.deep.note = f"only of the newest {_MOST:,} records of its partition"
            tail.go({tp: first})
            deadline = time.monotonic() + _LONGEST_S
            while (at := tail.reached()[tp]) < stop:
                for _, run in tail.runs():
                    self._add(asked, key, run)
                if time.monotonic() > deadline:
                    asked.deep.note = f"read to offset {at:,} of {stop:,} in {_LONGEST_S:g} s"
                    break
                if self._status.stopping.is_set():
                    return

    def _add(self, asked: _Asked, key: bytes, run: Columns) -> None:
        at = having_key(run.keys, key)
        if not len(at):
            return
        kept, readings = self._events.read(
            taken(run.keys, at), taken(run.values, at), run.timestamps_ms[at]
        )
        numbers = np.asarray(readings.values).reshape(len(kept), -1)
        seconds = self._events.seconds(readings)
        with self._book.lock:
            part = self._book.numbers(asked.place, seconds, numbers)
            asked.deep.add_past(Part(run.offsets[at][kept], part))
            self._book.version += 1
        self._book.changed.set()


def having_key(keys: Sequence[bytes | None], key: bytes) -> NDArray[np.intp]:
    """Return which of some keys are one: by column, as far as its first 64 bytes tell, then whole.

    Examples
    --------
    >>> having_key([b"a", None, b"ab", b"a"], b"a").tolist()
    [0, 3]
    """
    column = BytesColumn.of(keys)
    at = np.flatnonzero(column.sizes == len(key))
    head = key[:_WINDOW]
    if head and len(at):
        at = at[windows(column.data, len(head))[column.starts[at]] == np.void(head)]
    if len(key) > _WINDOW:
        at = np.array([i for i in at.tolist() if column[i] == key], np.intp)
    return at
