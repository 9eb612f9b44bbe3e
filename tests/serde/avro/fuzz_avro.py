"""Feed Avro of random schemas, and bytes that are none, to the decoder: readings or letters.

    python -m tests.serde.avro.fuzz_avro [--seed 1] [--inputs 1000000]

What was written by a schema and left alone must be read as it was written; everything else must
come to a reading or a letter, in the time and the memory that its size allows. Memory is limited
for the whole process, and the slowest run is reported.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import fastavro
from fastavro.utils import generate_one

from ewma_ops.errors import ConfigError
from ewma_ops.serde.avro import schema as schema_module
from ewma_ops.serde.avro.format import AvroFormat
from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.schemas import WrittenSchema
from tests.helpers.fuzzing import fuzz, in_runs
from tests.helpers.outcomes import outcomes_of
from tests.helpers.registry import Kept, framed
from tests.serde.avro.test_format import logical, plain, written
from tests.serde.json.fuzz_decoder import of_places, told

MOST_S = 5.0
LONGEST = 20_000
PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
LOGICAL = [
    *(logical("long", f"{head}timestamp-{unit}") for head in ("", "local-")
      for unit in ("millis", "micros", "nanos")),
    logical("int", "date"), logical("int", "time-millis"), logical("string", "uuid"),
    logical("bytes", "decimal", precision=9, scale=2), logical("bytes", "decimal", scale="x"),
]  # fmt: skip
UNREAD = ("not-avro", "not-utf8", "too-deep")
"""What stands in a field that is skipped may be anything of its length."""
PATHS = ["v", "v", "a", "b.v", "@value", "a[0]", "c.a"]


class Schemas:
    """Makes schemas; each has names of its own."""

    def __init__(self, draw: random.Random) -> None:
        self._draw, self._names = draw, 0

    def _name(self) -> str:
        self._names += 1
        return f"T{self._names}"

    def record(self, depth: int = 3, outer: tuple[str, ...] = ()) -> dict[str, Any]:
        name = self._name()
        names = self._draw.sample(["v", "a", "b", "c", "d"], self._draw.randrange(1, 5))
        fields = [{"name": f, "type": self.any(depth - 1, (*outer, name))} for f in names]
        return {"type": "record", "name": name, "fields": fields}

    def any(self, depth: int, outer: tuple[str, ...]) -> Any:
        draw = self._draw
        kind = draw.random()
        if depth <= 0 or kind < 0.45:
            return draw.choice(PRIMITIVES) if draw.random() < 0.6 else draw.choice(LOGICAL)
        if kind < 0.55:
            return ["null", draw.choice(PRIMITIVES[1:])]
        if kind < 0.62:
            return ["null", draw.choice(outer)]
        if kind < 0.72:
            return {"type": "array", "items": self.any(depth - 1, outer)}
        if kind < 0.8:
            return {"type": "map", "values": self.any(depth - 1, outer)}
        if kind < 0.85:
            return {"type": "enum", "name": self._name(), "symbols": ["A", "B"]}
        if kind < 0.92:
            fixed = {"type": "fixed", "name": self._name(), "size": draw.choice([1, 4, 16])}
            return {**fixed, **draw.choice([{}, {"logicalType": "decimal", "precision": 3}])}
        return self.record(depth, outer)


def mutated(draw: random.Random, datum: bytes) -> bytes:
    made = bytearray(datum)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        at = draw.randrange(len(made) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            made[at : at + draw.randrange(4)] = b""
        elif kind == 1:
            made[at:at] = draw.choice(
                [b"\xff" * 9 + b"\x01", b"\xfe" * 9 + b"\x01", b"\x01", b"\0"]
            )
        elif kind == 2 and at < len(made):
            made[at] ^= 1 << draw.randrange(8)
        else:
            made[at : at + 3] = draw.randbytes(draw.randrange(6))
    return bytes(made)


def deep(draw: random.Random) -> bytes:
    return draw.choice([b"\2", b"\0", b"\2\2", b"\2a"]) * draw.choice([10, 1_000, 50_000])


def options_of(draw: random.Random) -> DecoderOptions:
    while True:
        options = DecoderOptions(
            value=draw.choice(PATHS),
            series_id=draw.choice([None, "d", "c"]),
            time=draw.choice([None, "b"]),
            time_unit=draw.choice([None, "s", "us"]),
            records=draw.choice([None, None, "a[]", "c{}"]),
            numbers=draw.choice(["strict", "text"]),
        )
        with suppress(ConfigError):  # two paths lead to the same field
            options.paths()
            return options


def check(draw: random.Random, n: int) -> Counter[str]:
    """Decode a run; return how many of it came to what."""
    schema = Schemas(draw).record()
    bare = plain(schema)
    parsed = fastavro.parse_schema(json.loads(json.dumps(bare)))
    random.seed(draw.random())
    data: list[bytes] = []
    for _ in range(3):
        try:
            datum = written(bare, generate_one(parsed))
        except (RecursionError, ValueError, TypeError):
            continue
        if len(datum) < LONGEST:  # a tree of arrays can be of any size
            data.append(datum)
    kept = Kept(s7=WrittenSchema(json.dumps(schema)), s8=WrittenSchema("{"))
    payloads: list[bytes | None] = []
    for place in range(n):
        if place < len(data):
            payloads.append(framed(7, data[place]))
            continue
        datum = mutated(draw, draw.choice(data or [b""])) if draw.random() < 0.97 else deep(draw)
        payloads.append(draw.choice([None, b"", datum, framed(8, datum), framed(9, datum)])
                        if draw.random() < 0.05 else framed(7, datum))  # fmt: skip
    whole: dict[int, tuple[str, str]] = {}
    found = AvroFormat(kept).documents(payloads[: len(data)], range(len(data)), whole)
    for datum, document, place in zip(data, found, range(len(data)), strict=True):
        if place in whole:
            cause, detail = whole[place]
            assert schema != bare or cause == "too-deep" or "without bytes" in detail
        elif schema == bare:
            assert written(bare, document) == datum
    options = options_of(draw)
    unit = options.time_unit
    decoded = Decoder(AvroFormat(kept, unit), options).decode([b"k"] * n, payloads, [5] * n)
    heads = options.paths().heads()
    with patch.object(schema_module, "_MANY", 1):
        part = Decoder(AvroFormat(kept, unit, heads), options)
        by_part = part.decode([b"k"] * n, payloads, [5] * n)
    unread = {one.at for one in [*decoded.rejected, *by_part.rejected] if one.cause in UNREAD}
    assert of_places(told(by_part), unread) == of_places(told(decoded), unread)
    return outcomes_of(decoded)


def run(seed: int, inputs: int) -> Counter[str]:
    """Decode so many payloads; return how many of each outcome there were."""
    return in_runs(check, seed, inputs, most_s=MOST_S)


if __name__ == "__main__":
    fuzz(run, __doc__)
