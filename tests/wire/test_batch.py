"""Record batches to columns: every kind that Kafka writes, and every kind of damage."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.compiled import library
from ewma_ops.errors import ConfigError, CorruptBatch
from ewma_ops.wire import decode
from ewma_ops.wire.batch import decode_batches
from tests.helpers.batches import (
    Record,
    control_batch,
    kafka_batch,
    kafka_rows,
    outcome,
    patched,
    rows,
    simple,
)
from tests.wire import fuzz_batch

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
INT64_MAX = 2**63 - 1

maybe_bytes = st.none() | st.binary(max_size=90)
header = st.tuples(st.text(max_size=6), maybe_bytes)
a_record = st.tuples(
    st.integers(1, 200),  # how far the offset goes on
    st.integers(0, 2**45),
    maybe_bytes,
    maybe_bytes,
    st.just([]) | st.lists(header, max_size=3),
)


@st.composite
def kafka_records(draw: st.DrawFn, max_size: int = 120) -> list[Record]:
    offset = draw(st.integers(0, 2**40))
    records = []
    for step, *rest in draw(st.lists(a_record, min_size=1, max_size=max_size)):
        offset += step
        records.append((offset, *rest))
    return records  # type: ignore[return-value]


@pytest.fixture(params=["few", "many", "compiled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode record by record, all at once, and by a compiled loop, whatever their number."""
    monkeypatch.setattr(decode, "_FEW_RECORDS", 10**9 if request.param == "few" else 1)
    if request.param != "compiled":
        monkeypatch.setattr(library, "kernels", None)


# --- what Kafka writes ---


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
@pytest.mark.usefixtures("way")
def test_golden_bytes(case: dict[str, object]) -> None:
    def data(text: str | None) -> bytes | None:
        return None if text is None else bytes.fromhex(text)

    expected = [
        (offset, timestamp_ms, data(key), data(value), [(n, data(c)) for n, c in headers])
        for offset, timestamp_ms, key, value, headers in case["records"]  # type: ignore[attr-defined]
    ]
    found, next_offset, error = outcome(bytes.fromhex(str(case["hex"])))
    assert found == expected
    assert (next_offset, error) == (expected[-1][0] + 1, None)


@settings(max_examples=60, deadline=None)
@given(kafka_records(), st.sampled_from([0, 0, 1, 2, 3, 4]))
def test_the_same_records_as_kafka_python(records: list[Record], codec: int) -> None:
    batch = kafka_batch(records, codec=codec)
    found, next_offset, error = outcome(batch)
    assert found == kafka_rows(batch) == records
    assert (next_offset, error) == (records[-1][0] + 1, None)


@pytest.mark.parametrize("seed", range(100))
def test_all_at_once_is_the_same_as_one_by_one(seed: int) -> None:
    assert fuzz_batch.check(fuzz_batch.whole(random.Random(seed)), 0) == "columns"


@pytest.mark.usefixtures("way")
def test_log_append_time_is_the_time_of_every_record() -> None:
    batch = patched(kafka_batch(simple(range(5))), attributes=8, max_ms=42)
    [run] = decode_batches(batch, 0)
    assert run.timestamps_ms.tolist() == [42] * 5


@pytest.mark.usefixtures("way")
def test_append_and_create_time_in_one_buffer() -> None:
    create = kafka_batch(simple(range(2), timestamp_ms=100))
    append = patched(kafka_batch(simple(range(2, 4))), attributes=8, max_ms=42)
    [run] = decode_batches(create + append, 0)
    assert run.timestamps_ms.tolist() == [100, 101, 42, 42]


@pytest.mark.usefixtures("way")
def test_no_timestamp_stays_minus_one() -> None:
    [run] = decode_batches(kafka_batch([(0, -1, None, b"v", [])]), 0)
    assert run.timestamps_ms.tolist() == [-1]


@pytest.mark.usefixtures("way")
def test_times_as_far_apart_as_64_bits_allow() -> None:
    records: list[Record] = [(0, -(2**62), None, b"", []), (1, 2**62 - 1, None, b"", [])]
    assert outcome(kafka_batch(records))[0] == records


def test_many_small_batches_come_as_one_run() -> None:
    buffer = b"".join(kafka_batch(simple([offset])) for offset in range(500))
    [run] = decode_batches(buffer, 0)
    assert rows([run]) == simple(range(500))


def test_usual_records_are_not_followed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_starts", None)
    monkeypatch.setattr(library, "kernels", None)
    batch = kafka_batch([(i, i, b"k", b'{"x":%d}' % i, []) for i in range(400)])
    assert outcome(batch)[0] == kafka_rows(batch)


ENDS = [b'{"x":%d}', b"%d", b"}\0}\0%d}", b'{"x":%d}\0}', b"%d}\0}\0\0", b"}%d\0"]


@pytest.mark.parametrize("value", ENDS)
@pytest.mark.parametrize("first", ENDS)
def test_values_that_hold_what_ends_a_record(
    first: bytes, value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "kernels", None)
    records: list[Record] = [(i, i, b"k", value % i if i else first % i, []) for i in range(400)]
    batch = kafka_batch(records)
    assert outcome(batch)[0] == [(*row[:4], []) for row in records] == kafka_rows(batch)


def test_one_value_less_and_one_end_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many ends as records, but not theirs: the lengths say so."""
    monkeypatch.setattr(library, "kernels", None)
    values = [b"1}", b"2", b"3}\0 4}", *(b"%d}" % i for i in range(3, 200))]
    records: list[Record] = [(i, 5, None, value, []) for i, value in enumerate(values)]
    assert outcome(kafka_batch(records))[0] == [(*row[:4], []) for row in records]


def test_many_small_compressed_batches_come_as_one_run() -> None:
    records: list[Record] = [(n, 5, b"k", b"again " * 20, []) for n in range(100)]
    buffer = b"".join(kafka_batch([record], codec=1) for record in records)
    [run] = decode_batches(buffer, 0)
    assert rows([run]) == records


def test_a_large_buffer_comes_in_runs() -> None:
    batches = [
        kafka_batch([(n, 0, None, bytes(1_800), []) for n in range(k * 500, (k + 1) * 500)])
        for k in range(5)
    ]
    runs = list(decode_batches(b"".join(batches), 0))
    assert [len(run.keys) for run in runs] == [1000, 1000, 500]
    assert [run.next_offset for run in runs] == [1000, 2000, 2500]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("wanted", [100, 103, 109, 110])
def test_a_batch_begins_before_the_wanted_offset(wanted: int) -> None:
    found, next_offset, error = outcome(kafka_batch(simple(range(100, 110))), wanted)
    assert (found, next_offset, error) == (simple(range(wanted, 110)), 110, None)


@pytest.mark.usefixtures("way")
def test_headers_of_records_left_out_do_not_count() -> None:
    records: list[Record] = [(0, 5, None, b"", [("h", b"x")]), (1, 5, None, b"", [])]
    [run] = decode_batches(kafka_batch(records), 1)
    assert run.headers is None


def test_offsets_before_the_wanted_never_take_it_back() -> None:
    assert outcome(kafka_batch(simple(range(10))), 500) == ([], 500, None)


@pytest.mark.usefixtures("way")
def test_gaps_of_compaction() -> None:
    kept = [7, 8, 11, 300, 301]
    batch = patched(kafka_batch(simple(kept)), last_delta=500)
    assert outcome(batch) == (simple(kept), 508, None)


@pytest.mark.usefixtures("way")
def test_a_batch_that_compaction_emptied() -> None:
    empty = patched(kafka_batch(simple([50])), b"", count=0, last_delta=9)
    assert outcome(empty) == ([], 60, None)
    after = kafka_batch(simple(range(60, 63)))
    assert outcome(empty + after) == (simple(range(60, 63)), 63, None)


def test_control_batches_are_left_out_and_passed_by() -> None:
    buffer = kafka_batch(simple(range(3)), producer_id=9, transactional=True)
    buffer += control_batch(3, 9, abort=False)
    assert outcome(buffer) == (simple(range(3)), 4, None)
    assert outcome(control_batch(3, 9, abort=False)) == ([], 4, None)


def test_aborted_transactions_are_left_out() -> None:
    def of(producer_id: int, *offsets: int) -> bytes:
        return kafka_batch(simple(offsets), producer_id=producer_id, transactional=True)

    buffer = b"".join(
        [
            of(1, 0, 1),  # aborted
            of(2, 2),  # committed
            kafka_batch(simple([3]), producer_id=1),  # the same producer, no transaction
            of(1, 4),  # aborted
            control_batch(5, 1, abort=True),
            of(1, 6),  # its next transaction: committed
            control_batch(7, 2, abort=False),
            of(2, 8),  # aborted
            control_batch(9, 1, abort=False),
            control_batch(10, 2, abort=True),
            of(1, 11),  # aborted, its end is in the next fetch
        ]
    )
    aborted = [(2, 8), (1, 0), (1, 11)]
    assert outcome(buffer, aborted=aborted) == (simple([2, 3, 6]), 12, None)
    assert outcome(buffer)[0] == simple([0, 1, 2, 3, 4, 6, 8, 11])


@pytest.mark.usefixtures("way")
def test_a_header_name_that_is_not_text() -> None:
    batch = kafka_batch([(0, 0, None, b"v", [("name", b"x")])])
    batch = patched(batch, batch[61:].replace(b"name", b"n\xffme"))
    [run] = decode_batches(batch, 0)
    assert run.headers is not None
    assert run.headers[0][0][0].encode("utf-8", "surrogateescape") == b"n\xffme"


def test_a_buffer_in_the_middle_of_another() -> None:
    batch = kafka_batch(simple(range(100)))
    whole = memoryview(b"before" + batch + b"behind")
    assert rows(decode_batches(whole[6:-6], 0)) == simple(range(100))


# --- cut off ---


@pytest.mark.parametrize("codec", [0, 1])
def test_cut_at_every_byte(codec: int) -> None:
    first = kafka_batch(simple(range(4)), codec=codec)
    second = kafka_batch(simple(range(4, 8)), codec=codec)
    assert outcome(b"") == ([], 0, None)
    for cut in range(len(second)):
        assert outcome(second[:cut], 4) == ([], 4, None)
        assert outcome(first + second[:cut]) == (simple(range(4)), 4, None)


# --- damage ---


@pytest.mark.parametrize("magic", [0, 1])
def test_formats_before_kafka_0_11_are_refused(magic: int) -> None:
    old = kafka_batch(simple([0]))[:16] + bytes([magic]) + bytes(100)
    old = old[:8] + (len(old) - 12).to_bytes(4, "big") + old[12:]
    with pytest.raises(CorruptBatch, match=f"has message format {magic}; only format 2 is read"):
        list(decode_batches(old, 0))


def test_a_wrong_crc_is_refused_unless_told_not_to_look() -> None:
    batch = patched(kafka_batch(simple(range(3))), crc=1)
    assert outcome(batch) == ([], 0, "the batch at offset 0 does not match its CRC-32C")
    assert rows(decode_batches(batch, 0, check_crc=False)) == simple(range(3))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 4}, "record 3 of 4"),
        ({"count": 2}, "bytes are left after the last one"),
        ({"count": 0}, "claims 0 records in"),
        ({"count": -1}, "claims -1 records"),
        ({"count": 2**31 - 1, "last_delta": 2**31 - 1}, "a record takes at least 7"),
        ({"last_delta": 1}, "claims 3 records up to offset 11"),
        ({"last_delta": -1}, "claims 3 records up to offset 9"),
        ({"base_offset": -1}, "offset -1, stands where offset 0 or a later one is expected"),
        ({"base_offset": INT64_MAX}, "claims 3 records up to offset"),
        ({"base_ms": INT64_MAX}, "is beyond 64 bits"),
        ({"length": 48}, "its header alone takes 49"),
        ({"length": 0}, "claims 0 bytes"),
        ({"length": -1}, "claims -1 bytes"),
        ({"length": -(2**31)}, "claims -2147483648 bytes"),
        ({"attributes": 7}, "has codec 7; known are 0 to 4"),
        ({"attributes": 1}, "cannot be decompressed"),
        ({"attributes": 2}, "cannot be decompressed"),
        ({"attributes": 3}, "cannot be decompressed"),
        ({"attributes": 4}, "cannot be decompressed"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("way")
def test_lying_header_fields(fields: dict[str, int], message: str) -> None:
    if fields.get("count") == 4:
        fields = {**fields, "last_delta": 3}
    batch = patched(kafka_batch(simple(range(10, 13))), **fields)
    found, next_offset, error = outcome(batch)
    assert (found, next_offset) == ([], 0)
    assert error is not None
    assert message in error


# One record: length, attributes, timestamp, offset, key, value, headers.
GOOD = bytes.fromhex("10 00 00 00 02 6b 02 76 00")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("12 00 00 00 02 6b 02 76 00", "a length of 9 bytes where 8 are left"),
        ("0e 00 00 00 02 6b 02 76 00", "its fields end at byte 9, its length says 8"),
        ("01 00 00 00 02 6b 02 76 00", "a length of -1 bytes"),
        ("feffffff0f 00 00 00 02 6b 02 76 00", "a length of 2147483647 bytes"),
        ("10 00 00 00 7e 6b 02 76 00", "a field of 63 bytes where 4 are left"),
        ("10 00 00 00 02 6b 7e 76 00", "a field of 63 bytes where 2 are left"),
        ("10 00 00 02 02 6b 02 76 00", "offset 1 follows -1"),
        ("10 00 00 01 02 6b 02 76 00", "offset -1 follows -1"),
        ("10 00 00 00 02 6b 02 76 02", "1 headers where 0 bytes are left"),
        ("10 00 00 00 02 6b 02 76 01", "-1 headers where 0 bytes are left"),
        ("14 00 00 00 02 6b 02 76 02 01 00", "a header without a name"),
        ("20 00 ffffffffffffffffffff 00 02 6b 02 76 00", "longer than 64 bits"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("way")
def test_lying_records(record: str, message: str) -> None:
    whole = patched(kafka_batch(simple([0])), GOOD)
    assert outcome(whole) == ([(0, 1_700_000_000_000, b"k", b"v", [])], 1, None)
    found, next_offset, error = outcome(patched(whole, bytes.fromhex(record)))
    assert (found, next_offset) == ([], 0)
    assert error is not None
    assert message in error


@pytest.mark.usefixtures("way")
def test_offsets_that_do_not_rise() -> None:
    twice = patched(kafka_batch(simple([0])), GOOD * 2, count=2, last_delta=1)
    assert "record 1 of 2: offset 0 follows 0" in str(outcome(twice)[2])


@pytest.mark.usefixtures("way")
def test_good_batches_before_a_corrupt_one_come_first() -> None:
    good = kafka_batch(simple(range(3)))
    later = kafka_batch(simple(range(3, 6)))
    for bad in (
        patched(later, crc=1),
        patched(later, later[61:-1]),
        patched(later, attributes=1),
    ):
        found, next_offset, error = outcome(good + bad + kafka_batch(simple(range(6, 9))))
        assert (found, next_offset) == (simple(range(3)), 3)
        assert error is not None
        assert "3" in error


def test_batches_that_go_back() -> None:
    buffer = kafka_batch(simple(range(5))) + kafka_batch(simple(range(4, 8)))
    found, next_offset, error = outcome(buffer)
    assert (found, next_offset) == (simple(range(5)), 5)
    assert error is not None
    assert "stands where offset 5 or a later one is expected" in error


def test_an_abort_marker_without_a_key() -> None:
    marker = patched(kafka_batch([(0, 0, None, b"", [])], producer_id=1), attributes=0x30)
    assert "has the key None" in str(outcome(marker, aborted=[(1, 0)])[2])


def test_a_missing_library_is_not_corrupt_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    batch = kafka_batch(fuzz_batch.alike(20), codec=4)
    with pytest.raises(ConfigError, match="pip install zstandard"):
        list(decode_batches(batch, 0))


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_inputs(seed: int) -> None:
    fuzz_batch.run(seed, 500)
