"""JSON in: what is kept, what is rejected and why, one message never harming another."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.format import CAUSES
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from tests.serde.json import fuzz_decoder

GOOD = b'{"series_id": "s1", "ts": 1700000000000, "value": 21.5}'


def decode(
    *payloads: bytes | None, key: bytes | None = b"k", timestamp_ms: int = 7, **options: Any
) -> Decoded:
    n = len(payloads)
    return JsonDecoder(DecoderOptions(**options)).decode(
        [key] * n, payloads, np.full(n, timestamp_ms)
    )


def only(decoded: Decoded) -> tuple[str, float, int]:
    assert not len(decoded.rejected)
    assert decoded.kept.tolist() == [0]
    readings = decoded.readings
    assert readings.times_ms is not None
    return readings.series_ids[0], float(readings.values[0]), int(readings.times_ms[0])


def cause(payload: bytes | None, **options: Any) -> str:
    """Reject `payload` between two good ones, which must come through."""
    good = GOOD if "series_id" not in options else b'{"a": {"b": "x"}, "c": 3, "value": 1}'
    decoded = decode(good, payload, good, **options)
    assert decoded.kept.tolist() == [0, 2]
    assert len(decoded.readings) == 2
    [rejection] = decoded.rejected
    assert rejection.at == 1
    assert rejection.cause in CAUSES
    assert rejection.detail
    assert "\n" not in rejection.detail
    assert len(rejection.detail) < 300
    return rejection.cause


def test_a_reading_with_the_time_of_the_record() -> None:
    assert only(decode(GOOD)) == ("s1", 21.5, 7)


def test_a_reading_with_its_own_time() -> None:
    decoded = decode(GOOD, time="ts")
    assert only(decoded) == ("s1", 21.5, 1_700_000_000_000)
    assert decoded.readings.values.dtype == np.float64
    assert decoded.readings.times_ms is not None
    assert decoded.readings.times_ms.dtype == np.int64


def test_nested_paths_and_ids_in_several_fields() -> None:
    payload = b'{"site": "lab", "sensor": {"id": 12, "at": 5, "out": {"t": -1}}}'
    decoded = decode(
        payload, value="sensor.out.t", series_id=["site", "sensor.id"], time="sensor.at"
    )
    assert only(decoded) == ("lab/12", -1.0, 5)


def test_the_records_key_as_series_id() -> None:
    decoded = decode(b'{"value": 1}', key="é\n".encode(), series_id=None)
    assert only(decoded)[0] == "é\n"


@pytest.mark.parametrize(
    ("key", "expected"), [(None, "no-series-id"), (b"", "no-series-id"), (b"\xff", "not-utf8")]
)
def test_a_key_that_is_no_series_id(key: bytes | None, expected: str) -> None:
    decoded = JsonDecoder(DecoderOptions(series_id=None)).decode(
        [b"a", key, b"b"], [b'{"value":1}'] * 3, [1, 2, 3]
    )
    assert decoded.readings.series_ids == ["a", "b"]
    assert [(r.at, r.cause) for r in decoded.rejected] == [(1, expected)]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"series_id": "s"}',
        b'{"series_id": "s", "value": null}',
        b'{"series_id": "s", "m": null}',
        b'{"series_id": "s", "m": {}}',
    ],
)
@pytest.mark.parametrize("value", ["value", "m.value"])
def test_an_absent_or_null_value_is_a_missing_reading(payload: bytes, value: str) -> None:
    assert math.isnan(only(decode(payload, value=value))[1])


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (None, "tombstone"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xff\xfe{", "not-utf8"),
        (b'{"series_id": "\xff", "value": 1}', "not-utf8"),
        (b'{"series_id": "\xed\xa0\x80", "value": 1}', "not-utf8"),
        (b"nonsense", "not-json"),
        (b'{"series_id": "s1", "val', "not-json"),
        (GOOD[:-1], "not-json"),
        (GOOD + b"}", "not-json"),
        (GOOD + b"\0", "not-json"),
        (b"\xef\xbb\xbf" + GOOD, "not-json"),
        (b'{"series_id": "s1", "value": NaN}', "not-json"),
        (b'{"series_id": "s1", "value": Infinity}', "not-json"),
        (b'{"series_id": "s1", "value": -Infinity}', "not-json"),
        (rb'{"series_id": "\ud800", "value": 1}', "not-json"),
        (rb'{"series_id": "\udc00x", "value": 1}', "not-json"),
        (b'{"series_id": "s1", "value": 1e400}', "out-of-range"),
        (b'{"series_id": "s1", "value": -1e400}', "out-of-range"),
        (b'{"series_id": "s1", "value": ' + b"9" * 400 + b"}", "out-of-range"),
        (b'{"series_id": "s1", "value": ' + b"9" * 5000 + b"}", "out-of-range"),
        (b'{"series_id": ' + b"9" * 5000 + b', "value": 1}', "out-of-range"),
        (b'{"series_id": "s1", "value": "21.5"}', "wrong-type"),
        (b'{"series_id": "s1", "value": true}', "wrong-type"),
        (b'{"series_id": "s1", "value": {"x": 1}}', "wrong-type"),
        (b'{"series_id": "s1", "value": [1]}', "wrong-type"),
        (b'{"series_id": true, "value": 1}', "wrong-type"),
        (b'{"series_id": 1.5, "value": 1}', "wrong-type"),
        (b'{"series_id": ["s1"], "value": 1}', "wrong-type"),
        (b"5", "wrong-type"),
        (b"null", "wrong-type"),
        (b"[" + GOOD + b"]", "wrong-type"),
        (b'{"value": 1}', "no-series-id"),
        (b'{"series_id": null, "value": 1}', "no-series-id"),
        (b'{"series_id": "", "value": 1}', "no-series-id"),
        (b'{"series_id": "s1", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too-deep"),
        (b'{"series_id": "s1", "value": ' + b'{"a":' * 100_000, "too-deep"),
        (b'{"series_id": "s1", "value": "' + b"x" * 900_000 + b'"}', "wrong-type"),
    ],
)
def test_what_cannot_be_read_is_rejected_alone(payload: bytes | None, expected: str) -> None:
    assert cause(payload) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"a": {"b": ""}, "c": 3, "value": 1}', "no-series-id"),
        (b'{"a": {"b": "x"}, "c": "", "value": 1}', "no-series-id"),
        (b'{"a": {}, "c": "", "value": 1}', "no-series-id"),
        (b'{"a": null, "c": 3, "value": 1}', "no-series-id"),
        (b'{"c": 3, "value": 1}', "no-series-id"),
        (b'{"a": "x", "c": 3, "value": 1}', "wrong-type"),
    ],
)
def test_every_part_of_an_id_is_needed(payload: bytes, expected: str) -> None:
    assert cause(payload, series_id=["a.b", "c"]) == expected


@pytest.mark.parametrize(
    ("series_id", "expected"),
    [
        (b'"a\\u0000b"', "a\0b"),
        (b'"a\\nb"', "a\nb"),
        (rb'"\ud83d\ude00"', "😀"),
        (b'"' + b"x" * 1_024 + b'"', "x" * 1_024),
        (b"0", "0"),
        (b"-5", "-5"),
        (b"123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
def test_unusual_ids_are_kept(series_id: bytes, expected: str) -> None:
    assert only(decode(b'{"value": 1, "series_id": ' + series_id + b"}"))[0] == expected


@pytest.mark.parametrize("n", [1, 2_000])
@pytest.mark.parametrize(("max_id_bytes", "fits"), [(8, False), (9, True)])
def test_an_id_has_so_many_bytes_at_most(n: int, max_id_bytes: int, fits: bool) -> None:
    decoder = JsonDecoder(DecoderOptions(max_id_bytes=max_id_bytes))
    payload = '{"series_id": "été-é1", "value": 1}'.encode()
    decoded = decoder.decode([None] * n, BytesColumn.of([payload] * n), [0] * n)
    assert len(decoded.readings) == (n if fits else 0)
    assert {why[1:] for why in decoded.rejected} == (
        set()
        if fits
        else {
            ("id-too-long", "the series id has 9 bytes, at most 8 (input.max_id_bytes)"),
        }
    )


def test_integer_and_text_ids_name_the_same_series() -> None:
    decoded = decode(b'{"series_id": 5, "value": 1}', b'{"series_id": "5", "value": 1}')
    assert decoded.readings.series_ids == ["5", "5"]


def test_of_a_key_that_stands_twice_the_last_counts() -> None:
    payload = b'{"series_id": "a", "value": "no", "series_id": "b", "value": 1, "value": 2}'
    assert only(decode(payload))[:2] == ("b", 2.0)


def test_fields_nobody_asked_for_are_not_looked_at() -> None:
    payload = b'{"series_id": "a", "value": 1, "x": "\xff", "y": 1e999, "z": [{"value": 3}]}'
    assert only(decode(payload))[:2] == ("a", 1.0)


def test_a_message_of_900_kb() -> None:
    payload = b'{"pad": "' + b"x" * 900_000 + b'", "series_id": "a", "value": 1}'
    assert only(decode(payload))[:2] == ("a", 1.0)


@pytest.mark.parametrize(
    "value", ["0.1", "-0.0", "4e307", "5e-324", "1e-400", "3", "12345678901234567890123"]
)
def test_values_are_read_as_python_reads_them(value: str) -> None:
    assert only(decode(b'{"series_id": "a", "value": %s}' % value.encode()))[1] == float(value)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("0", 0),
        ("-5", -5),
        ("1.7e12", 1_700_000_000_000),
        ("1700000000000.0", 1_700_000_000_000),
        ("-62135596800000", -62_135_596_800_000),
        ("253402300799999", 253_402_300_799_999),
        ('"1970-01-01T00:00:01Z"', 1000),
        ('"1970-01-01T00:00:01.5"', 1500),
        ('"1970-01-01T00:00:00.0019Z"', 1),
        ('"1969-12-31T23:59:59.9991Z"', -1),
        ('"1970-01-01 01:00:00+01:00"', 0),
        ('"1970-01-01T01:00+01:00"', 0),
        ('"1970-01-02"', 86_400_000),
        ('"9999-12-31T23:59:59.999Z"', 253_402_300_799_999),
    ],
)
def test_event_times(time: str, expected: int) -> None:
    payload = b'{"series_id": "a", "value": 1, "ts": %s}' % time.encode()
    assert only(decode(payload, time="ts"))[2] == expected


def test_event_times_of_every_kind_in_one_run() -> None:
    times = ["5", '"1970-01-01T00:00:00.006Z"', "7.0", "9" * 500, '"1970-01-01"', "8"]
    payloads = [b'{"series_id": "a", "ts": %s}' % time.encode() for time in times]
    decoded = decode(*payloads, time="ts")
    assert decoded.readings.times_ms is not None
    assert decoded.readings.times_ms.tolist() == [5, 6, 7, 0, 8]
    assert [(r.at, r.cause) for r in decoded.rejected] == [(3, "time-out-of-range")]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("null", "no-time"),
        ("253402300800000", "time-out-of-range"),
        ("-62135596800001", "time-out-of-range"),
        ("9" * 30, "time-out-of-range"),
        ("-" + "9" * 400, "time-out-of-range"),
        ("1e300", "time-out-of-range"),
        ('"0001-01-01T00:00:00+05:00"', "time-out-of-range"),
        ('"9999-12-31T23:59:59-05:00"', "time-out-of-range"),
        ("1e400", "time-out-of-range"),
        ("1.5", "wrong-type"),
        ("true", "wrong-type"),
        ("{}", "wrong-type"),
        ('"yesterday"', "not-a-time"),
        ('""', "not-a-time"),
        ('"1700000000000"', "not-a-time"),
        ('"2026-02-30T00:00:00Z"', "not-a-time"),
        ('"2026-01-31T25:00"', "not-a-time"),
    ],
)
def test_times_that_cannot_be_used(time: str, expected: str) -> None:
    payload = b'{"series_id": "a", "value": 1, "ts": %s}' % time.encode()
    assert cause(payload, time="ts") == expected


def test_a_payload_without_its_time() -> None:
    assert cause(b'{"series_id": "a", "value": 1}', time="ts") == "no-time"


@pytest.mark.parametrize(
    ("timestamp_ms", "expected"),
    [(-1, "no-time"), (-(2**63), "no-time"), (2**63 - 1, "time-out-of-range")],
)
def test_record_timestamps_that_cannot_be_used(timestamp_ms: int, expected: str) -> None:
    decoded = decode(GOOD, timestamp_ms=timestamp_ms)
    assert [r.cause for r in decoded.rejected] == [expected]
    assert len(decoded.readings) == 0


def test_a_message_has_one_cause_though_several_things_are_wrong() -> None:
    decoded = decode(b'{"series_id": "", "ts": 1e300}', b"{", key=None, time="ts")
    assert [r.at for r in decoded.rejected] == [0, 1]


def test_no_records_at_all() -> None:
    for time in (None, "ts"):
        decoded = decode(time=time)
        assert len(decoded.readings) == len(decoded.kept) == len(decoded.rejected) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"value": ""},
        {"value": "a..b"},
        {"series_id": ".a"},
        {"series_id": ["a", ""]},
        {"time": "a."},
        {"value": "x", "series_id": "x"},
        {"value": "x", "time": "x"},
        {"series_id": ["x", "x"]},
        {"value": "x", "series_id": "x.id"},
        {"value": "x.y", "time": "x"},
    ],
)
def test_paths_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        JsonDecoder(DecoderOptions(**options))


def mutated(payload: bytes, cut: int, junk: bytes) -> bytes:
    cut %= len(payload)
    return payload[:cut] + junk + payload[cut + len(junk) :]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
PAYLOADS = st.one_of(
    st.none(),
    st.binary(max_size=30),
    st.just(GOOD),
    st.builds(mutated, st.just(GOOD), st.integers(0, 100), st.binary(max_size=3)),
    st.fixed_dictionaries(
        {}, optional={"series_id": JSON_VALUES, "ts": JSON_VALUES, "value": JSON_VALUES}
    ).map(lambda fields: json.dumps(fields).encode()),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.binary(max_size=4), PAYLOADS, st.integers(-2, 9)), max_size=8
    ),
    st.sampled_from(["series_id", None]),
    st.sampled_from(["ts", None]),
)
def test_nothing_raises_and_every_message_is_decoded_as_if_alone(
    records: list[tuple[bytes | None, bytes | None, int]], series_id: str | None, time: str | None
) -> None:
    decoder = JsonDecoder(DecoderOptions(series_id=series_id, time=time))
    keys, values = [key for key, _, _ in records], [value for _, value, _ in records]
    together = decoder.decode(keys, values, [timestamp for _, _, timestamp in records])
    rejected = [rejection.at for rejection in together.rejected]
    assert rejected == sorted(rejected)
    assert sorted([*together.kept.tolist(), *rejected]) == list(range(len(records)))
    alone = [decoder.decode([key], [value], [timestamp]) for key, value, timestamp in records]
    kept = Readings.concat([alone[i].readings for i in together.kept.tolist()] or [alone_empty()])
    assert together.readings.series_ids == kept.series_ids
    np.testing.assert_array_equal(together.readings.values, kept.values)
    assert not np.isinf(kept.values).any()
    np.testing.assert_array_equal(together.readings.times_ms, kept.times_ms)
    for rejection in together.rejected:
        assert alone[rejection.at].rejected == [rejection._replace(at=0)]


def alone_empty() -> Readings:
    return Readings([], np.empty(0), np.empty(0, np.int64))


def test_several_fields_and_a_weight() -> None:
    decoder = JsonDecoder(DecoderOptions(["bid", "q.ask"], weight="n"))
    payloads = [
        b'{"series_id":"a","bid":1,"q":{"ask":2},"n":3}',
        b'{"series_id":"a","bid":null,"q":{"ask":2.5},"n":0}',
        b'{"series_id":"a","bid":1}',
        b'{"series_id":"a","bid":1,"q":{"ask":2},"n":-1}',
        b'{"series_id":"a","bid":1,"q":{"ask":true},"n":1}',
    ]
    decoded = decoder.decode([None] * 5, payloads, [0] * 5)
    assert decoded.readings.weights is not None
    np.testing.assert_array_equal(decoded.readings.values, [[1, 2], [np.nan, 2.5], [1, np.nan]])
    np.testing.assert_array_equal(decoded.readings.weights, [3, 0, np.nan])
    assert [(r.at, r.cause) for r in decoded.rejected] == [(3, "out-of-range"), (4, "wrong-type")]


def test_a_weight_that_loses_digits_is_out_of_range() -> None:
    decoder = JsonDecoder(DecoderOptions("value", weight="n"))
    weights = ["0", "1e-310", "2.3e-308", "3e150", "4e150", "null"]
    payloads = [b'{"series_id":"a","value":1,"n":%s}' % text.encode() for text in weights]
    decoded = decoder.decode([None] * 6, payloads, [0] * 6)
    assert decoded.kept.tolist() == [0, 2, 3, 5]
    assert [(r.at, r.cause) for r in decoded.rejected] == [(1, "out-of-range"), (4, "out-of-range")]
    assert decoded.rejected[0].detail == "n is 1e-310: not between 2.23e-308 and 3.27e+150, or 0"


def test_values_out_of_bounds_are_rejected() -> None:
    payloads = [b'{"series_id":"a","value":%d}' % value for value in (-2, -1, 3, 4)]
    decoded = JsonDecoder(DecoderOptions(lowest=-1, highest=3)).decode(
        [None] * 4, payloads, [0] * 4
    )
    assert decoded.readings.values.tolist() == [-1, 3]
    assert [(r.cause, r.detail) for r in decoded.rejected] == [
        ("out-of-range", "value is -2.0: not between -1 and 3"),
        ("out-of-range", "value is 4.0: not between -1 and 3"),
    ]


def test_nulls_are_rejected_where_they_are_asked_to_be() -> None:
    payloads = [
        b'{"series_id":"a","value":null}',
        b'{"series_id":"a"}',
        b'{"series_id":"a","value":1}',
    ]
    decoded = JsonDecoder(DecoderOptions(nulls=False)).decode([None] * 3, payloads, [0] * 3)
    assert [(r.at, r.cause) for r in decoded.rejected] == [(0, "missing"), (1, "missing")]
    assert decoded.kept.tolist() == [2]


def test_infinite_values_are_read_where_they_are_asked_for() -> None:
    words = [b"Infinity", b"-Infinity", b"NaN", b"1e400", b"-1" + b"0" * 400, b"2"]
    payloads = [b'{"series_id":"a","value":%b}' % word for word in words]
    decoder = JsonDecoder(DecoderOptions(lowest=0.0, highest=1.0, infinite=True))
    decoded = decoder.decode([None] * 6, payloads, [0] * 6)
    expected = [math.inf, -math.inf, math.nan, math.inf, -math.inf]
    np.testing.assert_array_equal(decoded.readings.values, expected)
    assert [(r.at, r.cause) for r in decoded.rejected] == [(5, "out-of-range")]
    odd = [b'{"series_id":"a","value":Infinit}', b"[Infinity]", b'{"series_id":Infinity,"value":1}']
    decoded = decoder.decode([None] * 3, odd, [0] * 3)
    assert [r.cause for r in decoded.rejected] == ["not-json", "wrong-type", "wrong-type"]


@pytest.mark.parametrize("field", [b"series_id", b"ts"])
def test_half_a_character_is_no_text_even_where_infinite_values_are_read(field: bytes) -> None:
    payload = GOOD.replace(b'"%b": ' % field, rb'"x": 1, "%b": "\ud800", "y": ' % field)
    assert [r.cause for r in decode(payload, time="ts").rejected] == ["not-json"]
    assert [r.cause for r in decode(payload, time="ts", infinite=True).rejected] == ["not-json"]


@pytest.mark.parametrize("value", ['"x"', "1"])
def test_of_several_causes_the_first_is_that_of_the_id(value: str) -> None:
    payload = b'{"series_id": "", "ts": "yesterday", "value": %s}' % value.encode()
    assert cause(payload, time="ts") == "no-series-id"


@pytest.mark.parametrize("seed", range(5))
def test_every_way_comes_to_the_same_under_any_options(seed: int) -> None:
    found = fuzz_decoder.run(seed, 2_000)
    assert found["readings"] > 100


ID = bytes([0, 0, 0, 1, 44])
"""What a Schema Registry's serializers write before the JSON."""


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("records", [None, "[]"])
def test_a_schema_id_before_the_json_is_left_out(
    monkeypatch: pytest.MonkeyPatch, records: str | None, *, column: bool
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    document = (
        b'{"series_id":"a","value":%d}' if records is None else b'[{"series_id":"a","value":%d}]'
    )
    bodies = [document % at for at in range(5)]
    bodies[3] = b"?"
    plain: list[bytes | None] = [*bodies, None, b"", b"\0\0"]
    options = DecoderOptions(records=records)
    expected = JsonDecoder(options).decode([None] * 8, plain, [0] * 8)
    assert [one.cause for one in expected.rejected] == [
        "not-json",
        "tombstone",
        "empty",
        "not-json",
    ]
    for prefixes in ([ID] * 5, [ID, b"", ID, ID, b""], [b"", b"", ID, ID, ID]):
        mixed: Any = [prefix + body for prefix, body in zip(prefixes, bodies, strict=True)]
        mixed += [None, ID, b"\0\0"]
        if column:
            mixed = BytesColumn.of(mixed)
        decoded = JsonDecoder(options).decode([None] * 8, mixed, [0] * 8)
        assert decoded.readings.values.tolist() == [0.0, 1.0, 2.0, 4.0]
        assert decoded.rejected == expected.rejected
