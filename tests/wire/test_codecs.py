"""Decompression: Kafka's framings, and bombs."""

from __future__ import annotations

import gzip
import sys
import tracemalloc

import lz4.frame  # type: ignore[import-untyped]
import pytest
import snappy  # type: ignore[import-untyped]
import zstandard
from kafka import codec as kafka_codec

from ewma_ops.errors import ConfigError, CorruptBatch
from ewma_ops.wire import codecs
from ewma_ops.wire.codecs import decompress
from tests.helpers.batches import ENCODERS

TEXT = b"".join(b"reading %d, " % n for n in range(20_000))


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
@pytest.mark.parametrize("data", [b"", b"x", TEXT], ids=["empty", "one", "long"])
def test_what_kafka_python_writes(codec: int, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = ENCODERS[codec](data)
    assert decompress(codec, memoryview(packed)) == data
    monkeypatch.setattr(codecs, "LIMIT_BYTES", len(data))
    assert decompress(codec, memoryview(packed)) == data


def test_snappy_without_framing() -> None:
    assert decompress(2, memoryview(snappy.compress(TEXT))) == TEXT


def test_lz4_without_a_content_size() -> None:
    assert decompress(3, memoryview(lz4.frame.compress(TEXT, store_size=False))) == TEXT


def test_several_gzip_members_and_zstd_frames() -> None:
    assert decompress(1, memoryview(gzip.compress(b"a") + gzip.compress(b"b"))) == b"ab"
    frames = zstandard.compress(b"a") + zstandard.compress(b"b")
    assert decompress(4, memoryview(frames)) == b"ab"


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_chunks_that_end_where_the_data_does(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_CHUNK_BYTES", 1_000)
    for size in (999, 1_000, 2_000, 2_001):
        assert decompress(codec, memoryview(ENCODERS[codec](TEXT[:size]))) == TEXT[:size]


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_no_more_comes_out_than_the_limit(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "LIMIT_BYTES", 100_000)
    bomb = memoryview(ENCODERS[codec](bytes(20_000_000)))
    tracemalloc.start()
    try:
        assert decompress(codec, bomb) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_a_snappy_size_that_the_input_cannot_fill() -> None:
    lie = b"\xff\xff\xff\x0f" + b"x" * 20
    with pytest.raises(CorruptBatch, match="of 24 bytes claims to hold 33554431"):
        decompress(2, memoryview(lie))
    framed = kafka_codec.snappy_encode(b"")[:16] + len(lie).to_bytes(4, "big") + lie
    with pytest.raises(CorruptBatch, match="of 24 bytes claims to hold 33554431"):
        decompress(2, memoryview(framed))


@pytest.mark.parametrize("codec", [1, 2, 3])
def test_data_that_ends_early(codec: int) -> None:
    packed = ENCODERS[codec](TEXT)
    with pytest.raises(CorruptBatch, match="ends early"):
        decompress(codec, memoryview(packed)[:-3])


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ConfigError, match="zstd batches and 'zstandard' is missing: pip install"):
        decompress(4, memoryview(b""))
