"""Dead letters: the unreadable or rejected originals, with cause, origin and time.

Knows rejections and records; must not know formats, sockets, or where letters go. Many letters are
written together, as columns; few are written one by one, which is faster for them and gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn, lay_out, split
from ewma_ops.columns.rejections import Rejection, Rejections
from ewma_ops.wire.headers import encode_header, sized
from ewma_ops.wire.records import ConsumerRecords, EncodedHeaders, Headers, ProducerRecords

__all__ = ["MAX_BYTES", "build_dead_letters"]


MAX_BYTES = 1_000_000
"""Fits a topic with Kafka's default ``max.message.bytes``, including the batch."""

_FEW = 32
"""Fewer letters than this are made faster one by one (measured)."""
_NAMES = (
    "ewma-cause",
    "ewma-detail",
    "ewma-topic",
    "ewma-partition",
    "ewma-offset",
    "ewma-timestamp",
)
_ORDINAL = "ewma-ordinal"
_HEADER_BYTES = 8
"""Bytes of a header besides name and content."""


def build_dead_letters(
    records: ConsumerRecords,
    rejected: Sequence[Rejection],
    max_bytes: int = MAX_BYTES,
) -> ProducerRecords:
    """Make the dead letters of a run of records, in the order of ``rejected``.

    Key, value and headers are the original's, byte for byte. Appended to the headers, as UTF-8
    text: ``ewma-cause``, ``ewma-detail``, ``ewma-topic``, ``ewma-partition``, ``ewma-offset`` and
    ``ewma-timestamp`` (milliseconds since the epoch, -1 for none); and ``ewma-ordinal``, which of
    the message's readings was rejected (0, 1, 2 ...), where a message can hold several: each
    reading that is rejected has a letter of the whole message. A letter that is rejected a second
    time has them twice: the last ones are the newest.

    A letter above ``max_bytes`` would be refused by its topic and stop the flow. For such a letter
    the value is cut, then the key, and the original headers are dropped; ``ewma-cut`` says how many
    bytes key and value had (8,388,609 for longer ones in a compressed batch, which are not read).
    The whole record is still at its topic and offset.

    Parameters
    ----------
    records
        The run that was read.
    rejected
        Which of its records were rejected, by place, and why; `Rejections` are fastest.
    max_bytes
        Largest size of a letter: of key, value and headers together.
    """
    if not isinstance(rejected, Rejections) or len(rejected) < _FEW:
        return _one_by_one(records, rejected, max_bytes)
    columns = _Columns.of(records, rejected)
    short = columns.sizes <= max_bytes
    if short.all():
        return columns.letters(records)
    kept, cut = np.flatnonzero(short), np.flatnonzero(~short)
    by_one = _one_by_one(records, rejected.take(cut), max_bytes)
    assert by_one.headers is not None
    spans = ProducerRecords(
        BytesColumn.of(by_one.keys),
        BytesColumn.of(by_one.values),
        EncodedHeaders.of(by_one.headers),
    )
    if not len(kept):
        return spans
    both = ProducerRecords.concat([columns.take(kept).letters(records), spans])
    return both.take(np.argsort(np.concatenate([kept, cut])))


class _Columns(NamedTuple):
    """The parts of many letters, as columns."""

    rejected: Rejections
    keys: BytesColumn
    values: BytesColumn
    original: EncodedHeaders | None
    texts: tuple[BytesColumn, ...]
    """Causes, details, offsets and timestamps; and ordinals, if there are any."""
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, records: ConsumerRecords, rejected: Rejections) -> _Columns:
        """Gather the columns; a size may be slightly too large, by the numbers between headers."""
        at = rejected.places
        keys, values = (
            BytesColumn.of(records.keys).take(at),
            BytesColumn.of(records.values).take(at),
        )
        headers = records.headers
        original = None if headers is None else _taken(headers, at)
        causes, details = TextColumn.of(rejected.causes).utf8, TextColumn.of(rejected.details).utf8
        texts = [causes, details, _digits(records.offsets[at]), _digits(records.timestamps_ms[at])]
        names = list(_NAMES)
        if rejected.ordinals is not None:
            texts.append(_digits(rejected.ordinals))
            names.append(_ORDINAL)
        own = len(records.topic.encode()) + len(str(records.partition))
        own += sum(map(len, names)) + len(names) * _HEADER_BYTES
        sizes = np.maximum(keys.sizes, 0) + np.maximum(values.sizes, 0) + own
        sizes += sum(text.sizes for text in texts)
        if original is not None:
            sizes += original.encoded.sizes + _HEADER_BYTES * original.counts
        return cls(rejected, keys, values, original, tuple(texts), sizes)

    def take(self, at: NDArray[np.intp]) -> _Columns:
        """Return the parts of some of the letters."""
        return _Columns(
            self.rejected.take(at),
            self.keys.take(at),
            self.values.take(at),
            None if self.original is None else self.original.take(at),
            tuple(column.take(at) for column in self.texts),
            self.sizes[at],
        )

    def letters(self, records: ConsumerRecords) -> ProducerRecords:
        """Write the headers, and put the letters together."""
        cause, detail, _, _, offset, timestamp = map(_ahead, _NAMES)
        causes, details, offsets, timestamps, *ordinals = map(sized, self.texts)
        place = encode_header("ewma-topic", records.topic.encode())
        place += encode_header("ewma-partition", str(records.partition).encode())
        n = len(self.rejected)
        pieces = [cause, *causes, detail, *details, place, offset, *offsets, timestamp, *timestamps]
        counts = np.full(n, len(_NAMES))
        if ordinals:
            pieces += [_ahead(_ORDINAL), *ordinals[0]]
            counts += 1
        if self.original is not None:
            pieces.insert(0, self.original.encoded)
            counts += self.original.counts
        return ProducerRecords(self.keys, self.values, EncodedHeaders(counts, lay_out(pieces, n)))


def _ahead(name: str) -> bytes:
    """Return the bytes before the size of a header's content."""
    return encode_header(name, None)[:-1]


def _taken(headers: Sequence[Headers], at: NDArray[np.intp]) -> EncodedHeaders:
    if isinstance(headers, EncodedHeaders):
        return headers.take(at)
    return EncodedHeaders.of([headers[i] for i in at.tolist()])


def _digits(numbers: NDArray[np.int64] | NDArray[np.uint64]) -> BytesColumn:
    return split(msgspec.json.encode(numbers.tolist())[1:-1], ord(","))


def _one_by_one(
    records: ConsumerRecords, rejected: Sequence[Rejection], max_bytes: int
) -> ProducerRecords:
    ordinals = rejected.ordinals if isinstance(rejected, Rejections) else None
    numbers = repeat(None) if ordinals is None else ordinals.tolist()
    parts = [
        _letter(records, rejection, ordinal, max_bytes)
        for rejection, ordinal in zip(rejected, numbers, strict=False)
    ]
    return ProducerRecords(
        [key for key, _, _ in parts],
        [value for _, value, _ in parts],
        [headers for _, _, headers in parts],
    )


def _letter(
    records: ConsumerRecords, rejection: Rejection, ordinal: int | None, max_bytes: int
) -> tuple[bytes | None, bytes | None, Headers]:
    key, value = records.keys[rejection.at], records.values[rejection.at]
    added = _cause_headers(records, rejection)
    if ordinal is not None:
        added.append((_ORDINAL, str(ordinal).encode()))
    original = () if records.headers is None else records.headers[rejection.at]
    headers = [*original, *added]
    if len(key or b"") + len(value or b"") + _size(headers) <= max_bytes:
        return key, value, headers
    sizes = " ".join("-1" if part is None else str(len(part)) for part in (key, value))
    added.append(("ewma-cut", sizes.encode()))
    room = max(0, max_bytes - _size(added))
    key = None if key is None else key[: room // 2]
    value = None if value is None else value[: room - len(key or b"")]
    return key, value, added


def _size(headers: Headers) -> int:
    return sum(len(name) + len(content or b"") + _HEADER_BYTES for name, content in headers)


def _cause_headers(
    records: ConsumerRecords, rejection: Rejection
) -> list[tuple[str, bytes | None]]:
    at, cause, detail = rejection
    texts = (
        cause,
        detail,
        records.topic,
        str(records.partition),
        str(records.offsets[at]),
        str(records.timestamps_ms[at]),
    )
    return [(name, text.encode()) for name, text in zip(_NAMES, texts, strict=True)]
