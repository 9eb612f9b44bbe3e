"""The names of Kafka's partitions as Bytewax's parts.

Knows only the names. They are keys of the recovery store, and must never change.
"""

from __future__ import annotations

from ewma_ops.wire.records import ProducerRecords

__all__ = ["Addressed", "part_key"]

Addressed = tuple[str, ProducerRecords]
"""Records for one partition, by the name of its part."""

_DIGITS = 6


def part_key(partition: int) -> str:
    """Return the name of a partition's part.

    Bytewax sorts parts as text, and ``"10" < "2"``: zeros in front keep the order of the numbers,
    which routing to ``int(part_key)`` relies on.

    Examples
    --------
    >>> part_key(10)
    '000010'
    """
    return f"{partition:0{_DIGITS}d}"
