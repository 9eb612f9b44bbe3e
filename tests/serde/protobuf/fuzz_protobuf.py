"""Feed Protobuf messages, and bytes that are none, to the decoder: readings or letters.

    python -m tests.serde.protobuf.fuzz_protobuf [--seed 1] [--inputs 1000000]

Messages of every kind of field, mutated; memory is limited for the whole process, and the slowest
run is reported.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from google.protobuf import json_format

from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.protobuf.format import ProtobufFormat
from ewma_ops.serde.schemas import WrittenSchema
from tests.helpers.fuzzing import fuzz, in_runs
from tests.helpers.outcomes import outcomes_of
from tests.helpers.registry import Kept, framed
from tests.serde.avro.fuzz_avro import mutated
from tests.serde.protobuf.test_format import EVERY, kind

MOST_S = 5.0
NUMBERS = [0, 1, -1, 2**31 - 1, 21]
FORMAT = ProtobufFormat(Kept(s7=WrittenSchema(EVERY, "PROTOBUF")))
OPTIONS = [
    DecoderOptions(value="v", series_id="b", time="at"),
    DecoderOptions(value="price", series_id="state", time="at"),
    DecoderOptions(value="f", series_id=None, records="tree.below[]"),
    DecoderOptions(value="@value", series_id=None, records="many[]"),
    DecoderOptions(value="value", series_id="name", records="by_name{}"),
    DecoderOptions(value="free.x[0]", series_id=["raw", "a"], numbers="text"),
]


def tree(draw: random.Random, depth: int) -> dict[str, Any]:
    below = [tree(draw, depth - 1) for _ in range(draw.randrange(3) if depth else 0)]
    return {"below": below, "f": draw.choice([0, 1.5, "NaN", "Infinity"])}


def fields(draw: random.Random) -> dict[str, Any]:
    every = {
        "state": draw.choice(["OPEN", 5]),
        "at": draw.choice(["2023-11-14T22:13:20.5Z", "0001-01-01T00:00:00Z"]),
        "v": draw.choice([1.5, "NaN", 1e300]),
        "many": draw.choices(NUMBERS, k=draw.randrange(5)),
        "by_name": {"a": 0.5, "": 1},
        "trees": {"true": tree(draw, 3)},
        "free": {"x": [1, {"y": None}], "b": True},
        "price": {
            "value": draw.choice(["+y4=", "+y4=", "", "A" * 2_000]),
            "scale": draw.choice([0, 2, 2, 5, 9_999]),
        },
        "raw": "AAE=",
        **draw.choice([{"a": 5}, {"b": "text"}]),
        "tree": tree(draw, 2),
        "s": "-5",
    }
    return {name: every[name] for name in draw.sample(list(every), draw.randrange(len(every)))}


def check(draw: random.Random, n: int) -> Counter[str]:
    """Decode a run; return how many of it came to what."""
    made = kind(EVERY, 1)
    data = [json_format.ParseDict(fields(draw), made()).SerializeToString() for _ in range(4)]
    payloads: list[bytes | None] = [framed(7, b"\2\2" + datum) for datum in data]
    while len(payloads) < n:
        datum = mutated(draw, draw.choice(data))
        prefix = b"\2\2" if draw.random() < 0.95 else draw.randbytes(draw.randrange(7))
        payloads.append(framed(7, prefix + datum))
        if draw.random() < 0.02:
            payloads[-1] = draw.choice([None, b"", datum, framed(9, b"\0")])
    whole: dict[int, tuple[str, str]] = {}
    FORMAT.documents(payloads[: len(data)], range(len(data)), whole)
    assert all("decimal" in detail for _, detail in whole.values()), whole
    decoded = Decoder(FORMAT, draw.choice(OPTIONS)).decode([b"k"] * n, payloads, [5] * n)
    return outcomes_of(decoded)


def run(seed: int, inputs: int) -> Counter[str]:
    """Decode so many payloads; return how many of each outcome there were."""
    return in_runs(check, seed, inputs, most_s=MOST_S)


if __name__ == "__main__":
    fuzz(run, __doc__)
