"""Feed CSV, the line protocol and bare numbers, and bytes that are none, to their decoders.

    python -m tests.serde.fuzz_formats [--seed 1] [--inputs 1000000]

Each run of payloads is decoded by columns of bytes and one by one, under random options: both must
agree in every reading, to the bit, and in every letter, to the word. Memory is limited for the
whole process, and the slowest run is reported.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args
from unittest.mock import patch

import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.bare import BareDecoder, BareName
from ewma_ops.serde.csv import FIRST_LINE, CsvDecoder
from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.format import CAUSES
from ewma_ops.serde.line import LineDecoder
from ewma_ops.serde.options import DecoderOptions
from tests.helpers.fuzzing import fuzz, in_runs
from tests.serde.json.fuzz_decoder import told

TEXTS = [
    "a",
    "b",
    "",
    "x y",
    "é",
    "\ufeff",
    "\0",
    "x" * 300,
    "a,b",
    '"',
    'a"b',
    "\\",
    "#",
    "'",
    "\t",
]
NUMBERS = [
    "1.5",
    "2",
    "-3.25",
    "0",
    "-0",
    "+1",
    ".5",
    "5.",
    "1e5",
    "1e999",
    "NaN",
    "1,5",
    "007",
    " 7",
]
NUMBERS += [
    "9007199254740993",
    "1" * 30,
    "null",
    "off",
    "-99",
    "0x1F",
    "1m.5",
    "1e",
    "1-2",
    "23.5 C",
    "5i",
    "7u",
    "t",
]
TIMES = [
    "1700000000000",
    "0",
    "1700000000",
    "1700000000.25",
    "2023-11-14T22:13:20Z",
    "20231114",
    "",
]
TIMES += ["1700000000123456789", "-5", "x", "9" * 19]
BREAKS = ["\n", "\n", "\r\n", "\n\n", "\r"]
COMMON: dict[str, list[Any]] = {
    "missing_values": [[], ["off", "", -99.0]],
    "time_unit": [None, "s", "ms", "us", "ns"],
    "nulls": [True, False],
    "infinite": [False, True],
    "tombstones": ["dead-letter", "skip"],
    "max_value_bytes": [1 << 20, 40],
    "max_include_bytes": [4_096, 15],
}
NAMES = ["id", "t", "v", "e", "f"]

Payload = Callable[[random.Random], bytes]


def options_of(draw: random.Random, own: dict[str, list[Any]]) -> DecoderOptions:
    every = {**COMMON, **own}
    some = draw.choice([0.0, 0.2, 0.6])
    return DecoderOptions(
        **{
            name: draw.choice(values) if draw.random() < some else values[0]
            for name, values in every.items()
        }
    )


def csv_kind(draw: random.Random) -> tuple[Decoder, Decoder, Payload]:
    own: dict[str, list[Any]] = {
        "value": ["v", ["v", "f"]],
        "series_id": ["id", ["id", "e"], None, "@header.h"],
        "time": ["t", None],
        "weight": [None, None, "f"],
        "decimal": [".", ","],
        "where": [{}, {"e": ["a"]}],
        "include": [[], ["e", "v"], ["id"]],
    }
    options = options_of(draw, own)
    if options.weight is not None and not isinstance(options.value, str):
        options = DecoderOptions(series_id="id", time="t", value="v")
    delimiter = draw.choice(",,;\t")
    dialect: Any = {"delimiter": delimiter, "quote": draw.choice(['"', '"', "'", ""])}
    columns: Any = draw.choice([NAMES, NAMES, NAMES, FIRST_LINE])
    header = delimiter.join(NAMES)

    def line() -> str:
        kind = draw.random()
        if kind < 0.1:
            return header
        fields = [draw.choice(TEXTS[:3]), TIMES[0], "1.5", "a", "2"]
        if kind > 0.6:
            fields = [draw.choice(column) for column in (TEXTS, TIMES, NUMBERS, TEXTS, NUMBERS)]
        if kind > 0.9:
            fields = fields[: draw.randrange(6)]
        if kind > 0.8:
            quote = dialect["quote"]
            fields = [quote + f.replace(quote, quote * 2) + quote if quote else f for f in fields]
        return delimiter.join(fields)

    def payload(_: random.Random) -> bytes:
        lines = [line() for _ in range(draw.choice([1, 1, 1, 2, 4]))]
        if columns == FIRST_LINE and draw.random() < 0.9:
            lines.insert(0, header)
        return draw.choice(BREAKS).join(lines).encode()

    return CsvDecoder(columns, options, **dialect), CsvDecoder(columns, options, **dialect), payload


def line_kind(draw: random.Random) -> tuple[Decoder, Decoder, Payload]:
    own: dict[str, list[Any]] = {
        "value": ["fields.v", ["fields.v", "fields.f"]],
        "series_id": ["tags.id", ["measurement", "tags.e"], None],
        "time": ["time", None],
        "numbers": ["strict", "text"],
        "where": [{}, {"measurement": ["m"]}, {"fields.ok": [True]}, {"fields.f": [1, 2, 3]}],
        "include": [[], ["tags.e", "fields.v"], ["time", "fields.ok", "fields.s", "tags.no"]],
    }
    options = options_of(draw, own)
    shape = draw.randrange(4)

    def point() -> str:
        kind = draw.random()
        if kind < 0.05:
            return draw.choice(["# comment", "", " ", "nonsense", "m v=1"])
        odd = kind > 0.6
        text = draw.choice(TEXTS[3:]) if odd else draw.choice("ab")
        if kind < 0.9:
            for mark in ",= ":
                text = text.replace(mark, "\\" + mark)
        number = draw.choice(NUMBERS) if odd else f"{draw.randrange(100)}.5"
        fields = [f"v={number}", f"f={draw.randrange(9)}i", 's="x"', "ok=t"][: shape + 1]
        if odd and draw.random() < 0.5:
            fields.append('s="' + draw.choice(TEXTS).replace('"', '\\"') + '"')
        stamp = " " + draw.choice(TIMES) if odd else " 1700000000000000000"
        return f"{draw.choice('mmn')},id={text},e=q {','.join(fields)}{stamp}"

    def payload(_: random.Random) -> bytes:
        points = [point() for _ in range(draw.choice([1, 1, 1, 2, 4]))]
        return draw.choice(BREAKS).join(points).encode()

    return LineDecoder(options), LineDecoder(options), payload


def bare_kind(draw: random.Random) -> tuple[Decoder, Decoder, Payload]:
    name: BareName = draw.choice(get_args(BareName))
    own: dict[str, list[Any]] = {
        "value": ["@value"],
        "series_id": [None, "@header.h"],
        "decimal": [".", ","],
        "include": [[], [], ["@value"]],
    }
    options = options_of(draw, own)
    form = {"float32": ">f", "float64": ">d", "int32": ">i", "int64": ">q", "number": ""}[name]

    def payload(_: random.Random) -> bytes:
        if not form:
            return draw.choice(NUMBERS + TEXTS).encode()
        if draw.random() < 0.2:
            return draw.randbytes(draw.choice([0, 1, 4, 4, 8, 8, 9]))
        return struct.pack(form, draw.randrange(-5, 5))

    return BareDecoder(name, options), BareDecoder(name, options), payload


KINDS = {"csv": csv_kind, "line": line_kind, "bare": bare_kind}


def damaged(draw: random.Random, payload: bytes) -> bytes | None:
    kind = draw.random()
    if kind < 0.03:
        return None
    if kind > 0.9:
        at = draw.randrange(len(payload) + 1)
        return payload[:at] + draw.randbytes(draw.randrange(3)) + payload[at + draw.randrange(3) :]
    return payload


def check(draw: random.Random, n: int) -> Counter[str]:
    """Decode a run in both ways; return how many of it came to what."""
    name = draw.choice(list(KINDS))
    first, second, payload = KINDS[name](draw)
    found: Counter[str] = Counter()
    for _ in range(2):  # what the first run teaches is used in the second
        payloads = [damaged(draw, payload(draw)) for _ in range(n // 2)]
        keys = [draw.choice([b"k", b"l", None, b"\xff"]) for _ in payloads]
        headers = [draw.choice([[], [("h", b"x")]]) for _ in payloads]
        times = [draw.choice([1_700_000_000_000, -1, 5]) for _ in payloads]
        beside = times, headers, np.zeros(len(payloads), np.int32), ["t"] * len(payloads)
        one_by_one = first.decode(keys, payloads, *beside)
        with patch.object(decoder_module, "_FEW", 1):
            by_columns = second.decode(BytesColumn.of(keys), BytesColumn.of(payloads), *beside)
        assert told(by_columns) == told(one_by_one)
        assert by_columns.skipped == one_by_one.skipped
        for one in one_by_one.rejected:
            assert one.cause in CAUSES
            assert len(one.detail) < 400
        found += Counter(f"{name}: {one.cause}" for one in one_by_one.rejected)
        found[f"{name}: readings"] += len(one_by_one.readings)
        found[f"{name}: skipped"] += one_by_one.skipped
    return found


def run(seed: int, inputs: int) -> Counter[str]:
    """Decode so many payloads; return how many of each outcome there were."""
    return in_runs(check, seed, inputs)


if __name__ == "__main__":
    fuzz(run, __doc__)
