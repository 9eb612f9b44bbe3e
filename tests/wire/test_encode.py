"""Columns to record batches: the bytes kafka-python would write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder

from ewma_ops.errors import ConfigError
from ewma_ops.wire import encode
from ewma_ops.wire.encode import encode_batch
from ewma_ops.wire.records import Headers, LikeHeaders, ProducerRecords
from tests.helpers.batches import Record, compress, kafka_rows

TIME_MS = 1_700_000_000_000
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())

maybe_bytes = st.none() | st.binary(max_size=100) | st.binary(min_size=60, max_size=70)
header = st.tuples(st.text(max_size=8), maybe_bytes)


@st.composite
def producer_records(draw: st.DrawFn) -> ProducerRecords:
    n = draw(st.integers(1, 90))
    column = st.lists(maybe_bytes, min_size=n, max_size=n)
    one_fixed = st.tuples(st.tuples(st.just("ewma-id"), st.binary(min_size=16, max_size=16)))
    heads = draw(st.sampled_from([None, one_fixed, st.lists(header, max_size=3)]))
    headers = None if heads is None else draw(st.lists(heads, min_size=n, max_size=n))
    return ProducerRecords(draw(column), draw(column), headers)


def by_kafka_python(records: ProducerRecords, codec: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 30)
    headers = records.headers or [[]] * len(records)
    for row in enumerate(zip(records.keys, records.values, headers, strict=True)):
        offset, (key, value, pairs) = row
        builder.append(offset, TIME_MS, key, value, pairs)
    return bytes(builder.build())


def test_worked_bytes() -> None:
    records = ProducerRecords([b"k", None], [b"v", None], [[("h", b"x")], []])
    batch = encode_batch(records, timestamp_ms=1000)
    # length, attributes, timestamp, offset, key, value, headers
    first = "18 00 00 00 02 6b 02 76 02 02 68 02 78"
    second = "0c 00 00 02 01 01 00"
    assert batch[61:].hex(" ") == f"{first} {second}"
    assert len(batch) == 12 + int.from_bytes(batch[8:12], "big")


@pytest.mark.parametrize(
    # The others have what we never write: times that differ, gaps, what Kafka compressed.
    "case",
    [case for case in GOLDEN if case["encoded_alike"]],
    ids=lambda case: case["name"],
)
def test_golden_bytes(case: dict[str, object]) -> None:
    records = ProducerRecords(*_columns(case["records"]))
    batch = encode_batch(records, timestamp_ms=case["records"][0][1])  # type: ignore[index]
    assert batch.hex() == case["hex"]


def _columns(rows: object) -> tuple[list, list, list]:  # type: ignore[type-arg]
    plain = [(_bytes(key), _bytes(value), _pairs(pairs)) for _, _, key, value, pairs in rows]  # type: ignore[attr-defined]
    keys, values, headers = zip(*plain, strict=True)
    return list(keys), list(values), list(headers)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _pairs(pairs: list[list[str]]) -> list[tuple[str, bytes | None]]:
    return [(name, _bytes(content)) for name, content in pairs]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(producer_records())
def test_the_same_bytes_as_kafka_python(records: ProducerRecords) -> None:
    assert encode_batch(records, timestamp_ms=TIME_MS) == by_kafka_python(records)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(producer_records(), st.none() | st.tuples(st.text(max_size=70), st.integers(1, 200)))
def test_many_at_once_is_the_same_as_one_by_one(
    records: ProducerRecords, like: tuple[str, int] | None
) -> None:
    headers = None
    if like is not None:
        name, size = like
        contents = np.random.default_rng(size).bytes(size * len(records))
        headers = LikeHeaders(name, contents, size)
    records = replace(records, headers=headers)
    assert encode._encode_many(records) == encode._encode_few(records)


def test_headers_that_are_alike_are_those_of_each_record() -> None:
    headers = LikeHeaders("id", b"aabbcc", 2)
    each = [(("id", content),) for content in (b"aa", b"bb", b"cc")]
    assert list(headers) == each
    assert list(headers[1:]) == each[1:]
    assert list(headers[3:1]) == []
    assert headers[-1] == each[-1]
    with pytest.raises(IndexError):
        headers[3]


def test_runs_are_joined_with_their_headers() -> None:
    def run(n: int, headers: Sequence[Headers] | None) -> ProducerRecords:
        return ProducerRecords([b"k"] * n, [b"v"] * n, headers)

    alike = [run(2, LikeHeaders("id", b"ab", 1)), run(1, LikeHeaders("id", b"c", 1))]
    joined = ProducerRecords.concat(alike).headers
    assert isinstance(joined, LikeHeaders)
    assert joined.contents == b"abc"
    mixed = [run(1, None), *alike, run(1, LikeHeaders("x", b"de", 2)), run(1, [[("y", None)]])]
    found = ProducerRecords.concat(mixed).headers
    assert found is not None
    assert [dict(headers) for headers in found] == [
        {}, {"id": b"a"}, {"id": b"b"}, {"id": b"c"}, {"x": b"de"}, {"y": None},
    ]  # fmt: skip
    assert ProducerRecords.concat([run(1, None), run(2, None)]).headers is None


def test_a_batch_of_many_widths_of_offsets_and_lengths() -> None:
    n = 20_000  # offsets of 1, 2 and 3 bytes
    values = [bytes(i % 300) for i in range(n)]
    values[7] = bytes(3_000_000)  # a length of 4 bytes
    records = ProducerRecords([b"key"] * n, [*values])
    assert encode_batch(records, timestamp_ms=TIME_MS) == by_kafka_python(records)


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [3, 200])
def test_compressed_batches_are_read_by_kafka_python(codec: int, n: int) -> None:
    records = ProducerRecords([b"key"] * n, [b"the same again " * 9] * n)
    batch = encode_batch(records, timestamp_ms=TIME_MS, codec=codec, compress=compress)
    assert len(batch) < len(encode_batch(records, timestamp_ms=TIME_MS))
    assert batch[22] & 7 == codec
    expected: list[Record] = [(i, TIME_MS, b"key", records.values[i], []) for i in range(n)]
    assert kafka_rows(bytes(batch)) == expected


def test_what_does_not_shrink_is_sent_plain() -> None:
    records = ProducerRecords([None], [b"x"])
    batch = encode_batch(records, timestamp_ms=TIME_MS, codec=1, compress=compress)
    assert batch == encode_batch(records, timestamp_ms=TIME_MS)


def test_a_producers_identity() -> None:
    records = ProducerRecords([b"k"] * 5, [b"v"] * 5)
    builder = DefaultRecordBatchBuilder(2, 0, True, 42, 7, 1000, 1 << 30)
    for offset in range(5):
        builder.append(offset, TIME_MS, b"k", b"v", [])
    by_kafka = bytes(builder.build())
    ours = encode_batch(
        records,
        timestamp_ms=TIME_MS,
        producer_id=42,
        producer_epoch=7,
        base_sequence=1000,
        transactional=True,
    )
    assert ours == by_kafka


def test_a_header_name_that_is_not_text_goes_back_as_it_came() -> None:
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    batch = encode_batch(ProducerRecords([None], [None], [[(name, b"")]]), timestamp_ms=0)
    assert b"\x04\xff\xfe\x00" in batch


def test_nothing_to_send_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 records"):
        encode_batch(ProducerRecords([], []), timestamp_ms=0)


def test_a_codec_needs_its_function() -> None:
    with pytest.raises(ConfigError, match="'zstd' needs a compress function"):
        encode_batch(ProducerRecords([None], [None]), timestamp_ms=0, codec=4)


@pytest.mark.parametrize("n", [1, 100])
def test_text_is_not_bytes(n: int) -> None:
    with pytest.raises(TypeError):
        encode_batch(ProducerRecords(["k"] * n, [b"v"] * n), timestamp_ms=0)  # type: ignore[list-item]
