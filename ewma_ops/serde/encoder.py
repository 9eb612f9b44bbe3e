"""What writes events, whatever their format: what they hold, and in which order.

Knows smoothed readings; must not know any format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn
from ewma_ops.columns.event_names import own_keys
from ewma_ops.columns.readings import Smoothed
from ewma_ops.errors import ConfigError

__all__ = ["Encoder", "Keyed", "event_keys", "keyed"]

Keyed = tuple[Sequence[bytes | None], Sequence[bytes | None]]
"""The keys and the values of events."""


class Encoder(Protocol):
    """A format of events."""

    def encode(self, smoothed: Smoothed) -> Sequence[bytes]:
        """Encode each reading with its statistics, in order: the same ones to the same bytes."""

    def encode_in(self, order: NDArray[np.intp] | None, smoothed: Smoothed) -> Keyed:
        """Encode the readings in a given order, or unchanged; return the keys too."""

    def largest(self, max_id_bytes: int) -> int:
        """Return the most bytes that key and value of an event may have."""


def keyed(encoder: Encoder, order: NDArray[np.intp] | None, smoothed: Smoothed) -> Keyed:
    """Implement `Encoder.encode_in` with `Encoder.encode`."""
    if order is not None:
        smoothed = smoothed.take(order)
    events, ids = encoder.encode(smoothed), smoothed.readings.series_ids
    if isinstance(events, BytesColumn):
        return TextColumn.of(ids).utf8, events
    return list(map(str.encode, ids)), events


def event_keys(
    statistics: Sequence[str], fields: Sequence[str], include: Sequence[str]
) -> list[str]:
    """Return the keys of an event, but for those of ``include``, which stand behind them.

    Raises
    ------
    ConfigError
        If two keys of an event would be the same.

    Examples
    --------
    >>> event_keys(["std", "mean"], [], ["unit"])
    ['series_id', 'time', 'value', 'ewma', 'std']
    """
    keys = own_keys(statistics, fields)
    every = [*keys, *include]
    for key in every:
        if every.count(key) > 1:
            raise ConfigError(f"two keys of an event would be {key!r}: rename the field")
    return keys
