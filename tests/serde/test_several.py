"""Several readings in one message: each by itself, with its ordinal; and the bad ones alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.errors import ConfigError
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import parse_records
from ewma_ops.serde.several import MOST_READINGS


def decode(*documents: Any, **options: Any) -> Decoded:
    decoder = JsonDecoder(DecoderOptions(**options))
    payloads = [
        one if one is None or isinstance(one, bytes) else json.dumps(one).encode()
        for one in documents
    ]
    n = len(payloads)
    return decoder.decode([b"k%d" % i for i in range(n)], payloads, list(range(100, 100 + n)))


def rows(decoded: Decoded) -> list[tuple[int, int, str, float, int]]:
    """Return place, ordinal, id, value and time of each reading."""
    readings = decoded.readings
    assert decoded.ordinals is not None
    assert readings.times_ms is not None
    columns = decoded.kept, decoded.ordinals, readings.values, readings.times_ms
    places, ordinals, values, times_ms = (column.tolist() for column in columns)
    return list(zip(places, ordinals, readings.series_ids, values, times_ms, strict=True))


def letters(decoded: Decoded) -> list[tuple[int, int, str]]:
    assert decoded.rejected.ordinals is not None
    ordinals = decoded.rejected.ordinals.tolist()
    return [
        (one.at, ordinal, one.cause)
        for one, ordinal in zip(decoded.rejected, ordinals, strict=True)
    ]


def test_the_batch_of_a_gateway() -> None:
    document = {
        "unit": "C",
        "data": [{"id": "a", "v": 1}, {"id": "b", "v": "x"}, {"id": "c", "v": 3}],
    }
    decoded = decode(document, {"data": []}, document, records="data[]", series_id="id", value="v")
    assert rows(decoded) == [
        (0, 0, "a", 1.0, 100),
        (0, 2, "c", 3.0, 100),
        (2, 0, "a", 1.0, 102),
        (2, 2, "c", 3.0, 102),
    ]
    assert letters(decoded) == [(0, 1, "wrong-type"), (2, 1, "wrong-type")]
    assert decoded.skipped == 1


def test_trades_as_arrays_within_an_array() -> None:
    """As some exchanges send them: positions, texts, and the pair behind the trades."""
    trades = [["100.1", "0.5", "1700000000.123456", "b"], ["100.2", "0.1", "1700000000.223456"]]
    decoded = decode(
        [42, trades, "trade", "ABC/USD"],
        {"event": "heartbeat"},
        [42, [], "trade", "ABC/USD"],
        records="[1][]",
        series_id="^[3]",
        value="[0]",
        weight="[1]",
        time="[2]",
        numbers="text",
        time_unit="s",
    )
    assert rows(decoded) == [
        (0, 0, "ABC/USD", 100.1, 1_700_000_000_123),
        (0, 1, "ABC/USD", 100.2, 1_700_000_000_223),
    ]
    assert decoded.readings.weights is not None
    assert decoded.readings.weights.tolist() == [0.5, 0.1]
    assert letters(decoded) == [(1, 0, "wrong-type")]
    assert decoded.skipped == 1


def test_an_array_of_objects_with_others_among_them() -> None:
    document = [
        {"ev": "status", "message": "connected"},
        {"ev": "T", "sym": "ABC", "p": 100.1, "t": 5},
        {"ev": "T", "sym": "ABC", "p": 100.3, "t": 6},
    ]
    decoded = decode(
        document, records="[]", series_id="sym", value="p", time="t", where={"ev": ["T"]}
    )
    assert rows(decoded) == [(0, 1, "ABC", 100.1, 5), (0, 2, "ABC", 100.3, 6)]
    assert (decoded.skipped, len(decoded.rejected)) == (1, 0)


def test_arrays_within_arrays() -> None:
    document = {
        "site": "s",
        "sensors": [
            {"id": "a", "readings": [{"t": 1, "v": 10}, {"t": 2, "v": 20}]},
            {"id": "b", "readings": None},
            {"id": "c", "readings": [{"t": 3, "v": 30}]},
        ],
    }
    decoded = decode(
        document,
        records="sensors[].readings[]",
        series_id=["^.^.site", "^.id"],
        value="v",
        time="t",
    )
    assert rows(decoded) == [
        (0, 0, "s/a", 10.0, 1),
        (0, 1, "s/a", 20.0, 2),
        (0, 3, "s/c", 30.0, 3),
    ]
    assert letters(decoded) == [(0, 2, "wrong-type")]
    assert "it is absent or null" in decoded.rejected[0].detail


def test_bare_numbers_and_the_records_own_fields() -> None:
    decoded = decode([1, 2.5, None], [3], records="[]", series_id=None, value="@value", nulls=False)
    assert rows(decoded) == [(0, 0, "k0", 1.0, 100), (0, 1, "k0", 2.5, 100), (1, 0, "k1", 3.0, 101)]
    assert letters(decoded) == [(0, 2, "missing")]


def test_the_members_of_an_object() -> None:
    document = {"a": [{"t": 1, "v": 10}], "b": [], "c": 5, "d": [{"t": 2, "v": 20}]}
    decoded = decode(document, [1], records="{}.value[]", series_id="^.name", value="v", time="t")
    assert rows(decoded) == [(0, 0, "a", 10.0, 1), (0, 2, "d", 20.0, 2)]
    assert letters(decoded) == [(0, 1, "wrong-type"), (1, 0, "wrong-type")]
    plain = decode({"x": 1.5, "y": 2}, {}, records="{}", series_id="name", value="value")
    assert [row[:4] for row in rows(plain)] == [(0, 0, "x", 1.5), (0, 1, "y", 2.0)]
    assert plain.skipped == 1


def test_a_field_of_objects_within_an_array() -> None:
    document = {"data": [{"m": {"x": 1}}, {"m": {"y": 2, "z": "?"}}]}
    decoded = decode(document, records="data[].m{}", series_id="name", value="value")
    assert [row[:4] for row in rows(decoded)] == [(0, 0, "x", 1.0), (0, 1, "y", 2.0)]
    assert letters(decoded) == [(0, 2, "wrong-type")]


def test_of_a_message_that_is_none_there_is_one_letter() -> None:
    decoded = decode(b"{", None, [{"value": 1}], b"", records="[]", series_id=None)
    assert rows(decoded) == [(2, 0, "k2", 1.0, 102)]
    assert letters(decoded) == [(0, 0, "not-json"), (1, 0, "tombstone"), (3, 0, "empty")]


def test_what_encloses_a_reading_says_whether_it_is_ours() -> None:
    options: dict[str, Any] = {"records": "data[]", "series_id": None}
    status, good = {"e": "status"}, {"e": "data", "data": [{"value": 1}]}
    decoded = decode(status, good, where={"^.e": ["data"]}, **options)
    assert (decoded.kept.tolist(), len(decoded.rejected), decoded.skipped) == ([1], 0, 1)
    decoded = decode(status, where={"e": ["data"]}, **options)
    assert letters(decoded) == [(0, 0, "wrong-type")]


def test_tombstones_may_be_skipped() -> None:
    decoded = decode(None, [{"value": 1}], records="[]", series_id=None, tombstones="skip")
    assert (decoded.kept.tolist(), len(decoded.rejected), decoded.skipped) == ([1], 0, 1)


@pytest.mark.parametrize("nested", [False, True])
def test_a_message_of_very_many_readings_is_one_letter(*, nested: bool) -> None:
    small: Any = [{"value": 1}]
    item: Any = [{"value": 1}] if nested else {"value": 1}
    records = "[][]" if nested else "[]"
    most, more = [item] * MOST_READINGS, [item] * (MOST_READINGS + 1)
    decoded = decode(more, [small] if nested else small, most, records=records, series_id=None)
    assert letters(decoded) == [(0, 0, "too-many-readings")]
    assert decoded.kept.tolist() == [1] + [2] * MOST_READINGS


def test_an_array_where_none_is_expected_is_said_to_be_one() -> None:
    [rejection] = decode([{"series_id": "a", "value": 1}]).rejected
    assert 'records = "[]" in [input]' in rejection.detail


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"value": "^.x"}, "write one ^ for each [] of records"),
        ({"value": "^.^.x", "records": "data[]"}, "write one ^ for each [] of records"),
        ({"records": "data"}, 'end it with the array whose items are read, "name[]"'),
        ({"records": ""}, "end it with the array"),
        ({"records": "a[].b"}, "end it with the array"),
        ({"records": "a[]b[]"}, "put a dot before 'b'"),
        ({"records": "a[].[]"}, "a name is missing beside a dot"),
        ({"records": "^.a[]"}, "begin with a field of the message"),
        ({"records": "$.a[]"}, "it begins with $"),
        ({"records": "a[*]"}, "end it with the array"),
        ({"records": "a{}b[]"}, "put a dot before 'b'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        JsonDecoder(DecoderOptions(**options))
    assert said in str(caught.value)


def test_records_within_quoted_names_and_positions() -> None:
    paths = parse_records('a."b.c"[][0].d[][]')
    assert [path.steps for path in paths] == [("a", "b.c"), (0, "d"), ()]


ITEMS = st.lists(
    st.fixed_dictionaries({}, optional={"series_id": st.sampled_from("ab"), "value": st.integers()})
    | st.integers()
    | st.none()
)
DOCUMENTS = st.lists(
    st.fixed_dictionaries({}, optional={"data": ITEMS | st.none(), "e": st.sampled_from("xy")})
    | st.just(b"{")
    | st.none()
    | ITEMS
)


@pytest.mark.slow
@settings(deadline=None)
@given(DOCUMENTS, st.sampled_from([{}, {"^.e": ["x"]}, {"series_id": ["a"]}]))
def test_a_message_is_decoded_as_if_alone(documents: list[Any], where: dict[str, Any]) -> None:
    options: dict[str, Any] = {"records": "data[]", "where": where, "nulls": False}
    together = decode(*documents, **options)
    alone = [decode(document, **options) for document in documents]
    found = [(at, *row[1:4]) for at, one in enumerate(alone) for row in rows(one)]
    assert [row[:4] for row in rows(together)] == found
    whys = [(at, *why[1:]) for at, one in enumerate(alone) for why in letters(one)]
    assert letters(together) == whys
    assert together.skipped == sum(one.skipped for one in alone)
    positions = [row[:2] for row in rows(together)] + [why[:2] for why in letters(together)]
    assert len(set(positions)) == len(positions)
