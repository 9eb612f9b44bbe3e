"""Record batches to columns and back, against kafka-python's own: nanoseconds a record.

python -m tests.bench.bench_wire
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from ewma_ops.wire.batch import decode_batches
from ewma_ops.wire.encode import encode_batch
from ewma_ops.wire.records import ProducerRecords

SIZES = (1, 10, 100, 10_000)
TIME_MS = 1_700_000_000_000
ROUNDS = 7
RECORDS_A_ROUND = 20_000
TEMPLATE = '{"series_id":"s%d","ts":1700000000000,"value":%.3f}'


def _records(n: int, *, tagged: bool) -> ProducerRecords:
    rng = random.Random(n)
    return ProducerRecords(
        [b"s%d" % (i % 1000) for i in range(n)],
        [(TEMPLATE % (i % 1000, rng.gauss(20, 5))).encode() for i in range(n)],
        [[("ewma-id", rng.randbytes(16))] for _ in range(n)] if tagged else None,
    )


def _by_kafka_python(records: ProducerRecords) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 30)
    headers = records.headers or [[]] * len(records)
    rows = zip(records.keys, records.values, headers, strict=True)
    for offset, (key, value, pairs) in enumerate(rows):
        builder.append(offset, TIME_MS, key, value, pairs)
    return builder.build()  # type: ignore[no-any-return]


def _ns(call: Callable[[], object], n: int) -> float:
    """Return the CPU time of the best of some rounds, per record."""
    times = max(1, RECORDS_A_ROUND // n)
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(times):
            call()
        best = min(best, time.process_time() - started)
    return best / times / n * 1e9


def main() -> None:
    print("ns a record          decode   kafka-python    encode   kafka-python")
    for tagged in (False, True):
        for n in SIZES:
            records = _records(n, tagged=tagged)
            batch = bytes(encode_batch(records, timestamp_ms=TIME_MS))
            figures = (
                _ns(lambda: list(decode_batches(batch, 0)), n),  # noqa: B023
                _ns(lambda: [list(b) for b in MemoryRecords(batch)], n),  # noqa: B023
                _ns(lambda: encode_batch(records, timestamp_ms=TIME_MS), n),  # noqa: B023
                _ns(lambda: _by_kafka_python(records), n),  # noqa: B023
            )
            name = f"{n:,}{' + header' if tagged else ''}"
            print("{:16}{:11,.0f}{:15,.0f}{:10,.0f}{:15,.0f}".format(name, *figures))
        small = b"".join(_small(k) for k in range(2_000)) if not tagged else b""
        if small:
            ours = _ns(lambda: list(decode_batches(small, 0)), 2_000)  # noqa: B023
            theirs = _ns(lambda: [list(b) for b in MemoryRecords(small)], 2_000)  # noqa: B023
            print(f"{'2,000 batches of 1':18}{ours:9,.0f}{theirs:15,.0f}")


def _small(offset: int) -> bytes:
    batch = encode_batch(_records(1, tagged=False), timestamp_ms=TIME_MS)
    batch[:8] = offset.to_bytes(8, "big")  # which the CRC does not cover
    return bytes(batch)


if __name__ == "__main__":
    main()
