"""The turns of a worker: what it writes in one of them is sent when the turn is over.

Knows threads and calls; must not know who reads or writes. A worker writes to several partitions in
a turn. Whoever sends each at once makes a request of each; whoever waits a while for more is late,
and woken once more. The source is asked once a turn, before anything else: it tells when one ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["at_end", "at_next_end", "end", "is_awaited", "tell", "tell_no_more"]

_due: dict[int, dict[Callable[[], None], None]] = {}
"""What is to be called at the end of the turn, by the thread that tells of its turns."""
_due_next: dict[int, dict[Callable[[], None], None]] = {}
_awaited: set[int] = set()
"""Threads whose turn had better not last long, as something is measured until it ends."""


def tell() -> None:
    """Note that this thread will call :func:`end` once a turn."""
    _due.setdefault(threading.get_ident(), {})


def tell_no_more() -> None:
    """Note that this thread ends no more turns; calls what is due."""
    end()
    _due.pop(threading.get_ident(), None)
    _due_next.pop(threading.get_ident(), None)


def at_end(call: Callable[[], None]) -> bool:
    """Have something called once when this turn ends; return False if nobody will tell."""
    due = _due.get(threading.get_ident())
    if due is None:
        return False
    due[call] = None
    return True


def at_next_end(call: Callable[[], None], *, soon: bool = False) -> None:
    """Have something that is called at the end of a turn called at the end of the next one too.

    ``soon`` asks for that to come soon, should there be nothing to do.
    """
    thread = threading.get_ident()
    _due_next.setdefault(thread, {})[call] = None
    if soon:
        _awaited.add(thread)


def is_awaited() -> bool:
    """Return whether the end of this turn is to come soon."""
    return threading.get_ident() in _awaited


def end() -> None:
    """Call what is due, as the turn is over, or is about to take long."""
    thread = threading.get_ident()
    due = _due.get(thread)
    _awaited.discard(thread)
    while due:
        call, _ = due.popitem()
        call()
    if due is not None and (later := _due_next.pop(thread, None)) is not None:
        due.update(later)
