"""What one looks at, and who answers it.

Knows the shape of a question; must not know where answers come from.
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from msgspec import Meta, Struct

from ewma_ops.watch.choices import MOST_OPEN, MOST_ROWS

__all__ = ["Looks", "View"]


class View(Struct, frozen=True):
    """What one looks at.

    ``q`` is a text or a pattern, ``only`` some of "alarm", "stale" and "settling"; ``first`` and
    ``rows`` are which part of the table is seen; ``open`` are the ids of the series in the chart,
    which is ``width`` pixels wide and shows the last ``span`` seconds (0: all), or from one moment
    to another. ``hold`` keeps the rows as they were, for a pointer that is over them.
    """

    q: Annotated[str, Meta(max_length=70_000)] = ""
    sort: str = "name"
    desc: bool = False
    only: tuple[str, ...] = ()
    first: Annotated[int, Meta(ge=0, le=1 << 31)] = 0
    rows: Annotated[int, Meta(ge=0, le=MOST_ROWS)] = 30
    open: Annotated[tuple[str, ...], Meta(max_length=MOST_OPEN)] = ()
    measure: Annotated[int, Meta(ge=0)] = 0
    width: Annotated[int, Meta(ge=50, le=5_000)] = 900
    span: Annotated[float, Meta(ge=0)] = 0.0
    between: tuple[float, float] | None = None
    hold: bool = False


class Looks(Protocol):
    """Answers how a job is, and what its table shows: here, or through a page elsewhere."""

    def head(self) -> dict[str, Any]:
        """Return how the job is."""
        ...

    def table(self, view: View) -> dict[str, Any]:
        """Return what the table shows."""
        ...
