"""The turns of a worker: what it writes in one turn is sent at the end of the turn.

Knows threads and calls; must not know who reads or writes. A worker writes to several partitions in
a turn. Sending each write at once would make a request of each; waiting a while for more would add
latency and a wake-up. The source is called first in each turn, so it knows when the previous one
ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["at_end", "at_next_end", "end", "is_awaited", "tell", "tell_no_more"]

_due: dict[int, dict[Callable[[], None], None]] = {}
"""Calls due at the end of the turn, by the thread that announces its turns."""
_due_next: dict[int, dict[Callable[[], None], None]] = {}
_awaited: set[int] = set()
"""Threads whose turn should be short, because a measurement lasts until it ends."""


def tell() -> None:
    """Note that this thread will call :func:`end` once a turn."""
    _due.setdefault(threading.get_ident(), {})


def tell_no_more() -> None:
    """Note that this thread ends no more turns; make the calls that are due."""
    end()
    _due.pop(threading.get_ident(), None)
    _due_next.pop(threading.get_ident(), None)


def at_end(call: Callable[[], None]) -> bool:
    """Call something once when this turn ends; return False if this thread announces no turns."""
    due = _due.get(threading.get_ident())
    if due is None:
        return False
    due[call] = None
    return True


def at_next_end(call: Callable[[], None], *, soon: bool = False) -> None:
    """From within a call at the end of a turn: repeat it at the end of the next one.

    ``soon`` asks for that to come soon, should there be nothing to do.
    """
    thread = threading.get_ident()
    _due_next.setdefault(thread, {})[call] = None
    if soon:
        _awaited.add(thread)


def is_awaited() -> bool:
    """Return whether this turn should end soon."""
    return threading.get_ident() in _awaited


def end() -> None:
    """Make the calls that are due: the turn is over, or is about to take long."""
    thread = threading.get_ident()
    due = _due.get(thread)
    _awaited.discard(thread)
    while due:
        call, _ = due.popitem()
        call()
    if due is not None and (later := _due_next.pop(thread, None)) is not None:
        due.update(later)
