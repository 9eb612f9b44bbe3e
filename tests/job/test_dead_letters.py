"""A dead letter is the original, byte for byte, and says why and from where it came."""

from __future__ import annotations

import numpy as np
import pytest

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.columns.rejections import Rejection, Rejections
from ewma_ops.job.dead_letters import build_dead_letters
from ewma_ops.wire.records import ConsumerRecords, EncodedHeaders, Headers


def records(headers: list[Headers] | None) -> ConsumerRecords:
    return ConsumerRecords(
        topic="readings",
        partition=3,
        offsets=np.array([10, 12, 15]),
        timestamps_ms=np.array([1000, -1, 3000]),
        keys=[b"k\xff", None, b""],
        values=[b"\x00\xffbad", None, b""],
        headers=headers,
    )


def origin(cause: str, detail: str, offset: bytes, timestamp: bytes) -> list[tuple[str, bytes]]:
    return [
        ("ewma-cause", cause.encode()),
        ("ewma-detail", detail.encode()),
        ("ewma-topic", b"readings"),
        ("ewma-partition", b"3"),
        ("ewma-offset", offset),
        ("ewma-timestamp", timestamp),
    ]


def test_the_record_is_kept_byte_for_byte_with_its_origin() -> None:
    made = build_dead_letters(
        records(None), [Rejection(0, "not-utf8", "héllo"), Rejection(1, "tombstone", "x")]
    )
    assert made.keys == [b"k\xff", None]
    assert made.values == [b"\x00\xffbad", None]
    assert made.headers is not None
    assert [list(headers) for headers in made.headers] == [
        origin("not-utf8", "héllo", b"10", b"1000"),
        origin("tombstone", "x", b"12", b"-1"),
    ]


def test_the_original_headers_stay_in_front_in_order() -> None:
    original: list[Headers] = [[("a", b"1"), ("a", None), ("é", b"\xff")], [], [("z", b"")]]
    made = build_dead_letters(
        records(original), [Rejection(2, "empty", "y"), Rejection(0, "not-json", "z")]
    )
    assert made.values == [b"", b"\x00\xffbad"]
    assert made.headers is not None
    assert list(made.headers[0]) == [("z", b""), *origin("empty", "y", b"15", b"3000")]
    assert list(made.headers[1])[:3] == original[0]
    assert original[0] == [("a", b"1"), ("a", None), ("é", b"\xff")]


def test_no_rejections_no_letters() -> None:
    assert len(build_dead_letters(records(None), [])) == 0


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("max_bytes", [1_000_000, 300, 100])
@pytest.mark.parametrize("headed", [False, True])
def test_many_letters_are_what_each_is_alone(
    *, columns: bool, max_bytes: int, headed: bool
) -> None:
    n = 200
    keys: list[bytes | None] = [None if i % 5 == 0 else b"k" * (i % 90) for i in range(n)]
    values: list[bytes | None] = [None if i % 7 == 0 else b"v" * (3 * i) for i in range(n)]
    headers: list[Headers] = [[("h", b"x" * i), ("é", None)][: i % 3] for i in range(n)]
    run = ConsumerRecords(
        "réadings",
        3,
        np.arange(n) * 7,
        np.where(np.arange(n) % 2, -1, 1_700_000_000_000),
        BytesColumn.of(keys) if columns else keys,
        BytesColumn.of(values) if columns else values,
        (EncodedHeaders.of(headers) if columns else headers) if headed else None,
    )
    why = {i: ("empty", f"dé\0tail {10**i}"[:90]) for i in range(0, n, 3)}
    rejected = Rejections.of(why)
    made = build_dead_letters(run, rejected, max_bytes)
    alone = [build_dead_letters(run, [one], max_bytes) for one in rejected]
    assert list(made.keys) == [one.keys[0] for one in alone]
    assert list(made.values) == [one.values[0] for one in alone]
    assert made.headers is not None
    assert [list(one) for one in made.headers] == [list((one.headers or [])[0]) for one in alone]


@pytest.mark.parametrize("n", [2, 40])
def test_each_rejected_reading_of_a_message_has_a_letter_with_its_ordinal(n: int) -> None:
    """By the column and one by one; a letter that is cut says it too."""
    places, ordinals = np.zeros(n, np.intp), np.arange(n).astype(np.uint64) * 3
    rejected = Rejections(places, ["empty"] * n, ["y"] * n, ordinals)
    for largest in (1_000, 150):
        made = build_dead_letters(records(None), rejected, largest)
        assert made.headers is not None
        for i, headers in enumerate(made.headers):
            want = [*origin("empty", "y", b"10", b"1000"), ("ewma-ordinal", b"%d" % (3 * i))]
            assert list(headers)[:7] == want
            assert [name for name, _ in list(headers)[7:]] == (["ewma-cut"] * (largest == 150))
    assert rejected.within(0, 1).take(np.array([1])).ordinals.tolist() == [3]  # type: ignore[union-attr]
