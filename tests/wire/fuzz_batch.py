"""Feed damaged record batches to the decoder: columns or ``CorruptBatch``, nothing else.

    python -m tests.wire.fuzz_batch [--seed 1] [--inputs 1000000]

Each input is decoded record by record, all at once, and by a compiled loop, which must agree in
every record and in the words of the error; where kafka-python reads the input too, it must agree
in the records. Memory is limited for the whole process, and the slowest input is reported.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from unittest.mock import patch

from kafka.errors import KafkaError

from ewma_ops.compiled import library
from ewma_ops.wire import decode
from ewma_ops.wire.varint import read_varint
from tests.helpers.batches import (
    FIELDS,
    HEADER,
    Record,
    control_batch,
    kafka_batch,
    kafka_rows,
    outcome,
    patched,
)
from tests.helpers.fuzzing import fuzz

EXTREMES = (-(2**63), -(2**31), -1, 0, 1, 2, 7, 49, 127, 128, 2**15 - 1, 2**31 - 1, 2**63 - 1)
WIDTHS = dict(zip(FIELDS, (64, 32, 32, 8, 32, 16, 32, 64, 64, 64, 16, 32, 32), strict=True))
VARINTS = [
    bytes.fromhex(code)
    for code in (
        "00", "01", "02", "7f", "8000", "8001", "ff7f", "808000", "ffffffff0f", "feffffff0f",
        "8080808080808000", "ffffffffffffff7f", "ffffffffffffffffff01", "feffffffffffffffff01",
        "ffffffffffffffffff7f", "80808080808080808000", "ffffffffffffffffffffff",
    )
]  # fmt: skip


def alike(n: int) -> list[Record]:
    """Make records that compress well."""
    return [(i, 5, b"k", b"all the same " * 3, []) for i in range(n)]


def whole(rng: random.Random) -> bytes:
    """Make a buffer of one to three good batches of many shapes."""
    offset = rng.choice((0, 0, 5, 2**31, 2**60))
    buffer = b""
    for _ in range(rng.choice((1, 1, 2, 3))):
        offset += rng.choice((0, 0, 3))
        if rng.random() < 0.1:
            buffer += control_batch(offset, 1, abort=rng.random() < 0.5)
            offset += 1
            continue
        records = _records(rng, offset)
        codec = rng.choice((0, 0, 0, 0, 1, 2, 3, 4))
        batch = kafka_batch(records, codec=codec)
        if rng.random() < 0.2:
            transactional = rng.choice((0, 0x10))
            batch = patched(batch, producer_id=1, attributes=(batch[22] & 7) | 8 | transactional)
        buffer += batch
        offset = records[-1][0] + 1
    return buffer


def _records(rng: random.Random, offset: int) -> list[Record]:
    records: list[Record] = []
    time_ms = rng.choice((-1, 0, 1_700_000_000_000))
    gaps, timed, headed = rng.random() < 0.2, rng.random() < 0.5, rng.random() < 0.3
    for _ in range(rng.choice((1, 1, 2, 3, 8, 30))):
        time_ms += rng.randrange(-3, 1000) if timed else 0
        key = rng.choice((None, b"", b"key", b"k" * 70))
        value = rng.choice((None, b"", b"value", rng.randbytes(rng.randrange(90))))
        headers = [("h" * rng.randrange(9), key)] * rng.randrange(4) if headed else []
        records.append((offset, time_ms, key, value, headers))
        offset += rng.randrange(1, 90) if gaps else 1
    return records


def damaged(rng: random.Random) -> bytes:
    """Make a buffer and do one to three harmful things to it."""
    buffer = whole(rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        buffer = rng.choice((_flip, _flip, _overwrite, _overwrite, _lie, _cut, _splice))(
            rng, buffer
        )
    return buffer


def _first(buffer: bytes) -> tuple[bytes, bytes]:
    """Split the first batch off, if there is a whole one."""
    stop = 12 + int.from_bytes(buffer[8:12], "big", signed=True)
    return (buffer[:stop], buffer[stop:]) if HEADER.size <= stop <= len(buffer) else (b"", buffer)


def _flip(rng: random.Random, buffer: bytes) -> bytes:
    batch, rest = _first(buffer)
    if not batch or rng.random() < 0.1:  # anywhere, and the CRC not mended
        out = bytearray(buffer or b"\0")
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        return bytes(out)
    records = bytearray(batch[HEADER.size :] or b"\0")
    records[rng.randrange(len(records))] ^= 1 << rng.randrange(8)
    return patched(batch, bytes(records)) + rest


def _overwrite(rng: random.Random, buffer: bytes) -> bytes:
    """Put a varint where it hurts; sometimes insert it."""
    batch, rest = _first(buffer)
    if not batch:
        return buffer
    records = batch[HEADER.size :]
    at = rng.randrange(min(len(records), 12) + 1 if rng.random() < 0.5 else len(records) + 1)
    varint = rng.choice(VARINTS)
    records = records[:at] + varint + records[at + rng.choice((0, 1, len(varint))) :]
    return patched(batch, records) + rest


def _lie(rng: random.Random, buffer: bytes) -> bytes:
    batch, rest = _first(buffer)
    if not batch:
        return buffer
    field = rng.choice(FIELDS)
    value = rng.choice((*EXTREMES, HEADER.unpack_from(batch)[FIELDS.index(field)] + 1))
    low = 0 if field == "crc" else -(1 << WIDTHS[field] - 1)
    value = (value - low) % (1 << WIDTHS[field]) + low
    return patched(batch, **{field: value}) + rest


def _cut(rng: random.Random, buffer: bytes) -> bytes:
    batch, rest = _first(buffer)
    if not batch or rng.random() < 0.5:
        return buffer[: rng.randrange(len(buffer) + 1)]
    records = batch[HEADER.size :]
    return patched(batch, records[: rng.randrange(len(records) + 1)]) + rest


def _splice(rng: random.Random, buffer: bytes) -> bytes:
    batch, rest = _first(buffer)
    other, _ = _first(whole(rng))
    at = rng.randrange(len(batch[HEADER.size :]) + 1)
    records = batch[HEADER.size :][:at] + other[HEADER.size :][at:]
    return (patched(batch, records) if batch else other) + rest


def check(buffer: bytes, from_offset: int) -> str:
    """Decode one buffer in both ways; return what became of it."""
    aborted = [(1, 3)] if from_offset % 2 else []
    with patch.object(decode, "_FEW_RECORDS", 10**9), patch.object(library, "kernels", None):
        few = outcome(buffer, from_offset, aborted=aborted)
    with patch.object(decode, "_FEW_RECORDS", 1):
        many = outcome(buffer, from_offset, aborted=aborted)
        with patch.object(library, "kernels", None):
            without_loops = outcome(buffer, from_offset, aborted=aborted)
    assert few == many == without_loops
    found, next_offset, error = few
    offsets = [record[0] for record in found]
    assert offsets == sorted(set(offsets))
    assert all(from_offset <= offset < next_offset for offset in offsets)
    assert all(-(2**63) <= record[1] < 2**63 for record in found)
    if error is not None:
        return "corrupt"
    if from_offset == 0 and found and buffer[21:23] == b"\0\0" and _attributes_of_one_byte(buffer):
        try:
            by_kafka = kafka_rows(buffer)
        except (KafkaError, ValueError, IndexError, TypeError):
            return "columns, not by kafka-python"
        if len(by_kafka) == len(found):  # it also shows what is in control batches
            assert by_kafka == found
    return "columns"


def _attributes_of_one_byte(buffer: bytes) -> bool:
    """Say whether kafka-python reads the first batch's attributes, a byte each, as such.

    It takes them for varints; to Kafka's own client, and to us, they are bytes.
    """
    records = _first(buffer)[0][HEADER.size :]
    at = 0
    while at < len(records):
        length, at = read_varint(records, at)
        if records[at] >= 0x80:
            return False
        at += length
    return True


def run(seed: int, inputs: int) -> Counter[str]:
    """Check so many damaged buffers."""
    outcomes: Counter[str] = Counter()
    slowest_s = 0.0
    for number in range(inputs):
        rng = random.Random(f"{seed}/{number}")
        buffer = damaged(rng)
        from_offset = rng.choice((0, 0, 1, 5, 7))
        started = time.process_time()
        try:
            outcomes[check(buffer, from_offset)] += 1
        except BaseException:
            print(f"seed {seed}, input {number}, from {from_offset}: {buffer.hex()}")
            raise
        slowest_s = max(slowest_s, time.process_time() - started)
    outcomes["slowest, CPU ms"] = round(slowest_s * 1000)
    return outcomes


if __name__ == "__main__":
    fuzz(run, __doc__)
