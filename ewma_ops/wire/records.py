"""Runs of Kafka records as columns: the output and input of connectors.

Knows the fields of a record; must not know its origin, its content, or sockets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, joined, taken
from ewma_ops.columns.origins import Origins
from ewma_ops.wire.headers import EncodedHeaders, Headers, LikeHeaders

__all__ = [
    "ConsumerRecords",
    "EncodedHeaders",
    "Headers",
    "LikeHeaders",
    "ProducerRecords",
    "bytes_of",
    "headers_at",
]


@dataclass(frozen=True, slots=True, eq=False)
class ConsumerRecords:
    """Records of one topic partition, in offset order.

    Parameters
    ----------
    topic, partition
        Their topic and partition.
    offsets
        int64[n], strictly increasing; gaps are usual (compaction, transactions).
    timestamps_ms
        int64[n], milliseconds since the epoch, UTC; -1 if the record has none.
    keys, values
        n byte strings each; ``None`` is Kafka's null (a tombstone, for a value).
    headers
        n header lists, or ``None`` when no record of the run has any.
    """

    topic: str
    partition: int
    offsets: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers] | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class ProducerRecords:
    """Records to be appended to one topic partition, in this order.

    Parameters
    ----------
    keys, values
        n byte strings each; ``None`` is Kafka's null.
    headers
        n header lists, or ``None`` for none at all.
    origins
        The origin of each record: its identity, by which it is delivered once. ``None`` if that is
        not needed.
    appended_ms
        int64[n], the timestamps of the original records, if latencies are measured.

    The record's timestamp is the time of writing. The event time is in the payload: as a record
    timestamp, an old one would expire by the topic's retention, and a future one would be refused
    by the broker.
    """

    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers] | None = None
    origins: Origins | None = None
    appended_ms: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, at: NDArray[np.intp]) -> ProducerRecords:
        """Return the records at ``at``, in that order."""
        origins = self.origins
        return ProducerRecords(
            taken(self.keys, at),
            taken(self.values, at),
            None if self.headers is None else headers_at(self.headers, at),
            None if origins is None else origins.take(at),
            None if self.appended_ms is None else self.appended_ms[at],
        )

    @staticmethod
    def concat(parts: Sequence[ProducerRecords]) -> ProducerRecords:
        """Join runs of records end to end; all have origins, or the whole has none."""
        if len(parts) == 1:
            return parts[0]
        origins = [part.origins for part in parts if part.origins is not None]
        appended = [part.appended_ms for part in parts if part.appended_ms is not None]
        return ProducerRecords(
            joined([part.keys for part in parts]),
            joined([part.values for part in parts]),
            _join_headers(parts),
            Origins.concat(origins) if origins and len(origins) == len(parts) else None,
            np.concatenate(appended) if appended and len(appended) == len(parts) else None,
        )


def bytes_of(pieces: Sequence[bytes | None]) -> int:
    """Return their total number of bytes; TypeError if one is neither bytes nor null."""
    if type(pieces) is not list and isinstance(pieces, BytesColumn):  # an ABC is slow to say no
        return pieces.nbytes
    try:
        return len(b"".join(pieces))  # type: ignore[arg-type]  # the quickest way to ask both
    except TypeError:
        return len(b"".join([piece for piece in pieces if piece is not None]))


def headers_at(headers: Sequence[Headers], at: NDArray[np.intp]) -> Sequence[Headers]:
    """Return the headers of the records at some places."""
    if isinstance(headers, EncodedHeaders):
        return headers.take(at)
    return [headers[i] for i in at.tolist()]


def _join_headers(parts: Sequence[ProducerRecords]) -> Sequence[Headers] | None:
    headers = [part.headers for part in parts]
    if all(one is None for one in headers):
        return None
    first = headers[0]
    if isinstance(first, LikeHeaders):
        alike = [one for one in headers if isinstance(one, LikeHeaders) and first.like(one)]
        if len(alike) == len(headers):
            return LikeHeaders(first.name, b"".join([one.contents for one in alike]), first.size)
    encoded = [one for one in headers if isinstance(one, EncodedHeaders)]
    if len(encoded) == len(headers):
        return EncodedHeaders.concat(encoded)
    return [
        one
        for part, own in zip(parts, headers, strict=True)
        for one in (repeat((), len(part)) if own is None else own)
    ]
