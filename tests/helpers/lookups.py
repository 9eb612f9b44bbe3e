"""What a launcher looks up, for tests without a broker: nothing changes, unless a test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ewma_ops.job.recovery.manifest import Beginning, Identity, as_it_was

__all__ = ["Fixed"]


@dataclass(frozen=True)
class Fixed:
    """`ewma_ops.job.runs.Lookups`, each of which a test may give."""

    identify: Callable[[], Identity] = dict
    find_beginning: Callable[[], Beginning] = Beginning
    extend_beginning: Callable[[Beginning], Beginning] = as_it_was
    changes: Callable[[], str] = str
    fence: Callable[[], str] = str
    leaders_answered: Callable[[], float | None] = lambda: None
