"""What writes events, whatever their format.

Knows smoothed readings; must not know any format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ewma_ops.columns.readings import Smoothed

__all__ = ["Encoder"]


class Encoder(Protocol):
    """A format of events."""

    def encode(self, smoothed: Smoothed) -> Sequence[bytes]:
        """Encode each reading with its statistics, in order: the same ones to the same bytes."""

    def largest(self, max_id_bytes: int) -> int:
        """Return how many bytes key and value of an event may have, at the most."""
