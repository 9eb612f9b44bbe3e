"""Feed JSON of every shape, and bytes that are none, to the decoder: readings or letters.

    python -m tests.serde.json.fuzz_decoder [--seed 1] [--inputs 1000000]

Each run of payloads is decoded by structs, by columns, and by documents alone, under random
options: all three must agree in every reading, to the bit, and in every letter, to the word; but
what makes a payload unreadable as a whole may stand in a field that structs do not look at.
Memory is limited for the whole process, and the slowest run is reported.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any
from unittest.mock import patch

import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.decoder import Decoded, Decoder
from ewma_ops.serde.format import CAUSES
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.json.documents import JsonFormat
from ewma_ops.serde.options import DecoderOptions
from tests.helpers.fuzzing import fuzz, in_runs

UNREAD = ("not-utf8", "not-json", "out-of-range")
SCALARS: list[Any] = [
    *(0, 1, -1, 1.5, -0.0, 1e300, 1_700_000_000, 1_700_000_000.25, 1_700_000_000_000, 2**53 + 1),
    *(1_700_000_000_000_000_123, 10**30, True, False, None, "", "a", "b", "21.5", "21,5", "1_0"),
    *(
        "unavailable",
        "null",
        "NaN",
        "0x1F",
        "23 °C",
        "-0",
        "-0.0",
        "2023-11-14T22:13:20Z",
        "20231114T221320,5Z",
    ),
    *("1700000000", "1700000000.5", "é\n\u0000", "x" * 300, -9999.9, "1e5", "+.5", " 7 "),
]
NAMES = ["id", "t", "v", "w", "data", "a", "a.b", "e", "é"]
OPTIONS: dict[str, list[Any]] = {
    "value": ["v", ["v", "a.v"], '"a.b"', "data[0]", "@value", "@header.v"],
    "series_id": ["id", None, ["id", "e"], "@key", "a.id", "@key.id"],
    "time": [None, "t", "a.t", "@header.t"],
    "weight": [None, None, "w"],
    "numbers": ["strict", "text"],
    "decimal": [".", ".", ","],
    "missing_values": [[], ["", "unavailable", -9999.9, 1.5]],
    "time_unit": [None, "s", "ms", "us", "ns"],
    "time_format": [None, None, None, "%Y-%m-%dT%H:%M:%SZ"],
    "key": [None, "text", "int32", "int64", "uuid", "json"],
    "where": [{}, {}, {"e": ["a", 1]}, {"a.e": [True]}],
    "tombstones": ["dead-letter", "skip"],
    "records": [None, None, None, "data[]", "[]", "data[][]", "{}", "a{}"],
    "infinite": [False, False, True],
    "nulls": [True, False],
    "max_ahead": [None, 1_000],
    "ahead": ["dead-letter", "clip"],
    "include": [[], [], ["e"], ["a.e", "data"], ["w", "é"], ["nope", "a.nope", "v.x"], ["id", "a"]],
    "max_include_bytes": [4_096, 4_096, 20],
}


def options_of(draw: random.Random) -> DecoderOptions:
    some = draw.choice([0.2, 0.5, 1.0])
    chosen = {
        name: draw.choice(values) if draw.random() < some else values[0]
        for name, values in OPTIONS.items()
    }
    if chosen["value"] == "@value":  # whatever else is read would be inside of it
        chosen.update(series_id=None, time=None, weight=None)
    return DecoderOptions(**chosen)


def document(draw: random.Random, depth: int = 3) -> Any:
    kind = draw.random()
    if depth == 0 or kind < 0.25:
        return draw.choice(SCALARS)
    if kind < 0.4:
        return [document(draw, depth - 1) for _ in range(draw.randrange(4))]
    return {name: document(draw, depth - 1) for name in draw.sample(NAMES, draw.randrange(6))}


def usual(draw: random.Random) -> Any:
    """Return what most options read something of."""
    plain = {name: draw.choice(SCALARS) for name in NAMES}
    inner = {"v": draw.choice(SCALARS), "t": 1_700_000_000, "id": "q", "e": True}
    return {**plain, "id": "s", "v": draw.choice(["1.5", 2, 3.25]), "t": 1_700_000_000, "a": inner,
            "e": draw.choice(["a", 1]), "data": [inner, inner]}  # fmt: skip


def payload(draw: random.Random, shape: Any) -> bytes | None:
    kind = draw.random()
    if kind < 0.04:
        return None
    if kind < 0.7:
        made = json.dumps(
            {**shape, "v": draw.choice([1.5, 2, "3", draw.choice(SCALARS)])}, ensure_ascii=False
        ).encode()
    else:
        made = json.dumps(document(draw), ensure_ascii=draw.random() < 0.5).encode()
    if kind > 0.85:
        at = draw.randrange(len(made) + 1)
        made = made[:at] + draw.randbytes(draw.randrange(3)) + made[at + draw.randrange(3) :]
    return made


def told(decoded: Decoded) -> dict[tuple[int, int], Any]:
    """Return what came of each reading of each message, to the bit."""
    readings, rejected = decoded.readings, decoded.rejected
    assert readings.times_ms is not None
    found: dict[tuple[int, int], Any] = {}
    ordinals = np.zeros(len(readings)) if decoded.ordinals is None else decoded.ordinals
    weights = np.zeros(len(readings)) if readings.weights is None else readings.weights
    columns = decoded.kept, ordinals, readings.series_ids, readings.times_ms, weights
    for i, (place, ordinal, series_id, time_ms, weight) in enumerate(zip(*columns, strict=True)):
        value = readings.values[i].tobytes(), weight.tobytes()
        included = None if readings.included is None else readings.included[i]
        found[int(place), int(ordinal)] = series_id, int(time_ms), *value, included
    ordinals = np.zeros(len(rejected)) if rejected.ordinals is None else rejected.ordinals
    for one, ordinal in zip(rejected, ordinals, strict=True):
        found[one.at, int(ordinal)] = one.cause, one.detail
    assert len(found) == len(readings) + len(rejected)
    return found


def of_places(found: dict[tuple[int, int], Any], unread: set[int]) -> dict[tuple[int, int], Any]:
    return {at: one for at, one in found.items() if at[0] not in unread}


def check(draw: random.Random, n: int) -> Counter[str]:
    """Decode a run in three ways; return how many of it came to what."""
    options, shape = options_of(draw), usual(draw)
    payloads = [payload(draw, shape) for _ in range(n)]
    keys = [draw.choice([b"k", b"", None, b"\0\0\0\1", b'{"id":5}', b"\xff"]) for _ in range(n)]
    headers = [draw.choice([[], [("v", b"1.5"), ("t", b"5")], [("v", b"\xff")]]) for _ in range(n)]
    times = [draw.choice([1_700_000_000_000, -1, 5]) for _ in range(n)]
    beside = times, headers, np.zeros(n, np.int32), ["t"] * n
    json_format = JsonFormat(options.paths(), infinite=options.infinite)
    by_documents = Decoder(json_format, options).decode(keys, payloads, *beside)
    by_structs = JsonDecoder(options).decode(keys, payloads, *beside)
    with patch.object(decoder_module, "_FEW", 1):
        by_columns = JsonDecoder(options).decode(
            BytesColumn.of(keys), BytesColumn.of(payloads), *beside
        )
    assert told(by_columns) == told(by_structs)
    assert by_columns.skipped == by_structs.skipped
    assert by_columns.clipped == by_structs.clipped
    # Structs do not look at fields of nested objects that nobody asked for; documents hold them.
    unread = {one.at for one in by_documents.rejected if one.cause in UNREAD}
    assert of_places(told(by_structs), unread) == of_places(told(by_documents), unread)
    for one in by_documents.rejected:
        assert one.cause in CAUSES
        assert len(one.detail) < 400
    found = Counter(one.cause for one in by_documents.rejected)
    found["readings"] = len(by_documents.readings)
    found["skipped"] = by_documents.skipped
    return found


def run(seed: int, inputs: int) -> Counter[str]:
    """Decode so many payloads; return how many of each outcome there were."""
    return in_runs(check, seed, inputs)


if __name__ == "__main__":
    fuzz(run, __doc__)
