"""Write golden.json: batches as kafka-python made them on the day this was run, and their rows.

    python -m tests.wire.make_golden

Run it again only to add cases: the point of the file is that it does not follow the code.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.batches import Record, kafka_batch, patched

TIME_MS = 1_700_000_000_000

ONE: list[Record] = [(0, TIME_MS, b"s1", b'{"value": 21.5}', [])]
NULLS: list[Record] = [
    (0, TIME_MS, None, b"", []),
    (1, TIME_MS, b"", None, []),
    (2, TIME_MS, None, None, [("h", None), ("h", b""), ("\u00fc", b"\x00\xff")]),
]
LONG: list[Record] = [(n, TIME_MS, b"k" * (n // 3), b"v" * (n * 5), []) for n in range(40)]
TIMES: list[Record] = [(n + 70, TIME_MS + (-1) ** n * n**4, b"k", b"v", []) for n in range(40)]
TAGGED: list[Record] = [
    (n, TIME_MS, b"s%d" % n, b"%d" % n, [("ewma-id", bytes([n] * 16))]) for n in range(60)
]


def main() -> None:
    kept = [row for row in LONG if row[0] % 3]
    made: list[tuple[str, list[Record], bytes, bool]] = [
        ("one record", ONE, kafka_batch(ONE), True),
        ("nulls and headers", NULLS, kafka_batch(NULLS), True),
        ("lengths of one and two bytes", LONG, kafka_batch(LONG), True),
        ("one header of one size", TAGGED, kafka_batch(TAGGED), True),
        ("times before and after the first", TIMES, kafka_batch(TIMES), False),
        ("compacted", kept, kafka_batch(kept), False),
        (
            "log append time",
            [(offset, 5, key, value, headers) for offset, _, key, value, headers in TIMES],
            patched(kafka_batch(TIMES), attributes=8, max_ms=5),
            False,
        ),
        ("gzip", LONG, kafka_batch(LONG, codec=1), False),
        ("snappy", LONG, kafka_batch(LONG, codec=2), False),
        ("lz4", LONG, kafka_batch(LONG, codec=3), False),
        ("zstd", LONG, kafka_batch(LONG, codec=4), False),
    ]
    cases = [
        {"name": name, "encoded_alike": alike, "hex": batch.hex(), "records": _plain(records)}
        for name, records, batch, alike in made
    ]
    path = Path(__file__).parent / "golden.json"
    path.write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


def _plain(records: list[Record]) -> list[object]:
    return [
        (offset, timestamp_ms, _hex(key), _hex(value), [(n, _hex(c)) for n, c in headers])
        for offset, timestamp_ms, key, value, headers in records
    ]


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


if __name__ == "__main__":
    main()
