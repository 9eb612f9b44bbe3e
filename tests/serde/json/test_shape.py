"""The shape of a payload: what has it, where the values stand, and what numbers they are."""

from __future__ import annotations

import json
import math
import random
import re

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde.json.shape import Matched, Shape, learn
from ewma_ops.serde.spans import is_plain, read_floats, read_integers
from tests.helpers.payloads import TELLING, Leaf, Template, plain, run_of, surrounded, template

PAYLOAD = b'{"id": "ab", "x": 1.5}'


def learned(payload: bytes) -> Shape:
    shape = learn(payload)
    assert shape is not None
    return shape


def matches(template: bytes, *payloads: bytes | None, wanted: tuple[str, ...] = ()) -> list[bool]:
    found: list[bool] = match(template, *payloads, wanted=wanted).matches.tolist()
    return found


def match(template: bytes, *payloads: bytes | None, wanted: tuple[str, ...] = ()) -> Matched:
    return learned(template).match(BytesColumn.of(payloads), wanted)


def test_values_are_found_by_the_paths_of_their_fields() -> None:
    shape = learned(b'{"a": {"b": "x", "c": {"d": -1}}, "e": 2.5e3, "f": ["y", 3, {"g": "z"}]}')
    assert shape.texts == {"a.b", None}
    assert shape.numbers == {"a.c.d", "e", None}
    other = b'{"a": {"b": "xyz", "c": {"d": 17}}, "e": 0, "f": ["", 0, {"g": ""}]}'
    found = shape.match(BytesColumn.of([other]), ["a.b", "a.c.d", "e", "f", "g"])
    assert found.matches.tolist() == [True]
    assert {path: list(texts) for path, texts in found.texts.items()} == {"a.b": [b"xyz"]}
    assert {path: list(numbers) for path, numbers in found.numbers.items()} == {
        "a.c.d": [b"17"],
        "e": [b"0"],
    }


def test_true_false_null_and_what_is_empty_belong_to_the_shape() -> None:
    payload = b'{"a":true,"b":false,"c":null,"d":[],"e":{},"f":""}'
    shape = learned(payload)
    assert (shape.texts, shape.numbers) == ({"f"}, set())
    others = [payload.replace(*what) for what in ((b"true", b"false"), (b"[]", b"{}"))]
    nulls = [payload.replace(b"null", b"0"), payload.replace(b'""', b"null")]
    assert matches(payload, payload, *others, *nulls) == [True, False, False, False, False]


def test_an_object_without_values() -> None:
    assert matches(b"{}", b"{}", b"{ }", b"{}{", b"{", b"", None) == [True, *[False] * 5]


def test_a_key_with_a_point_is_not_on_a_path() -> None:
    shape = learned(b'{"a.b": 1, "a": {"b": 2, "c.d": "x"}}')
    assert (shape.numbers, shape.texts) == ({None, "a.b"}, {None})
    found = shape.match(BytesColumn.of([b'{"a.b": 3, "a": {"b": 4, "c.d": "x"}}']), ["a.b"])
    assert found.numbers["a.b"] == [b"4"]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": null, "a": 2}',
        b'{"a": {"b": 1}, "a": {"c": 1}}',
        b'{"a": {"b": 1, "b": "x"}}',
        rb'{"\u0061": 1}',
        rb'{"a": {"b\n": 1}}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a": [%b]}' % b",".join([b"1"] * 65),
        b"",
        b"{",
        b'{"a": 1, "b"',
    ],
)
def test_unusual_payloads_have_no_shape(payload: bytes) -> None:
    assert learn(payload) is None


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a": {"x": 1}, "b": {"x": 1}, "x": 1}',
        b'{"a": [{"x": 1, "x": 2}, {"\\u0061": 3}]}',
        b'{"a": [%b]}' % b",".join([b"1"] * 64),
        b' \t\r\n{ "a" : 1 ,\n "b" : "x" } \n',
        '{"é": "x", "": 1, " ": 2, "}": 3, "]": 4, ",": 5, ":": 6}'.encode(),
        b'{"%b": "x", "a": [%b]}' % (b"k" * 500, b",".join([b"true"] * 500)),
    ],
)
def test_what_is_less_unusual_has_one(payload: bytes) -> None:
    assert matches(payload, payload, payload[:-1], payload + b" ") == [True, False, False]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id":"ab", "x": 1.5}',
        b'{"id":  "ab", "x": 1.5}',
        b'{"id": "ab" , "x": 1.5}',
        b' {"id": "ab", "x": 1.5}',
        b'{"id": "ab", "x": 1.5} ',
        b'{"id": "ab", "x": 1.5 , "y": 2}',
        b'{"id": "ab", "x": 1.5, "y": 2}',
        b'{"id": "ab", "x": 1.5}}',
        b'{"id": "ab", "x": 1.5}\0',
        b'{"id": "ab", "x": 1.5',
        b'{"id": "ab", "y": 1.5}',
        b'{"ID": "ab", "x": 1.5}',
        b'{"idx": "ab", "x": 1.5}',
        b'{"x": 1.5, "id": "ab"}',
        b'{"id": "ab"}',
        b'{"id": null, "x": 1.5}',
        b'{"id": 7, "x": 1.5}',
        b'{"id": "ab", "x": "1.5"}',
        b'{"id": "ab", "x": true}',
        b'{"id": "ab", "x": [1.5]}',
        b'{"id": "ab", "x": 1,5}',
        b'{"id": "ab", "x": }',
        b'{"id": "ab", "x": 1e400}',
        b'{"id": "ab", "x": 01}',
        b'{"id": "a"b", "x": 1.5}',
        b'{"id": "a\\"b", "x": 1.5}',
        b'{"id": "a\\\\", "x": 1.5}',
        b'{"id": "a\tb", "x": 1.5}',
        b'{"id": "a\0b", "x": 1.5}',
        b'{"id": "a\x1fb", "x": 1.5}',
        '{"id": "é", "x": 1.5}'.encode(),
        b'{"id": "\xff", "x": 1.5}',
        b"",
        None,
    ],
)
def test_what_differs_in_the_least_does_not_match(payload: bytes | None) -> None:
    assert matches(PAYLOAD, PAYLOAD, payload, PAYLOAD) == [True, False, True]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id": "", "x": 1.5}',
        b'{"id": "ab", "x": null}',
        b'{"id": "ab", "x": -0}',
        b'{"id": "ab", "x": 1.5e-300}',
        b'{"id": "ab", "x":  1.5 }',
        b'{"id": "{}[],:\x7f", "x": 0.1000000000000000055511151231257827}',
    ],
)
def test_what_differs_in_its_values_alone_matches(payload: bytes) -> None:
    assert matches(PAYLOAD, payload, PAYLOAD) == [True, True]


def test_a_number_that_is_wanted_is_not_looked_at() -> None:
    odd = b'{"id": "ab", "x": "?"}'
    found = match(PAYLOAD, odd, wanted=("x",))
    assert found.matches.tolist() == [True]
    assert found.numbers["x"] == [b'"?"']
    assert matches(PAYLOAD, odd, wanted=("id",)) == [False]


def test_texts_of_up_to_128_bytes_are_found() -> None:
    texts = [b"x" * size for size in range(201)]
    payloads = [b'{"id": "%b", "x": 1}' % text for text in texts]
    found = match(PAYLOAD, *payloads, wanted=("id",))
    assert found.matches.tolist() == [size <= 128 for size in range(201)]
    assert found.texts["id"][:129] == texts[:129]


def test_a_payload_is_not_read_beyond_its_ends() -> None:
    """All of it stands in the buffer, but the spans end or begin within."""
    data = BytesColumn.of([PAYLOAD * 2]).data
    starts, stops = (at.ravel() for at in np.indices((2 * len(PAYLOAD), 2 * len(PAYLOAD) + 1)))
    found = learned(PAYLOAD).match(BytesColumn(data, starts, stops), [])
    whole = (stops - starts == len(PAYLOAD)) & (starts % len(PAYLOAD) == 0)
    np.testing.assert_array_equal(found.matches, whole)
    assert whole.sum() == 2


def test_a_run_of_nothing_matches_nowhere() -> None:
    assert matches(PAYLOAD) == []
    assert matches(PAYLOAD, None, b"", None) == [False] * 3


SOUND = {
    "text": rb'"[ !#-\[\]-\x7f]{0,128}"',
    "number": rb"[ \t\r\n]*(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|null)[ \t\r\n]*",
}
COMPLETE = SOUND | {"number": SOUND["number"].replace(rb"[ \t\r\n]*", b"")}


def has_shape(parts: Template, payload: bytes | None, values: dict[str, bytes]) -> bool:
    """Return whether a payload is a template with some values, by a regular expression."""
    pattern = b"".join(
        re.escape(part) if isinstance(part, bytes) else values.get(part.kind, values["number"])
        for part in parts
    )
    found = re.fullmatch(pattern, payload or b"", re.DOTALL)
    return found is not None and all(
        number == b"null" or (math.isfinite(float(number)) and len(number) <= 128)
        for number in found.groups()
    )


@pytest.mark.slow
def test_every_change_of_one_byte() -> None:
    parts: Template = [b'{"a":', Leaf("text"), b',"b":[', Leaf("number"), b',true],"c":']
    parts += [Leaf("number"), b"}"]
    payload = b'{"a":"xy","b":[1.5,true],"c":-20}'
    changed = [payload[:at] + payload[at + 1 :] for at in range(len(payload))]
    for byte in map(bytes.fromhex, map("{:02x}".format, range(256))):
        changed += [payload[:at] + byte + payload[at + 1 :] for at in range(len(payload))]
        changed += [payload[:at] + byte + payload[at:] for at in range(len(payload) + 1)]
    for other, found in zip(changed, matches(payload, *changed), strict=True):
        assert not found or has_shape(parts, other, SOUND), other
    telling = [other for other in changed if set(other) <= {*TELLING, *payload}]
    for other in telling:
        [found] = matches(payload, other)
        assert found == has_shape(parts, other, SOUND if found else COMPLETE), other


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_just_what_differs_in_its_values_alone_matches(seed: int) -> None:
    draw = random.Random(seed)
    parts = template(draw, {"id": "text", "m.x": "number"})
    shape = learned(plain(parts))
    payloads = run_of(parts, draw, 30, odd=0.5)
    found = shape.match(surrounded(payloads, [b'"', b"}", b"1", b"{"]), ["id", "m.x"])
    numbers = found.numbers["m.x"]
    for at in np.flatnonzero(found.matches).tolist():
        if read_floats(numbers[at : at + 1], np.array([True]))[1].all():
            assert has_shape(parts, payloads[at], SOUND)
            fields = json.loads(payloads[at] or b"")
            assert found.texts["id"][at] == fields["id"].encode()
            assert json.loads(numbers[at] or b"") == fields["m"]["x"]
    for payload in payloads:
        if has_shape(parts, payload, COMPLETE):
            assert shape.match(BytesColumn.of([payload]), []).matches.all(), payload


def test_plain_texts_stand_in_json_as_they_are() -> None:
    assert is_plain(BytesColumn.of([b"", b"a b", "été 😀".encode(), b"\x7f/", b"x" * 128]))
    assert is_plain(BytesColumn.of([]))
    for odd in (b'"', b"\\", b"\0", b"\n", b"\x1f", b"x" * 129):
        assert not is_plain(BytesColumn.of([b"a", odd, b"b"]))


def test_every_byte_of_a_plain_text_is_plain() -> None:
    for size in (1, 7, 8, 9, 16, 17, 40):
        for code in range(128):
            text = "é" * (size // 2) + chr(code) + "z" * (size // 2)
            as_it_is = msgspec.json.encode(text) == b'"%b"' % text.encode()
            assert is_plain(surrounded([text.encode()], [b'"', b"\\"])) == as_it_is, text


@given(st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from('\\"\n\0\x7f'))))
def test_plain_texts_are_those_that_json_does_not_escape(texts: list[str]) -> None:
    pieces = [text.encode() for text in texts]
    alike = [msgspec.json.encode(text) == b'"%b"' % text.encode() for text in texts]
    short = all(len(piece) <= 128 for piece in pieces)
    assert is_plain(surrounded(pieces, [b'"', b"\\"])) == (all(alike) and short)


WHOLE = re.compile(rb"0|[1-9][0-9]{0,14}")


def check_integers(texts: list[bytes]) -> None:
    for around in ([b"1"], [b'"', b"\0"]):
        values, good = read_integers(surrounded(texts, around))
        assert values.dtype == np.int64
        assert good.tolist() == [WHOLE.fullmatch(text) is not None for text in texts]
        assert values[good].tolist() == [int(text) for text in texts if WHOLE.fullmatch(text)]


def test_whole_numbers_of_up_to_15_digits_are_read() -> None:
    texts = ["0", "9", "10", "12345678", "100000000", "1700000000000", "999999999999999"]
    values, good = read_integers(BytesColumn.of([text.encode() for text in texts]))
    assert values.tolist() == list(map(int, texts))
    assert good.all()


def test_no_other_is_read_as_a_whole_number() -> None:
    other = ["", "-1", "+1", "01", "00", "1.0", "1.", "1e3", " 1", "1 ", "1,2", "1]", "null", "1_0"]
    texts: list[bytes | None] = [text.encode() for text in other]
    texts += [None, b"1000000000000000", b"1" * 200, "१".encode(), b"1\0", b"\xb1"]
    assert not read_integers(BytesColumn.of(texts))[1].any()


def test_any_byte_at_any_place_of_a_whole_number() -> None:
    draw = random.Random(1)
    for size in range(18):
        digits = str(draw.randrange(10**17, 10**18)).encode()[:size]
        changed = [
            digits[:at] + bytes([b]) + digits[at + 1 :] for at in range(size) for b in range(256)
        ]
        check_integers([digits, *changed])


@given(st.lists(st.integers().map(str) | st.text("0123456789.-e ", max_size=17)))
def test_whole_numbers_are_as_python_reads_them(texts: list[str]) -> None:
    check_integers([text.encode() for text in texts])


decode_float = msgspec.json.Decoder(float | None).decode


def as_decoded(text: bytes) -> float | None:
    """Return the number that msgspec reads of a text, NaN for null; ``None`` where it cannot."""
    try:
        number = decode_float(text)
    except msgspec.MsgspecError:
        return None
    return math.nan if number is None else number


def bits(numbers: list[float]) -> list[int]:
    found: list[int] = np.array(numbers, np.float64).view(np.int64).tolist()
    return found


def check_float(text: bytes) -> None:
    expected = as_decoded(text)
    values, good = read_floats(surrounded([text], [b"1"]), np.array([True]))
    assert good.tolist() == [expected is not None], text
    if expected is not None:
        assert bits(values.tolist()) == bits([expected]), text
        if text.strip() not in (b"null", b"-0"):  # JSON has no negative whole zero
            assert bits(values.tolist()) == bits([float(text)]), text


def check_floats(texts: list[bytes]) -> None:
    """Read numbers by themselves, and together; one that is none may spoil only long ones."""
    for text in texts:
        check_float(text)
    expected = [as_decoded(text) for text in texts]
    values, good = read_floats(surrounded(texts, [b"1", b","]), np.ones(len(texts), np.bool_))
    for text, number, value, read in zip(
        texts, expected, values.tolist(), good.tolist(), strict=True
    ):
        assert not read or (number is not None and bits([value]) == bits([number])), text
        assert read or not SHORT.fullmatch(text), text
    assert good.all() or None in expected


SHORT = re.compile(rb"(?!-0\.?0*$)-?(?:0|[1-9]\d{0,6})(?:\.\d{1,8})?")


def test_numbers_are_read_to_the_last_bit() -> None:
    texts = ["0", "-0.0", "1.5", "-21.25", "0.1", "1e5", "-1E-7", "1234567.12345678", "12345678"]
    texts += [
        "0.30000000000000004",
        "1.7976931348623157e308",
        "5e-324",
        "1e-400",
        "9007199254740993",
    ]
    texts += ["123456789012345678901234567890", "0.1000000000000000055511151231257827"]
    values, good = read_floats(
        BytesColumn.of([text.encode() for text in texts]), np.ones(16, np.bool_)
    )
    assert bits(values.tolist()) == bits(list(map(float, texts)))
    assert good.all()


def test_null_is_nan() -> None:
    values, good = read_floats(BytesColumn.of([b"null", b"2"]), np.array([True, True]))
    np.testing.assert_array_equal(values, [np.nan, 2.0])
    assert good.all()


@pytest.mark.parametrize(
    "text",
    [
        *("", "1 2", "1\0", "\0", "१", "9" * 400),
        *("+1", "01", "-01", "00.5", "1.", ".5", "-", "-.5", "1.e5", "1e", "1e+", "--1", "1-"),
        *("1.2.3", "1e400", "-1e400", "0x1", "1_0", "NaN", "Infinity", "-Infinity", "nul", "true"),
        *("nulll", '"1"', "1,2", ",1", "1,", ",", "1]", "]", "[1]", "1],[2", "{}"),
    ],
)
def test_what_is_no_number_is_not_read(text: str) -> None:
    for texts in ([text], [text, text], ["1", text], [text, "1.5e0", text]):
        pieces = [piece.encode() for piece in texts]
        good = read_floats(surrounded(pieces, [b"1"]), np.ones(len(texts), np.bool_))[1]
        assert not good[[i for i, piece in enumerate(texts) if piece == text]].any()
        assert good[0] == (texts[0] == "1")


def test_what_is_not_asked_for_is_not_read_and_spoils_nothing() -> None:
    texts = BytesColumn.of([b"1", b"1e5", b"?", b"1e6", None])
    values, good = read_floats(texts, np.array([False, True, False, True, False]))
    assert good.tolist() == [False, True, False, True, False]
    assert values[good].tolist() == [1e5, 1e6]


def test_decimals_of_all_lengths() -> None:
    draw = random.Random(1)
    texts = []
    for whole in range(1, 19):
        for after in range(20):
            for sign in ("", "-"):
                digits = [
                    str(draw.randrange(10 ** (size - 1), 10**size)) for size in (whole, after + 1)
                ]
                texts.append(f"{sign}{digits[0]}.{digits[1][1:]}".rstrip(".").encode())
                texts.append(f"{sign}0.{'0' * after}{digits[0]}".encode())
    check_floats(texts)


def test_any_byte_at_any_place_of_a_decimal() -> None:
    for text in (b"-1234567.87654321", b"0.25", b"12345678", b"-5"):
        for at in range(len(text)):
            check_floats(
                [text[:at] + bytes([byte]) + text[at + 1 :] for byte in {*TELLING, *b"23678"}]
            )


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e9, 1e9).map("{:.6f}".format),
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=8).map(str),
    st.from_regex(r"-?[0-9]{0,9}(\.[0-9]{0,9})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.text("0123456789.-+eE,]} nul", max_size=12),
    st.sampled_from(["null", "NaN", "1,2", "1]", "", " ", "-0", "-0.0", "01", "1.", ".5", "+1"]),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(NUMBERS, max_size=10))
def test_numbers_are_as_python_reads_them(texts: list[str]) -> None:
    check_floats([text.encode() for text in texts])


@given(st.lists(st.binary(max_size=12), max_size=6))
def test_any_bytes_are_a_number_or_not(texts: list[bytes]) -> None:
    check_floats(texts)
