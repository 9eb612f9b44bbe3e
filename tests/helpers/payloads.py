"""Payloads of one shape with values of their own, and all that can go wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np

from ewma_ops.columns.byte_columns import SPARE, BytesColumn

PLAIN = [chr(code) for code in range(0x20, 0x80) if chr(code) not in '"\\']
"""What stands in JSON as it is, in one byte."""

NUMBERS = [
    *("0", "-0", "-0.0", "7", "-12", "1.5", "0.1", "-273.15", "1e5", "-1E-7", "2.50", "null"),
    *(
        "1234567.12345678",
        "12345678",
        "123456789",
        "0.123456789",
        "12345678.5",
        "1234567.123456789",
    ),
    *("0.1000000000000000055511151231257827", "5e-324", "1e-400", "2e307", "9007199254740993"),
]
ODD = [
    *("null", "true", "{}", "[1]", '"7"', '""', "1e400", "-" + "9" * 400, "NaN", "Infinity", "8,9"),
    *("01", "+1", "1.", ".5", "-", "", "1]", '1,"value":2', '"\\u0061"', '"\\ud800"', '"a\\"b"'),
    *('"é😀"', '"a\tb"', '"\x7f"', '"1970-01-01T00:00:01Z"', "-5", "1.5", "1e3", "253402300800000"),
    *('"%s"' % ("x" * 128), '"%s"' % ("x" * 129), " 1", "1 ", '"', '"a', "{", "]", "\0"),
]
ODD_TIMES = [
    *("1e19", "-1e300", "9" * 30, "9" * 400, "123456789012345678", "7.5", "1e400", '"now"'),
    *('"2026-01-31"', '"2026-01-31T12:00:00.123Z"', '"9999-12-31T23:59:59-05:00"'),
]
TELLING = b'"\\{}[],:0159-+.eEnul \t\n\0\x1f\x7f\x80\xc3\xa9\xffa'
"""Bytes that mean something in JSON, or that JSON or ASCII has not."""

BLANKS = ["", " ", "\n", "\t\r ", "  " * 40]


class Leaf(NamedTuple):
    """Where a value stands in a template: a text, a number or a time."""

    kind: str


Template = list[bytes | Leaf]


def template(draw: Random, kinds: dict[str, str]) -> Template:
    """Lay the fields of some paths out as an object, in any order, with others among them."""
    tree: dict[str, Any] = {}
    for path, kind in kinds.items():
        *outer, last = path.split(".")
        inner = tree
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = Leaf(kind)
    blanks = draw.choice([[""], [""], [" "], BLANKS])
    parts: Template = []
    for part in _object(draw, tree, blanks, depth=0):
        piece = part if isinstance(part, Leaf) else part.encode()
        if parts and isinstance(piece, bytes) and isinstance(parts[-1], bytes):
            parts[-1] += piece
        else:
            parts.append(piece)
    return parts


def _object(draw: Random, tree: dict[str, Any], blanks: list[str], depth: int) -> Iterator[Any]:
    fields = list(tree.items())
    for i in range(draw.choice([0, 0, 1, 2, 4])):
        key = draw.choice(["x", "x", "a.b", "é", "", "k" * 70]) + str(i)
        fields.append((key, None))
    draw.shuffle(fields)
    yield draw.choice(blanks) + "{" + draw.choice(blanks)
    for i, (key, inner) in enumerate(fields):
        yield "," * (i > 0) + draw.choice(blanks) + json.dumps(key, ensure_ascii=False)
        yield draw.choice(blanks) + ":" + draw.choice(blanks)
        if isinstance(inner, dict):
            yield from _object(draw, inner, blanks, depth + 1)
        elif inner is None:
            yield from _extra(draw, blanks, depth + 1)
        else:
            yield inner
        yield draw.choice(blanks)
    yield "}" + draw.choice(blanks)


def _extra(draw: Random, blanks: list[str], depth: int) -> Iterator[Any]:
    kinds = ["text", "number", "time", "true", "false", "null", "[]", "{}", "list", "object"]
    kind = draw.choice(kinds[: 8 if depth > 2 else None])
    if kind == "object":
        yield from _object(draw, {}, blanks, depth)
    elif kind == "list":
        yield "["
        for i in range(draw.choice([1, 2, 3])):
            yield "," * (i > 0) + draw.choice(blanks)
            yield from _extra(draw, blanks, depth + 1)
        yield "]"
    else:
        yield Leaf(kind) if kind in ("text", "number", "time") else kind


def plain(parts: Template) -> bytes:
    """Give a template the plainest values."""
    values = {"text": b'"a"', "number": b"1", "time": b"0"}
    return b"".join(part if isinstance(part, bytes) else values[part.kind] for part in parts)


def filled(parts: Template, draw: Random, odd: float = 0.0) -> bytes:
    """Give a template values, each of them with some chance an odd one."""
    pieces = [part if isinstance(part, bytes) else _value(part, draw, odd) for part in parts]
    return b"".join(pieces)


def _value(leaf: Leaf, draw: Random, odd: float) -> bytes:
    if odd and draw.random() < odd:
        most = ODD_TIMES if leaf.kind == "time" and draw.random() < 0.5 else ODD
        return draw.choice(most).encode()
    if leaf.kind == "text":
        size = draw.choice([1, 2, 5, 7, 8, 9, 15, 16, 17, 30, 128])
        return b'"%b"' % "".join(draw.choices(PLAIN, k=size)).encode()
    if leaf.kind == "time":
        return b"%d" % draw.choice([0, 5, 1_700_000_000_000 + draw.randrange(10**6)])
    return number(draw).encode()


def number(draw: Random) -> str:
    """Return a number as JSON text, or null: seldom a long one."""
    way = draw.randrange(10)
    if way == 0:
        return draw.choice(NUMBERS)
    if way == 1:
        return repr(draw.gauss(0.0, 10.0 ** draw.randrange(-5, 9)))
    whole, digits = draw.randrange(10 ** draw.randrange(1, 7)), draw.randrange(9)
    return f"{'-' * (draw.random() < 0.2)}{whole + draw.random():.{digits}f}"


def mutated(payload: bytes, draw: Random) -> bytes | None:
    """Return a payload with something wrong, or different, about it."""
    at = draw.randrange(len(payload) + 1)
    what = draw.randrange(9)
    if what == 0:
        return None
    if what == 1:
        return draw.choice([b"", b" ", b"{}", b"null", b"[]", b"{", b"\xff", payload * 2])
    if what == 2:
        return payload[:at]
    if what == 3:
        return payload[:at] + payload[at + draw.choice([1, 1, 2, 8]) :]
    if what == 4:
        return payload[:at] + bytes([draw.choice(TELLING)]) + payload[at:]
    if what == 5:
        return payload[:at] + draw.randbytes(1) + payload[at + 1 :]
    if what == 6:
        return payload[:at] + draw.choice(ODD).encode() + payload[at:]
    if what == 7:
        key = draw.choice(['"value"', '"id"', '"x0"', '"series_id"'])
        return payload.replace(b"{", b"{%b:%b," % (key.encode(), draw.choice(ODD).encode()), 1)
    digits = [i for i, byte in enumerate(payload) if byte in b"0123456789"] or [0]
    at = draw.choice(digits)
    return payload[:at] + draw.choice(ODD).encode() + payload[at + 1 :]


def run_of(parts: Template, draw: Random, n: int, odd: float) -> list[bytes | None]:
    """Return n payloads, some of which have something odd about them."""
    payloads: list[bytes | None] = []
    for _ in range(n):
        if draw.random() >= odd:
            payloads.append(filled(parts, draw))
        elif draw.random() < 0.5:
            payloads.append(filled(parts, draw, odd=0.3))
        else:
            payloads.append(mutated(filled(parts, draw), draw))
    return payloads


def surrounded(pieces: Sequence[bytes | None], around: Sequence[bytes]) -> BytesColumn:
    """Lay byte strings into a buffer, each between some others, which are taken in turn."""
    data, starts, stops = bytearray(around[-1]), list[int](), list[int]()
    for i, piece in enumerate(pieces):
        starts.append(len(data))
        stops.append(len(data) + (-1 if piece is None else len(piece)))
        data += (piece or b"") + around[i % len(around)]
    buffer = np.frombuffer(data + SPARE, np.uint8)
    return BytesColumn(buffer, np.array(starts, np.int64), np.array(stops, np.int64))
