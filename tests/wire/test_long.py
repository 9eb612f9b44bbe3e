"""Batches that are very long uncompressed: read a stretch at a time, and long records cut."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import pytest
from kafka import codec as kafka_codec

from ewma_ops.errors import CorruptBatch
from ewma_ops.wire import codecs, long
from ewma_ops.wire.batch import Columns, decode_batches
from ewma_ops.wire.encode import encode_batch
from ewma_ops.wire.layout import CODEC_NAMES
from ewma_ops.wire.long import KEPT_BYTES
from ewma_ops.wire.records import Headers, ProducerRecords

COMPRESS = ("", "gzip_encode", "snappy_encode", "lz4_encode", "zstd_encode")


def packed(
    codec: int,
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    headers: Sequence[Headers] | None = None,
) -> bytes:
    def compress(number: int, records: memoryview) -> bytes:
        return bytes(getattr(kafka_codec, COMPRESS[number])(bytes(records)))

    records = ProducerRecords(keys, values, headers)
    return bytes(encode_batch(records, timestamp_ms=5, codec=codec, compress=compress))


def rows(runs: Sequence[Columns]) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for run in runs:
        headers = run.headers or [[] for _ in run.keys]
        columns = run.offsets.tolist(), run.timestamps_ms.tolist(), run.keys, run.values
        found += zip(*columns, map(list, headers), strict=True)
    return found


@pytest.mark.parametrize("codec", [1, 2, 3, 4], ids=CODEC_NAMES[1:])
def test_stretches_are_what_the_batch_is_as_a_whole(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 3_000
    keys = [None if i % 3 == 0 else b"k%d" % i for i in range(n)]
    values = [None if i % 7 == 0 else b"v%d " % i * (i % 50) for i in range(n)]
    headers: list[Headers] = [[("h", b"%d" % i), ("n", None)][: i % 3] for i in range(n)]
    batch = packed(codec, keys, values, headers)
    whole = rows(list(decode_batches(batch, 0)))
    monkeypatch.setattr(long, "_STRETCH_BYTES", 10_000)
    monkeypatch.setattr(codecs, "_CHUNK_BYTES", 997)
    monkeypatch.setattr(codecs, "LIMIT_BYTES", 100_000)
    runs = list(decode_batches(batch, 0))
    assert rows(runs) == whole
    assert len(whole) == n
    assert runs[-1].next_offset == n
    later = list(decode_batches(batch, 2_500))
    assert rows(later) == whole[2_500:]


@pytest.mark.slow
@pytest.mark.parametrize("codec", [1, 3, 4], ids=["gzip", "lz4", "zstd"])
def test_a_long_record_is_cut_and_takes_no_memory(codec: int) -> None:
    long_one = bytes(150 << 20)
    batch = packed(codec, [b"a", long_one[: 20 << 20], b"c"], [b"1", long_one, b"3"])
    del long_one
    assert len(batch) < 1 << 20
    tracemalloc.start()
    runs = list(decode_batches(batch, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120 << 20
    found = rows(runs)
    assert [row[0] for row in found] == [0, 1, 2]
    assert [(row[2], row[3]) for row in (found[0], found[2])] == [(b"a", b"1"), (b"c", b"3")]
    assert [len(piece) for piece in found[1][2:4]] == [KEPT_BYTES, KEPT_BYTES]  # type: ignore[arg-type]


def test_long_headers_are_left_out() -> None:
    headers: list[Headers] = [[("h", bytes(20 << 20)), ("i", b"1")], [("j", b"2")]]
    batch = packed(1, [None, None], [b"1", b"2"], headers)
    assert [row[2:] for row in rows(list(decode_batches(batch, 0)))] == [
        (None, b"1", []),
        (None, b"2", [("j", b"2")]),
    ]


@pytest.mark.parametrize("codec", [1, 2, 3, 4], ids=CODEC_NAMES[1:])
def test_data_that_ends_early_is_corrupt(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [b"%d" % i * 100 for i in range(3_000)]
    batch = packed(codec, [None] * 3_000, values)
    cut = bytearray(batch[: len(batch) // 2])
    cut[8:12] = (len(cut) - 12).to_bytes(4, "big")
    monkeypatch.setattr(codecs, "LIMIT_BYTES", 0)
    with pytest.raises(CorruptBatch, match="the batch at offset 0 cannot be read"):
        list(decode_batches(bytes(cut), 0, check_crc=False))
