"""The layout of a Kafka record batch (magic 2), and the meaning of its attribute bits.

Knows the fixed part of the format; must not know how records are read or written.
Source: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct

__all__ = [
    "CODEC_MASK",
    "CODEC_NAMES",
    "CONTROL",
    "CRC_AT",
    "CRC_FROM",
    "HEADER",
    "LENGTH_END",
    "LOG_APPEND_TIME",
    "MAGIC",
    "MAGIC_AT",
    "MIN_RECORD_BYTES",
    "PREFIX",
    "TRANSACTIONAL",
]

HEADER = struct.Struct(">qiibIhiqqqhii")
"""base offset, length, leader epoch, magic, CRC, attributes, last offset delta, base timestamp,
max timestamp, producer id, producer epoch, base sequence, record count."""

PREFIX = struct.Struct(">qi")
"""base offset, length: enough to find the end of the batch."""

MAGIC = 2
LENGTH_END = PREFIX.size  # the length field counts the bytes from here
MAGIC_AT = 16
CRC_AT = 17
CRC_FROM = 21  # the CRC covers the batch from the attributes on

CODEC_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
CODEC_NAMES = ("none", "gzip", "snappy", "lz4", "zstd")

MIN_RECORD_BYTES = 7
"""length, attributes, timestamp, offset, null key, null value, no headers: one byte each."""
