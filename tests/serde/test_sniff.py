"""What payloads look like: each format is told from the others, and anything is a guess or none."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ewma_ops.serde.sniff import Guess, is_protobuf, sniff


def framed(schema: int, *rests: bytes) -> list[bytes]:
    return [struct.pack(">bI", 0, schema) + rest for rest in rests]


KITCHEN = b"\x0ekitchen\x00\x00\x00\x00\x00\x805@"
PROTOBUF = b"\x0a\x07kitchen\x11\x00\x00\x00\x00\x00\x805@"


@pytest.mark.parametrize(
    ("payloads", "format_", "words", "keys"),
    [
        ([b'{"a": 1}', None, b"[1]"], "json", "JSON", {}),
        ([b'{"a": "' + b"x" * 10_000 + b'"}'], "json", "JSON", {}),
        (framed(7, KITCHEN), "avro", "Schema Registry Avro, schema 7", {}),
        (framed(12, b"\x00" + PROTOBUF), "protobuf", "Schema Registry Protobuf, schema 12", {}),
        (framed(3, b'{"a": 1}'), "json", "JSON after the id of schema 3", {}),
        ([b"\xc3\x01" + bytes(8) + KITCHEN], "avro", "single-object", {}),
        ([b"Obj\x01" + bytes(50)], None, "whole Avro files", {}),
        ([PROTOBUF], "protobuf", "Protobuf without a Schema Registry", {}),
        ([b"21.5", b"-3e5", b" 7\n"], "number", "a number as text", {}),
        ([b"21,5"], "number", "a number as text", {"decimal": ","}),
        ([struct.pack(">d", x) for x in (21.5, -3.0, 1e6)], "float64", "8 bytes", {}),
        ([struct.pack(">f", x) for x in (21.5, -3.0, 1e6)], "float32", "4 bytes", {}),
        ([struct.pack(">q", x) for x in (21, -3, 10**6)], "int64", "8 bytes", {}),
        ([struct.pack(">i", x) for x in (21, -3, 10**6)], "int32", "4 bytes", {}),
        ([b"id,t", b"a,1", b"b,2"], "csv", "CSV", {"columns": ["id", "t"]}),
        ([b"id,t\na,1\nb,2", b"id,t\nc,3"], "csv", "CSV", {"columns": "first-line"}),
        (
            [b"a;1,5;x", b"b;2,5;y"],
            "csv",
            "delimiter ';'",
            {"columns": ["column_1", "column_2", "column_3"], "delimiter": ";"},
        ),
        ([b"cpu,host=a usage=1.5,n=3i 1700000000000000000"], "line", "line protocol", {}),
        ([b'weather,at=a\\ b text="x, y=1",t=3\nweather t=4'], "line", "line protocol", {}),
        ([gzip.compress(b"{}")], None, "gzip, compressed by its producer", {}),
        ([b"<a><b>1</b></a>"], None, "XML", {}),
        ([b"hello there"], None, "text of an unknown format", {}),
        ([bytes(range(200, 256))], None, "binary data", {}),
    ],
)
def test_a_format_is_told(
    payloads: Sequence[bytes | None], format_: str | None, words: str, keys: Mapping[str, object]
) -> None:
    guess = sniff(payloads)
    assert guess is not None
    assert guess.format == format_
    assert words in guess.words
    assert guess.keys == keys


def test_of_nothing_there_is_no_guess() -> None:
    assert sniff([]) is None
    assert sniff([None, b""]) is None


def test_blank_text_is_no_format() -> None:
    assert sniff([b"\t", b" \n"]) == Guess("text of an unknown format")


def test_the_majority_counts() -> None:
    guess = sniff([b"?", b'{"a": 1}', b"online", b'{"a": 2}', b'{"a": 3}'])
    assert guess is not None
    assert guess.format == "json"


@given(st.lists(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), max_size=5))
@example([b"\x7f\x80\x00\x01"])  # as a float of 4 bytes a NaN that signals
def test_anything_is_a_guess_or_none(payloads: list[bytes]) -> None:
    guess = sniff(payloads)
    assert (guess is None) == (not any(payloads))


@given(st.binary(max_size=80))
def test_any_bytes_are_protobuf_or_not(piece: bytes) -> None:
    assert is_protobuf(piece) in (True, False)


@given(st.dictionaries(st.text(), st.integers() | st.text(), min_size=1))
def test_any_object_is_json(document: dict[str, object]) -> None:
    guess = sniff([json.dumps(document).encode()])
    assert guess is not None
    assert guess.format == "json"
