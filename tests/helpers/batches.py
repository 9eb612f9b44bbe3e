"""Record batches made by kafka-python, whole and damaged, and its reading of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from crc32c import crc32c
from kafka import codec as kafka_codec
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from ewma_ops.errors import CorruptBatch
from ewma_ops.wire.batch import decode_batches
from ewma_ops.wire.decode import Columns

Header = tuple[str, "bytes | None"]
Record = tuple[int, int, "bytes | None", "bytes | None", list[Header]]
"""offset, timestamp, key, value, headers."""

HEADER = struct.Struct(">qiibIhiqqqhii")
FIELDS = (
    *("base_offset", "length", "leader_epoch", "magic", "crc", "attributes", "last_delta"),
    *("base_ms", "max_ms", "producer_id", "producer_epoch", "base_sequence", "count"),
)

ENCODERS = {
    1: kafka_codec.gzip_encode,
    2: kafka_codec.snappy_encode,
    3: kafka_codec.lz4_encode,
    4: kafka_codec.zstd_encode,
}


def compress(codec: int, records: memoryview) -> bytes:
    return bytes(ENCODERS[codec](bytes(records)))


def kafka_batch(
    records: Iterable[Record], *, codec: int = 0, producer_id: int = -1, transactional: bool = False
) -> bytes:
    """Build a batch as kafka-python does, at the offset of the first record."""
    records = list(records)
    base_offset = records[0][0]
    state = (producer_id, 0, 0) if producer_id >= 0 else (-1, -1, -1)
    builder = DefaultRecordBatchBuilder(2, codec, transactional, *state, 1 << 30)
    for offset, timestamp_ms, key, value, headers in records:
        builder.append(offset - base_offset, timestamp_ms, key, value, headers)
    return patched(bytes(builder.build()), base_offset=base_offset)


def control_batch(offset: int, producer_id: int, *, abort: bool) -> bytes:
    key = struct.pack(">hh", 0, 0 if abort else 1)
    batch = kafka_batch([(offset, 0, key, b"\0" * 6, [])], producer_id=producer_id)
    return patched(batch, attributes=0x30)


def patched(batch: bytes, records: bytes | None = None, /, **fields: int) -> bytes:
    """Replace header fields and the records, and mend the CRC unless it is one of the fields."""
    header = dict(zip(FIELDS, HEADER.unpack_from(batch), strict=True))
    records = batch[HEADER.size :] if records is None else records
    header["length"] = HEADER.size - 12 + len(records)
    header.update(fields)
    out = bytearray(HEADER.pack(*header.values()) + records)
    if "crc" not in fields:
        out[17:21] = crc32c(out[21:]).to_bytes(4, "big")
    return bytes(out)


def simple(offsets: Iterable[int], *, timestamp_ms: int = 1_700_000_000_000) -> list[Record]:
    """Make one plain record per offset."""
    return [(n, timestamp_ms + n, b"k%d" % (n % 7), b"value-%d" % n, []) for n in offsets]


def rows(runs: Iterable[Columns]) -> list[Record]:
    """Turn columns back into records, whether they come in one run or in several."""
    found: list[Record] = []
    for run in runs:
        headers = run.headers or [[] for _ in run.keys]
        found += [
            (offset, timestamp_ms, key, value, list(pairs))
            for offset, timestamp_ms, key, value, pairs in zip(
                run.offsets.tolist(),
                run.timestamps_ms.tolist(),
                run.keys,
                run.values,
                headers,
                strict=True,
            )
        ]
    return found


def outcome(
    buffer: bytes, from_offset: int = 0, *, aborted: Iterable[tuple[int, int]] = ()
) -> tuple[list[Record], int, str | None]:
    """Return the records that come out, where to go on, and the error that ended it."""
    runs: list[Columns] = []
    error = None
    try:
        for run in decode_batches(buffer, from_offset, aborted=list(aborted)):
            runs.append(run)  # noqa: PERF402  # what came before an error counts
    except CorruptBatch as caught:
        error = str(caught)
    return rows(runs), runs[-1].next_offset if runs else from_offset, error


def kafka_rows(buffer: bytes) -> list[Record]:
    """Read a buffer with kafka-python."""
    return [
        (record.offset, record.timestamp, record.key, record.value, list(record.headers))
        for batch in MemoryRecords(buffer)
        for record in batch
    ]
