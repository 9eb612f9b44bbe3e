"""How to decode the messages of a topic: one record of options for every format.

Knows the options; must not know how they are carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ewma_ops.columns.readings import (
    LARGEST_VALUE,
    MAX_ID_BYTES,
    MAX_INCLUDE_BYTES,
    MAX_VALUE_BYTES,
)
from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.serde.format import Format
from ewma_ops.serde.formats import KeyKind
from ewma_ops.serde.paths import Paths

__all__ = ["DecoderOptions"]


@dataclass(frozen=True, slots=True)
class DecoderOptions:
    """Where in a message a reading stands, and which readings are taken.

    Parameters
    ----------
    value
        Path of the value, a number; null or absent is a missing reading (NaN). A list of paths
        for several fields.
    series_id
        Path of the series id, text or an integer (5 and "5" are the same series); several are
        joined with "/", so they had better not contain one. ``None``: the record's key.
    time
        Path of the event time: milliseconds since the epoch, or ISO 8601 text in the years 1 to
        9999, UTC where it names no offset. ``None``: the record's timestamp.
    weight
        Path of what the reading weighs, a number >= 0; null or absent is a missing reading.
    lowest, highest
        Bounds of a value.
    nulls
        Whether a null or absent value is a missing reading, or else rejected.
    infinite
        Whether infinite values are taken, and in JSON the words ``Infinity``, ``-Infinity`` and
        ``NaN``, which it has not, and numbers too large for a float64 as infinite; or else all of
        them rejected.
    max_id_bytes
        Most bytes of a series id, as UTF-8.
    max_value_bytes
        Most bytes of a payload: a longer one is rejected unread.

    records
        Path to the arrays whose items are readings, such as ``"data[]"``; the other paths begin at
        an item then, and ``^.`` leads to what encloses it. ``None``: a message is one reading.
    numbers, decimal
        ``"text"`` reads numbers in quotes too, with this decimal mark.
    missing_values
        Words and numbers that mean a missing reading.
    time_unit
        Unit of times that are numbers, whole or not, or digits in quotes; ``None``: whole
        milliseconds.
    tick
        In what event times are counted from here on; what is finer is cut off, downwards. One
        that is finer than a millisecond is also the ``time_unit``.
    time_format
        Of times that are text, as `datetime.strptime` has it; ``None``: ISO 8601.
    key
        What the bytes of a key are; ``None``: text that has no control characters.
    key_format
        Reads keys that have a schema, "avro" and "protobuf".
    where
        Values by path: a message that has another is skipped.
    tombstones
        Whether a null payload is rejected, skipped, or says that the series of its record is to be
        forgotten; ids come from beside the payload then.

    max_ahead, ahead
        How far, in ticks, an event time may be ahead of its record's timestamp; one that is further
        is rejected, or taken to be just so far ahead (``"clip"``). ``None``: any.

    include, max_include_bytes
        Paths of fields that are passed through to the event, and how many bytes of JSON they may
        have together; a reading that has more is rejected.

    Paths are explained in :mod:`ewma_ops.serde.paths`.
    """

    value: str | Sequence[str] = "value"
    series_id: str | Sequence[str] | None = "series_id"
    time: str | None = None
    weight: str | None = None
    lowest: float = -LARGEST_VALUE
    highest: float = LARGEST_VALUE
    nulls: bool = True
    infinite: bool = False
    max_id_bytes: int = MAX_ID_BYTES
    max_value_bytes: int = MAX_VALUE_BYTES
    records: str | None = None
    numbers: Literal["strict", "text"] = "strict"
    decimal: Literal[".", ","] = "."
    missing_values: Sequence[str | float] = ()
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    tick: Tick = MILLISECOND
    time_format: str | None = None
    key: KeyKind | None = None
    key_format: Format | None = None
    where: Mapping[str, Sequence[str | float | bool]] = field(default_factory=dict)
    tombstones: Literal["dead-letter", "skip", "forget"] = "dead-letter"
    max_ahead: int | None = None
    ahead: Literal["dead-letter", "clip"] = "dead-letter"
    include: Sequence[str] = ()
    max_include_bytes: int = MAX_INCLUDE_BYTES

    def paths(self) -> Paths:
        """Return the paths, read.

        Raises
        ------
        ConfigError
            If one is none, or two lead to the same field.
        """
        return Paths.of(self, self.include)
