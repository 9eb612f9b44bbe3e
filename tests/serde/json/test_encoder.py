"""JSON out: what an event looks like, and that it does not depend on how many there are."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn
from ewma_ops.columns.event_names import event_key
from ewma_ops.columns.readings import LARGEST_VALUE, Readings, Smoothed
from ewma_ops.compiled import library
from ewma_ops.errors import ConfigError
from ewma_ops.serde.json import encoder as encoder_module
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.serde.options import DecoderOptions


def smoothed(
    statistics: dict[str, list[float]], ids: list[str], times_ms: list[int] | None
) -> Smoothed:
    readings = Readings.of(ids, [1.5] * len(ids), times_ms)
    return Smoothed(readings, {name: np.array(column) for name, column in statistics.items()})


def test_an_event_has_the_shape_of_the_contract() -> None:
    what = smoothed({"mean": [21.4]}, ["s1"], [1_700_000_000_000])
    assert JsonEncoder(["mean"]).encode(what) == [
        b'{"series_id":"s1","time":1700000000000,"value":1.5,"ewma":21.4}'
    ]


def test_further_statistics_follow_the_mean_by_name() -> None:
    what = smoothed({"count": [3.0], "mean": [2.0], "n_eff": [1.25]}, ["a"], None)
    assert JsonEncoder(["count", "mean", "n_eff"]).encode(what) == [
        b'{"series_id":"a","value":1.5,"ewma":2.0,"count":3,"n_eff":1.25}'
    ]


def test_only_what_was_asked_for_is_written() -> None:
    what = smoothed({"mean": [2.0], "n_eff": [1.25]}, ["a"], None)
    assert JsonEncoder(["n_eff"]).encode(what) == [b'{"series_id":"a","value":1.5,"n_eff":1.25}']


def test_what_there_is_not_is_null() -> None:
    what = smoothed({"mean": [np.nan], "count": [np.nan]}, ["a"], None)
    what.readings.values[0] = np.nan
    assert JsonEncoder(["mean", "count"]).encode(what) == [
        b'{"series_id":"a","value":null,"ewma":null,"count":null}'
    ]


def test_nothing_to_encode() -> None:
    assert JsonEncoder(["mean"]).encode(smoothed({"mean": []}, [], [])) == []


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), min_size=1),
            st.integers(-62_135_596_800_000, 253_402_300_799_999),
            st.floats(-LARGEST_VALUE, LARGEST_VALUE) | st.just(np.nan),
        ),
        min_size=1,
    )
)
def test_what_is_written_reads_back_the_same(events: list[tuple[str, int, float]]) -> None:
    ids, times_ms, means = (list(column) for column in zip(*events, strict=True))
    payloads = JsonEncoder(["mean"]).encode(smoothed({"mean": means}, ids, times_ms))
    assert len(payloads) == len(events)
    assert [json.loads(payload)["series_id"] for payload in payloads] == ids
    decoded = JsonDecoder(DecoderOptions(value="ewma", time="time")).decode(
        ids, payloads, [0] * len(ids)
    )
    assert decoded.rejected == []
    assert decoded.readings.series_ids == ids
    np.testing.assert_array_equal(decoded.readings.times_ms, times_ms)
    np.testing.assert_array_equal(decoded.readings.values, means)


def test_events_of_several_fields_and_smoothings() -> None:
    readings = Readings.of(["a"], [[1.0, None]], [5])
    names = ["bid_fast_mean", "bid_fast_count", "bid_ask_fast_corr"]
    smoothed = Smoothed(readings, dict(zip(names, np.array([[1.0], [2.0], [np.nan]]), strict=True)))
    [event] = JsonEncoder(names, ["bid", "ask"]).encode(smoothed)
    assert event.startswith(b'{"series_id":"a","time":5,"bid":1.0,"ask":null,"bid_fast_ewma":1.0,')
    assert event.endswith(b'"bid_fast_count":2,"bid_ask_fast_corr":null}')


def test_events_without_two_keys_of_a_name() -> None:
    with pytest.raises(ConfigError, match="'time': rename"):
        JsonEncoder(["time_mean", "x_mean"], ["time", "x"])


def by_columns(encoder: JsonEncoder, what: Smoothed) -> Sequence[bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_module, "_FEW", 1)
        patch.setattr(library, "kernels", None)
        return encoder.encode(what)


def by_loop(encoder: JsonEncoder, what: Smoothed) -> Sequence[bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_module, "_FEW_COMPILED", 0)
        return encoder.encode(what)


def by_rows(encoder: JsonEncoder, what: Smoothed) -> list[bytes]:
    ids, values = list(what.readings.series_ids), what.readings.values
    readings = Readings(ids, values, what.readings.times_ms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_module, "_FEW", len(ids) + 1)
        patch.setattr(library, "kernels", None)
        written = encoder.encode(Smoothed(readings, what.statistics))
    assert isinstance(written, list)
    return written


def check_columns(encoder: JsonEncoder, what: Smoothed) -> Sequence[bytes]:
    """Encode by columns, which must come to the same as by rows and by a loop; return it."""
    written = by_columns(encoder, what)
    assert list(written) == by_rows(encoder, what) == list(by_loop(encoder, what))
    return written


def test_events_by_columns() -> None:
    what = smoothed({"count": [1.0, np.nan], "mean": [0.1, -0.0]}, ["a", "bé"], [0, -5])
    what.readings.values[1] = np.nan
    written = check_columns(JsonEncoder(["count", "mean"]), what)
    assert isinstance(written, BytesColumn)
    assert written == [
        b'{"series_id":"a","time":0,"value":1.5,"ewma":0.1,"count":1}',
        '{"series_id":"bé","time":-5,"value":null,"ewma":-0.0,"count":null}'.encode(),
    ]


def test_events_by_columns_without_times_and_of_several_fields() -> None:
    readings = Readings.of(["a", "b"], [[1.0, np.nan], [1e300, 5e-324]])
    what = Smoothed(readings, {"bid_count": np.array([2.0, 3.0])})
    written = check_columns(JsonEncoder(["bid_count"], ["bid", "ask"]), what)
    assert isinstance(written, BytesColumn)
    assert written == [
        b'{"series_id":"a","bid":1.0,"ask":null,"bid_count":2}',
        b'{"series_id":"b","bid":1e300,"ask":5e-324,"bid_count":3}',
    ]


def test_few_events_are_encoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "_FEW", 3)
    monkeypatch.setattr(library, "kernels", None)
    few, many = (smoothed({"mean": [1.0] * n}, ["a"] * n, None) for n in (2, 3))
    assert isinstance(JsonEncoder(["mean"]).encode(few), list)
    assert isinstance(JsonEncoder(["mean"]).encode(many), BytesColumn)


def test_nothing_to_encode_by_columns() -> None:
    for encode in (by_columns, by_loop):
        assert encode(JsonEncoder(["mean"]), smoothed({"mean": []}, [], [])) == []


@pytest.mark.parametrize(
    ("series_id", "is_plain"),
    [
        ("", True),
        ("\x7f", True),
        ("/", True),
        ("été 漢 😀", True),
        ("{}[],:", True),
        ("x" * 128, True),
        ("é" * 64, True),
        ("x" * 129, False),
        ("x" * 200, False),
        ('a"b', False),
        ("a\\b", False),
        ("a\nb", False),
        ("a\0", False),
        ("\x1f", False),
    ],
)
def test_ids_that_stand_in_json_as_they_are_and_others(series_id: str, is_plain: bool) -> None:
    for ids in (["a", series_id, "b"], [series_id], [series_id, "x" * 70]):
        n = len(ids)
        what = smoothed({"mean": [1.0] * n}, ids, list(range(n)))
        written = check_columns(JsonEncoder(["mean"]), what)
        assert isinstance(written, BytesColumn) == is_plain
        assert [json.loads(event)["series_id"] for event in written] == ids


def test_ids_that_are_a_column_already() -> None:
    ids = TextColumn.of(["x", 'a"', "b", "cé", "\n"])
    for at, kind in (([0, 2, 3], BytesColumn), ([3, 2], BytesColumn), ([1, 2], list), ([4], list)):
        n = len(at)
        readings = Readings(ids.take(np.array(at)), np.ones(n), np.arange(n))
        written = check_columns(JsonEncoder([]), Smoothed(readings, {}))
        assert isinstance(written, kind)


PLAIN = st.text(
    st.characters(codec="utf-8", min_codepoint=0x20, exclude_characters='"\\'), max_size=32
)
ANY = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\\n\0\x1f\x7f\x80'), max_size=9)
VALUES = st.one_of(
    st.floats(),
    st.integers(-(10**17), 10**17).map(float),
    st.sampled_from([np.nan, -0.0, 0.0, 1e300, -1e300, 1e16, 1e17, 1e-7, 0.1, 2.0**53]),
)
COUNTS = st.integers(0, 2**53).map(float) | st.just(np.nan)
STATISTICS = ["mean", "bid_fast_mean", "n_eff", "count", "bid_fast_count", "revision"]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_events_are_the_same_however_many(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 6))
    all_plain = data.draw(st.booleans())
    one = PLAIN if all_plain else PLAIN | ANY | ANY.map(lambda text: (text + "x") * 200)
    ids = data.draw(st.lists(one, min_size=n, max_size=n))
    fields = data.draw(st.sampled_from([[], ["bid", "ask"], ["x", "y", "é{,\x7f"]]))
    size = n * max(len(fields), 1)
    values = np.array(data.draw(st.lists(VALUES, min_size=size, max_size=size)))
    names = data.draw(st.lists(st.sampled_from(STATISTICS), unique=True))
    statistics = {
        name: np.array(data.draw(st.lists(strategy, min_size=n, max_size=n)))
        for name in names
        for strategy in [COUNTS if name.endswith(("count", "revision")) else VALUES]
    }
    moments = st.integers(-62_135_596_800_000, 253_402_300_799_999)
    times_ms = data.draw(st.none() | st.lists(moments, min_size=n, max_size=n))
    readings = Readings(
        data.draw(st.sampled_from([ids, TextColumn.of(ids)])),
        values.reshape(n, -1) if fields else values,
        None if times_ms is None else np.array(times_ms, np.int64),
    )
    encoder = JsonEncoder(names, fields)
    written = check_columns(encoder, Smoothed(readings, statistics))
    assert isinstance(written, BytesColumn) or not all_plain
    columns: dict[str, list[Any]] = {"series_id": ids}
    if times_ms is not None:
        columns["time"] = times_ms
    columns |= zip(fields or ["value"], values.reshape(n, -1).T.tolist(), strict=True)
    columns |= {event_key(name): column.tolist() for name, column in statistics.items()}
    for i, event in enumerate(map(json.loads, written)):
        assert event == {key: shown(column[i]) for key, column in columns.items()}


def shown(what: str | float) -> str | float | None:
    return None if isinstance(what, float) and not math.isfinite(what) else what


@pytest.mark.parametrize("id_bytes", [1, 1024], ids=str)
def test_no_event_is_larger_than_the_largest(id_bytes: int) -> None:
    encoder = JsonEncoder(["mean", "std"], ["bid", "ask"])
    extreme, longest = -2.2250738585072014e-308, "\x01" * id_bytes
    time_ms = -62_135_596_800_000  # year 1
    readings = Readings.of([longest], [[extreme, extreme]], [time_ms])
    smoothed = Smoothed(readings, {name: np.array([extreme]) for name in ("mean", "std")})
    (event,) = encoder.encode(smoothed)
    size = id_bytes + len(event)
    assert encoder.largest(id_bytes) - 12 <= size <= encoder.largest(id_bytes)
