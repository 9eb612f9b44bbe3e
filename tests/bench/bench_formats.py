"""How many readings a core takes of each format: readings a second of CPU, and against JSON.

python -m tests.bench.bench_formats [--readings N]

The same readings in every format, from fetched batches to batches ready to be sent, in one process
and without a broker (as `tests.bench.bench_rejects`); and the decoding of the payloads alone. The
formats take turns, and the best of some rounds counts.
"""

from __future__ import annotations

import argparse
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde.avro.format import AvroFormat
from ewma_ops.serde.bare import BareDecoder
from ewma_ops.serde.csv import CsvDecoder
from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.serde.line import LineDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.protobuf.format import ProtobufFormat
from ewma_ops.serde.protobuf.schema import file_of, message_at, message_class
from ewma_ops.serde.schemas import WrittenSchema
from ewma_ops.wire.encode import encode_batch
from ewma_ops.wire.records import ProducerRecords
from tests.bench.bench_rejects import TIME_MS, Way
from tests.helpers.registry import Kept, framed
from tests.serde.avro.test_format import logical, record, written

ROUNDS = 7
LINES = 10
FLAT = DecoderOptions(time="ts")
QUOTED = DecoderOptions(time="ts", numbers="text", time_unit="ms")
POINT = DecoderOptions(value="fields.value", series_id="tags.sensor", time="time")
PROTO = WrittenSchema(
    'syntax = "proto3"; '
    "message R { string series_id = 1; int64 ts = 2; optional double value = 3; }",
    "PROTOBUF",
)
WANTED = replace(POINT, where={"measurement": ["env"]})
OTHERS = [b"cpu", b"mem", b"net"]
BARE = DecoderOptions(value="@value", series_id=None)
NAMES = ["series_id", "ts", "value"]

Write = Callable[[int, str, float], bytes]


class Kind(NamedTuple):
    """A format: its decoder, a reading in it, and how many of these make a message."""

    decoder: Callable[[], Decoder]
    write: Write
    lines: int = 1
    encoder: JsonEncoder = JsonEncoder(["mean"])


def wide(i: int, name: str, value: float) -> bytes:
    tags = f"env,sensor={name},region=eu-1,rack=r17"
    fields = f'value={value},usage=1.5,n={i}i,state="ok"'
    return f"{tags} {fields} {TIME_MS + i}000000".encode()


def five(i: int, name: str, value: float) -> bytes:
    fields = f'"series_id":"{name}","ts":{TIME_MS + i},"value":{value}'
    return f'{{{fields},"unit":"C","site":{i % 7}}}'.encode()


def mixed(i: int, name: str, value: float) -> bytes:
    """Return a point, and three of other measurements behind it."""
    point = wide(i, name, value)
    others = [point.replace(b"env", other).replace(b",n", b"," + other) for other in OTHERS]
    return b"\n".join([point, *others])


KINDS = {
    "json": Kind(
        lambda: JsonDecoder(FLAT),
        lambda i, name, value: (
            b'{"series_id":"%b","ts":%d,"value":%b}'
            % (name.encode(), TIME_MS + i, repr(value).encode())
        ),
    ),
    "json, numbers in quotes": Kind(
        lambda: JsonDecoder(QUOTED),
        lambda i, name, value: (
            b'{"series_id":"%b","ts":"%d","value":"%b"}'
            % (name.encode(), TIME_MS + i, repr(value).encode())
        ),
    ),
    "json, 5 fields": Kind(lambda: JsonDecoder(FLAT), five),
    "json, 5 fields, 2 of them included": Kind(
        lambda: JsonDecoder(replace(FLAT, include=["unit", "site"])),
        five,
        1,
        JsonEncoder(["mean"], [], ["unit", "site"]),
    ),
    "csv": Kind(
        lambda: CsvDecoder(NAMES, FLAT), lambda i, name, v: f"{name},{TIME_MS + i},{v}".encode()
    ),
    "csv, 10 lines a message": Kind(
        lambda: CsvDecoder(NAMES, FLAT),
        lambda i, name, v: f"{name},{TIME_MS + i},{v}".encode(),
        LINES,
    ),
    "csv in quotes": Kind(
        lambda: CsvDecoder(NAMES, FLAT),
        lambda i, name, v: f'"{name}","{TIME_MS + i}","{v}"'.encode(),
    ),
    "line": Kind(
        lambda: LineDecoder(POINT),
        lambda i, name, v: f"env,sensor={name} value={v} {TIME_MS + i}000000".encode(),
    ),
    "line, 10 points a message": Kind(
        lambda: LineDecoder(POINT),
        lambda i, name, v: f"env,sensor={name} value={v} {TIME_MS + i}000000".encode(),
        LINES,
    ),
    "line, 3 tags, 4 fields": Kind(lambda: LineDecoder(POINT), wide),
    "line, wide, 1 of 4 points wanted": Kind(lambda: LineDecoder(WANTED), mixed),
    "number": Kind(lambda: BareDecoder("number", BARE), lambda _, __, v: repr(v).encode()),
    "float64": Kind(lambda: BareDecoder("float64", BARE), lambda _, __, v: struct.pack(">d", v)),
}


def avro(schema: dict[str, Any], write: Write) -> Kind:
    decoder = Decoder(AvroFormat(Kept(s7=schema)), FLAT)
    return Kind(lambda: decoder, write)


def protobuf() -> Kind:
    reading = message_class(message_at(file_of(PROTO), (0,)))

    def write(i: int, name: str, value: float) -> bytes:
        made: Any = reading(series_id=name, ts=TIME_MS + i, value=value)
        return framed(7, b"\0" + made.SerializeToString())

    return Kind(lambda: Decoder(ProtobufFormat(Kept(s7=PROTO)), FLAT), write)


KINDS |= {
    "avro": avro(
        record(series_id="string", ts="long", value="double"),
        lambda i, name, v: framed(
            7,
            b"%c%b%b%b"
            % (2 * len(name), name.encode(), written("long", TIME_MS + i), struct.pack("<d", v)),
        ),
    ),
    "avro, micros, decimals, null": avro(
        record(
            series_id="string",
            ts=logical("long", "timestamp-micros"),
            value=["null", logical("bytes", "decimal", precision=9, scale=2)],
        ),
        lambda i, name, v: framed(
            7,
            b"%c%b%b\x02\x08%b"
            % (
                2 * len(name),
                name.encode(),
                written("long", 1_000 * (TIME_MS + i)),
                round(100 * v).to_bytes(4, "big", signed=True),
            ),
        ),
    ),
    "protobuf": protobuf(),
}


def messages(kind: Kind, n: int) -> tuple[list[bytes], list[bytes]]:
    """Return keys and payloads that hold n readings."""
    values = np.random.default_rng(1).normal(20, 5, n).round(2).tolist()
    names = [f"sensor-{i % 1000}" for i in range(n)]
    written = [
        kind.write(i, name, v) for i, (name, v) in enumerate(zip(names, values, strict=True))
    ]
    payloads = [b"\n".join(written[at : at + kind.lines]) for at in range(0, n, kind.lines)]
    return [name.encode() for name in names[:: kind.lines]], payloads


def measure(n: int, rounds: int = ROUNDS) -> dict[str, tuple[float, float]]:
    """Return readings a second of CPU by format: all the way, and decoded alone."""
    batches, columns, ways = {}, {}, {}
    best = {name: [np.inf, np.inf] for name in KINDS}
    for name, kind in KINDS.items():
        keys, payloads = messages(kind, n)
        batches[name] = bytes(encode_batch(ProducerRecords(keys, payloads), timestamp_ms=TIME_MS))
        columns[name] = BytesColumn.of(keys), BytesColumn.of(payloads)
        ways[name] = Way(kind.decoder(), kind.encoder), kind.decoder()
    for _ in range(rounds):
        for name in KINDS:
            way, decoder = ways[name]
            began = time.process_time()
            way(batches[name], n)
            all_the_way = time.process_time()
            decoded = decoder.decode(*columns[name], np.full(len(columns[name][0]), TIME_MS))
            ended = time.process_time()
            assert len(decoded.readings) == n
            best[name][0] = min(best[name][0], all_the_way - began)
            best[name][1] = min(best[name][1], ended - all_the_way)
    return {name: (n / way, n / alone) for name, (way, alone) in best.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=8_000)
    n = parser.parse_args(arguments).readings
    title = "formats: readings a second of one core"
    print(f"{title:<40} {'whole way':>12} {'JSON = 1':>9} {'decoding':>12}")
    rates = measure(n)
    for name, (whole, alone) in rates.items():
        print(f"{name:<40} {whole:>12,.0f} {whole / rates['json'][0]:>9.2f} {alone:>12,.0f}")


if __name__ == "__main__":
    main()
