"""JSON by columns: whatever the payloads, it comes to the same as reading them one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn
from ewma_ops.columns.rejections import Rejections
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.json.by_shape import ColumnReader
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from tests.helpers.payloads import TELLING, mutated, plain, run_of, surrounded, template

Payloads = Sequence[bytes | None]
Kinds = dict[str, str]

DECODERS: list[tuple[dict[str, Any], Kinds]] = [
    ({}, {"series_id": "text", "value": "number"}),
    ({"series_id": None}, {"value": "number"}),
    (
        {"value": "out.t", "series_id": "sensor.id", "time": "sensor.at"},
        {"out.t": "number", "sensor.id": "text", "sensor.at": "time"},
    ),
    (
        {"series_id": ["site", "sensor.id"]},
        {"site": "text", "sensor.id": "text", "value": "number"},
    ),
    (
        {"value": ["bid", "q.ask"], "weight": "n"},
        {"series_id": "text", "bid": "number", "q.ask": "number", "n": "number"},
    ),
    (
        {"time": "ts", "nulls": False},
        {"series_id": "text", "ts": "time", "value": "number"},
    ),
    (
        {"time": "ts", "infinite": True, "weight": "w"},
        {"series_id": "text", "ts": "time", "value": "number", "w": "number"},
    ),
    (
        {
            "value": ["a.b.c", "a.b.d"],
            "series_id": "id",
            "time": "a.at",
            "lowest": -1.0,
            "highest": 50.0,
        },
        {"a.b.c": "number", "a.b.d": "number", "id": "text", "a.at": "time"},
    ),
]
"""What is asked of payloads, and what stands at each path of theirs."""

AROUND = [[b'"'], [b"}", b'"}'], [b"{", b"1}"], [b"0", b'9,"value":1}'], [b" ", b"\n", b""]]
"""Bytes beside the payloads in their buffer."""

GOOD = b'{"series_id": "s1", "ts": 1700000000000, "value": 21.5}'
SEEDS = st.integers(0, 2**32)


@pytest.fixture(autouse=True)
def however_few() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "_FEW", 1)
        yield


def told(decoded: Decoded) -> list[Any]:
    """Return all that was decoded, to the last bit, so that it can be compared."""
    readings = decoded.readings
    arrays = [decoded.kept, readings.values, readings.times_ms, readings.weights]
    return [
        list(readings.series_ids),
        [
            None if array is None else (array.dtype, array.shape, array.tobytes())
            for array in arrays
        ],
        decoded.rejected,
    ]


def decode(decoder: JsonDecoder, payloads: Payloads, keys: Payloads | None = None) -> Decoded:
    return decoder.decode(keys or [b"k"] * len(payloads), payloads, np.arange(len(payloads)))


def check_as_by_rows(
    runs: Sequence[Payloads], options: dict[str, Any], around: Sequence[bytes] = (b'"',)
) -> None:
    """Decode runs one after another: as lists, as columns, and as columns among other bytes."""
    by_rows, by_columns, among_others = (JsonDecoder(DecoderOptions(**options)) for _ in range(3))
    for run in runs:
        expected = told(decode(by_rows, list(run)))
        assert told(decode(by_columns, BytesColumn.of(run))) == expected
        assert told(decode(among_others, surrounded(run, around))) == expected


def test_a_run_of_one_shape_is_read_by_columns() -> None:
    payloads = [b'{"id":"a","q":{"x":1.5,"y":null},"n":2,"at":5}']
    payloads += [b'{"id":"bc","q":{"x":-3,"y":0.25},"n":1e2,"at":1700000000000}']
    decoder = JsonDecoder(DecoderOptions(["q.x", "q.y"], series_id="id", time="at", weight="n"))
    decoded = decode(decoder, BytesColumn.of(payloads))
    readings = decoded.readings
    assert isinstance(readings.series_ids, TextColumn)
    assert readings.series_ids == ["a", "bc"]
    np.testing.assert_array_equal(readings.values, [[1.5, np.nan], [-3, 0.25]])
    np.testing.assert_array_equal(readings.weights, [2, 100])
    np.testing.assert_array_equal(readings.times_ms, [5, 1_700_000_000_000])
    assert decoded.kept.tolist() == [0, 1]
    assert not len(decoded.rejected)


def test_others_among_them_are_read_or_rejected_by_themselves() -> None:
    payloads: list[bytes | None] = [GOOD] * 9
    payloads[1:7:2] = b'{"value": 3, "series_id": "\xc3\xa9"}', None, GOOD[:-1]
    decoded = decode(JsonDecoder(), BytesColumn.of(payloads))
    assert isinstance(decoded.readings.series_ids, TextColumn)
    assert decoded.readings.series_ids == ["s1", "é", *["s1"] * 5]
    assert decoded.readings.values.tolist() == [21.5, 3.0, *[21.5] * 5]
    assert [(r.at, r.cause) for r in decoded.rejected] == [(3, "tombstone"), (5, "not-json")]


def test_few_payloads_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 5)
    reader = ColumnReader(DecoderOptions("value", "series_id").paths())
    assert reader.read(BytesColumn.of([GOOD] * 4)) is None
    assert reader.read(BytesColumn.of([GOOD] * 5)) is not None


def test_ids_of_several_fields_are_read_one_by_one() -> None:
    reader = ColumnReader(DecoderOptions("value", ["series_id", "site"]).paths())
    assert reader.read(BytesColumn.of([b'{"series_id":"a","site":"b","value":1}'])) is None


def test_a_run_without_payloads() -> None:
    assert len(decode(JsonDecoder(DecoderOptions(time="ts")), BytesColumn.of([])).readings) == 0


@pytest.mark.parametrize(
    "payload",
    [
        b'{"series_id":7,"value":1}',
        b'{"series_id":"a","value":null}',
        b'{"series_id":"a","value":"1"}',
        b'{"series_id":"a"}',
        b'{"value":1}',
        b'{"series_id":"a","value":1,"value":2}',
        b'{"series_id":"a","value":1,"x":[%b]}' % b",".join([b"1"] * 100),
        b'["series_id","value"]',
        b"nonsense",
        b"\xff",
        b"[" * 100_000,
        b'{"series_id":"a","value":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"series_id":"a","value":1,"x":"' + b"x" * 900_000 + b'"}',
        b"",
        None,
    ],
)
def test_what_serves_as_no_example_is_read_one_by_one(payload: bytes | None) -> None:
    check_as_by_rows([[payload] * 3, [GOOD] * 3, [payload, GOOD, GOOD]], {})


def test_an_example_is_looked_for_among_the_first() -> None:
    reader = ColumnReader(DecoderOptions("value", "series_id").paths())
    read = reader.read(BytesColumn.of([None, b'{"series_id":1,"value":1}', GOOD, GOOD]))
    assert read is not None
    assert read[0].tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("options", "kinds"),
    [some for some in DECODERS if not isinstance(some[0].get("series_id"), list)],
)
def test_every_decoder_knows_its_template(options: dict[str, Any], kinds: Kinds) -> None:
    for seed in range(20):
        draw = random.Random(seed)
        parts = template(draw, kinds)
        payloads = [plain(parts), *run_of(parts, draw, 20, odd=0.0)]
        decoder = JsonDecoder(DecoderOptions(**options))
        read = decoder._columns.read(surrounded(payloads, AROUND[seed % 5]))
        assert read is not None, payloads
        assert read[0].all(), payloads
        keys = BytesColumn.of([b"k"] * len(payloads))
        assert isinstance(
            decode(decoder, BytesColumn.of(payloads), keys).readings.series_ids, TextColumn
        )


def test_ids_are_a_column_also_where_they_are_keys() -> None:
    keys = [b"a", b"b"]
    payloads = BytesColumn.of([GOOD, GOOD])
    ids = decode(
        JsonDecoder(DecoderOptions(series_id=None)), payloads, BytesColumn.of(keys)
    ).readings.series_ids
    assert isinstance(ids, TextColumn)
    assert ids == ["a", "b"]


def test_a_time_out_of_range_is_told_the_same() -> None:
    payloads = [b'{"series_id":"a","ts":253402300800000,"value":1}']
    by_rows = decode(JsonDecoder(DecoderOptions(time="ts")), payloads)
    assert (
        decode(JsonDecoder(DecoderOptions(time="ts")), BytesColumn.of(payloads)).rejected
        == by_rows.rejected
    )


@pytest.mark.parametrize("number", ["0.30000000000000004", "1e5", "9007199254740993", "1.5", "-0"])
def test_a_number_beside_one_that_is_none(number: str) -> None:
    good, bad = (b'{"series_id":"a","value":%b}' % text.encode() for text in (number, "1]"))
    check_as_by_rows([[good] * 5, [good, bad, good, good], [bad, good], [bad, bad]], {})


def test_a_payload_is_not_read_beyond_its_ends() -> None:
    """All of it stands in the buffer, but the spans end or begin within."""
    data = BytesColumn.of([GOOD * 3]).data
    stops = np.concatenate(
        [np.full(150, len(GOOD)), np.arange(len(GOOD)), np.full(50, 2 * len(GOOD))]
    )
    starts = np.concatenate([np.zeros(150 + len(GOOD), np.int64), np.arange(50)])
    payloads = BytesColumn(data, starts, stops)
    decoder = JsonDecoder(DecoderOptions(time="ts"))
    assert told(decode(decoder, payloads)) == told(
        decode(JsonDecoder(DecoderOptions(time="ts")), list(payloads))
    )
    assert len(decoder.decode([None] * 150, payloads[:150], [5] * 150).kept) == 150


def test_another_shape_is_learned_anew() -> None:
    reader = ColumnReader(DecoderOptions("x", "id").paths())
    first, second = b'{"id":"a","x":1}', b'{"x":2,"id":"b"}'
    assert reader.read(BytesColumn.of([first] * 3)) is not None
    assert reader.read(BytesColumn.of([second] * 3)) is None
    for _ in range(2):
        read = reader.read(BytesColumn.of([second, first, second]))
        assert read is not None
        alike, fields = read
        assert alike.tolist() == [True, False, True]
        assert (fields.ids, fields.numbers[0].tolist()) == (["b", "b"], [2.0, 2.0])


SHAPELESS = BytesColumn.of([b'{"id":"a","x":1}', b'{"x":1,"id":"a"}', b'{"x":1,"y":2}'])
SHAPED = BytesColumn.of([b'{"id":"a","x":1}'] * 3)


@pytest.mark.parametrize("runs", [*range(10), 15, 16, 63, 64, 127, 128, 192, 193, 200])
def test_what_has_no_shape_is_left_alone_for_ever_more_runs(runs: int) -> None:
    reader = ColumnReader(DecoderOptions("x", "id").paths())
    assert [reader.read(SHAPELESS) for _ in range(runs)] == [None] * runs
    left_alone = 0
    while reader.read(SHAPED) is None:
        left_alone += 1
    looked_at = [0, 1, 3, 7, 15, 31, 63, 127, 192, 257]
    assert runs + left_alone == next(run for run in looked_at if run >= runs)
    assert reader.read(SHAPELESS) is None
    assert reader.read(SHAPED) is not None


def test_what_is_left_alone_comes_to_the_same() -> None:
    payloads = [list(SHAPELESS), list(SHAPED)] * 40
    check_as_by_rows(payloads, {"value": "x", "series_id": "id"})


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(DECODERS), SEEDS)
def test_payloads_of_one_shape_and_others_come_to_the_same(
    decoder: tuple[dict[str, Any], Kinds], seed: int
) -> None:
    options, kinds = decoder
    draw = random.Random(seed)
    shapes = [template(draw, kinds) for _ in range(2)]
    odd = draw.choice([0.0, 0.1, 0.3, 0.6])
    runs = [
        run_of(parts, draw, draw.choice([1, 2, 3, 5, 10, 40]), odd)
        for parts in draw.choices(shapes, [3, 1], k=3)
    ]
    check_as_by_rows(runs, options, draw.choice(AROUND))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(DECODERS), SEEDS)
def test_what_becomes_of_a_message_depends_on_no_other(
    decoder: tuple[dict[str, Any], Kinds], seed: int
) -> None:
    """Neither the reading nor the cause and the detail of a rejection: by rows or by columns."""
    options, kinds = decoder
    draw = random.Random(seed)
    payloads = run_of(template(draw, kinds), draw, 24, draw.choice([0.1, 0.5, 0.9]))
    keys = [draw.choice([b"k", b"k", b"", None, b"\xff"]) for _ in payloads]
    times = [draw.choice([5, 5, -1, 1 << 60]) for _ in payloads]
    fresh = JsonDecoder(DecoderOptions(**options))
    alone = [
        told(fresh.decode([key], [payload], [time]))
        for key, payload, time in zip(keys, payloads, times, strict=True)
    ]
    for batch in (list(payloads), BytesColumn.of(payloads)):
        together = JsonDecoder(DecoderOptions(**options)).decode(keys, batch, times)
        rejected = {rejection.at: rejection for rejection in together.rejected}
        place = {at: i for i, at in enumerate(together.kept.tolist())}
        for i, expected in enumerate(alone):
            at = np.array([place[i]] if i in place else [], np.intp)
            found = Rejections.of({0: rejected[i][1:]} if i in rejected else {})
            kept = np.arange(len(at))
            assert told(Decoded(kept, together.readings.take(at), found)) == expected, payloads[i]


CHANGES = st.tuples(
    st.integers(0, 100),
    st.integers(0, 3),
    st.binary(max_size=3) | st.sampled_from([bytes([byte]) for byte in TELLING]),
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.none() | CHANGES, min_size=1, max_size=8),
    st.sampled_from([{}, {"time": "ts"}, {"time": "ts", "series_id": None, "nulls": False}]),
    st.sampled_from(AROUND),
)
def test_any_changes_come_to_the_same(
    changes: list[tuple[int, int, bytes] | None], options: dict[str, Any], around: list[bytes]
) -> None:
    payloads = [GOOD]
    for change in changes:
        at, left_out, put_in = change or (0, 0, b"")
        payloads += [GOOD, GOOD[:at] + put_in + GOOD[at + left_out :]]
    check_as_by_rows([payloads], options, around)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.binary(max_size=40), max_size=10), SEEDS)
def test_any_bytes_come_to_the_same(binary: list[bytes | None], seed: int) -> None:
    draw = random.Random(seed)
    soup = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        '"series_id"',
        '"value"',
        "1",
        "-",
        ".5",
        "null",
        " ",
    ]
    mixed = ["".join(draw.choices(soup, k=draw.randrange(12))).encode() for _ in range(10)]
    changed = [mutated(GOOD, draw) for _ in range(10)]
    check_as_by_rows([binary, mixed, changed, [GOOD, *changed]], {}, draw.choice(AROUND))


def test_many_random_bytes_never_raise() -> None:
    draw = random.Random(1)
    decoder = JsonDecoder(DecoderOptions(time="ts"))
    for _ in range(20):
        payloads = [draw.randbytes(draw.randrange(80)) for _ in range(500)]
        decoded = decode(decoder, BytesColumn.of([GOOD] * 501 + payloads))
        assert decoded.kept.tolist() == list(range(501))
        assert len(decoded.rejected) == 500
