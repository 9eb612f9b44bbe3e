"""Kafka's compression codecs, with bounded output.

Knows the framings Kafka uses; must not know what is compressed. The libraries are those of
kafka-python's own extras, and are loaded when the first batch needs them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from ewma_ops.errors import ConfigError, CorruptBatch
from ewma_ops.wire.layout import CODEC_NAMES

__all__ = ["LIMIT_BYTES", "chunks", "decompress"]

LIMIT_BYTES = 16 << 20
"""A producer's batch is at most ``max.request.size`` before compression: 1 MiB by default. A longer
one is decompressed in `chunks`."""

_XERIAL = b"\x82SNAPPY\0"
_XERIAL_HEADER_BYTES = 16
_SNAPPY_RATIO = 64  # a copy of 64 bytes takes 2 or more
_CHUNK_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16


def decompress(codec: int, records: memoryview) -> bytes | None:
    """Decompress the records of a batch; ``None`` if they take more than `LIMIT_BYTES`.

    Parameters
    ----------
    codec
        1 gzip, 2 snappy (with or without xerial framing), 3 lz4 frame, 4 zstd.
    records
        As the batch has them.

    Raises
    ------
    CorruptBatch
        If the input ends early. The libraries raise their own errors on invalid bytes.
    ConfigError
        If the library is not installed.
    """
    pieces: list[bytes] = []
    size = 0
    for chunk in chunks(codec, records):
        size += len(chunk)
        if size > LIMIT_BYTES:
            return None
        pieces.append(chunk)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def chunks(codec: int, records: memoryview) -> Iterator[bytes]:
    """Decompress the records of a batch, up to about 1 MiB at a time, and never more than asked.

    A snappy block is decompressed as a whole: at most 64 times its compressed size.

    Raises
    ------
    ConfigError, CorruptBatch
        As for :func:`decompress`.
    """
    return (_gzip_chunks, _snappy_chunks, _lz4_chunks, _zstd_chunks)[codec - 1](records)


def _gzip_chunks(records: memoryview) -> Iterator[bytes]:
    member = zlib.decompressobj(wbits=31)
    begun = False
    for start in range(0, len(records), _PIECE_BYTES):  # the rest of a piece is copied
        data: memoryview | bytes = records[start : start + _PIECE_BYTES]
        while len(data) or (begun and not member.eof):
            if member.eof:
                member = zlib.decompressobj(wbits=31)
            begun = True
            chunk = member.decompress(data, _CHUNK_BYTES)
            data = member.unused_data if member.eof else member.unconsumed_tail
            if chunk:
                yield chunk
            elif not len(data):
                break
    if begun and not member.eof:
        raise CorruptBatch("its gzip data ends early")


def _snappy_chunks(records: memoryview) -> Iterator[bytes]:
    library = _library("snappy", "python-snappy", 2)
    for block in _snappy_blocks(bytes(records)):
        _snappy_size(block)
        yield library.decompress(block)


def _lz4_chunks(records: memoryview) -> Iterator[bytes]:
    frame = _library("lz4.frame", "lz4", 3).LZ4FrameDecompressor()
    data = bytes(records)
    while not frame.eof:
        chunk = bytes(frame.decompress(data, max_length=_CHUNK_BYTES))
        data = b""
        if chunk:
            yield chunk
        elif not frame.eof and frame.needs_input:
            raise CorruptBatch("its lz4 data ends early")


def _zstd_chunks(records: memoryview) -> Iterator[bytes]:
    library = _library("zstandard", "zstandard", 4)
    with library.ZstdDecompressor().stream_reader(records, read_across_frames=True) as reader:
        while chunk := reader.read(_CHUNK_BYTES):
            yield chunk


def _library(module: str, package: str, codec: int) -> Any:
    try:
        return import_module(module)
    except ImportError:
        name = CODEC_NAMES[codec]
        raise ConfigError(
            f"the topic has {name} batches and {package!r} is missing: pip install {package}"
        ) from None


def _snappy_blocks(data: bytes) -> Iterator[bytes]:
    """Yield the blocks of xerial's framing; without it everything is one block."""
    if not data.startswith(_XERIAL):
        yield data
        return
    at = _XERIAL_HEADER_BYTES
    while at < len(data):
        stop = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if stop > len(data):
            raise CorruptBatch("its snappy data ends early")
        yield data[at + 4 : stop]
        at = stop


def _snappy_size(block: bytes) -> int:
    """Return the size that a block claims, which the library would allocate unchecked."""
    size = shift = 0
    for byte in block[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > _SNAPPY_RATIO * len(block):
        raise CorruptBatch(f"a snappy block of {len(block)} bytes claims to hold {size}")
    return size
