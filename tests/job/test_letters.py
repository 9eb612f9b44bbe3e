"""Letters read back: what a job wrote is parsed, and what is sent again is chosen with care."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ewma_ops.job.letters import (
    REDRIVEN,
    Letter,
    Origin,
    Receipts,
    choose,
    parse_letter,
    receipt,
)
from ewma_ops.settings.load import load_tables
from ewma_ops.testing import Record, run_job


def tables(**reads: Any) -> dict[str, Any]:
    return {
        "kafka": {"bootstrap_servers": "127.0.0.1:1"},
        "input": {"topic": "readings", "series_id": "id", **reads},
        "smooth": {"beta": 0.5},
        "output": {"topic": "smoothed"},
        "dead_letters": {"max_bytes": 1_000},
    }


def letters_of(*records: Record, **reads: Any) -> list[Letter]:
    """Return the letters that a job makes of records, as they stand on the topic."""
    timed = [replace(one, timestamp_ms=one.timestamp_ms or 5) for one in records]
    made = run_job(tables(**reads), timed).dead_letters
    found = [
        parse_letter(
            Origin("dead-letters", 0, at),
            100 + at,
            one.key,
            one.value,
            [*one.headers, ("ewma", b"\x00" * 24)],
        )
        for at, one in enumerate(made)
    ]
    assert None not in found
    return [letter for letter in found if letter is not None]


def chosen(
    letters: list[Letter], receipts: Any = (), **options: Any
) -> tuple[list[int], list[str]]:
    reads = options.pop("reads", {})
    topics = {"readings": 4}
    plan = choose(load_tables(tables(**reads)), letters, receipts, topics, **options)
    return [letter.origin.offset for letter in plan.chosen], list(plan.reasons())


QUOTED = b'{"id": "a", "value": "1.5"}'


def test_a_letter_is_read_back_as_the_record_that_it_was() -> None:
    record = Record(QUOTED, b"k", [("h", b"\xff"), ("n", None)], 7, 3, offset=12)
    (letter,) = letters_of(record)
    assert letter.origin == Origin("readings", 3, 12)
    assert (letter.key, letter.value, letter.headers) == (b"k", QUOTED, list(record.headers))
    assert (letter.timestamp_ms, letter.cause, letter.is_cut, letter.ordinal) == (
        7,
        "wrong-type",
        False,
        None,
    )
    assert letter.resent_headers() == [*record.headers, (REDRIVEN, b"dead-letters/0@0")]


def test_headers_of_the_same_names_stay_the_records_own() -> None:
    record = Record(b"?", headers=[("ewma-cause", b"mine"), ("x", b"")], timestamp_ms=5)
    (letter,) = letters_of(record)
    assert letter.headers == [("ewma-cause", b"mine"), ("x", b"")]
    assert letter.cause == "not-json"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("ewma-cause", b"empty")],
        [(f"ewma-{name}", b"x") for name in ("cause", "topic", "partition", "offset", "timestamp")],
    ],
)
def test_what_is_no_letter_is_none(headers: list[tuple[str, bytes | None]]) -> None:
    assert parse_letter(Origin("d", 0, 0), 1, None, b"", headers) is None


def test_only_what_can_be_read_now_is_sent() -> None:
    letters = letters_of(Record(QUOTED, offset=1), Record(b"?", offset=2))
    assert chosen(letters) == ([], ["would be dead letters again"])
    plan = choose(load_tables(tables(numbers="text")), letters, set[Origin](), {"readings": 1})
    assert [letter.origin.offset for letter in plan.chosen] == [1]
    assert plan.again == {"not-json": "JSON is malformed: invalid character (byte 0)"}
    assert chosen(letters, reads={"numbers": "text", "where": {"id": "b"}}) == (
        [],
        ["would be skipped by input.where or input.tombstones", "would be dead letters again"],
    )


def test_what_was_sent_before_is_left() -> None:
    letters = letters_of(Record(QUOTED, offset=1), Record(QUOTED, offset=2, partition=2))
    value, headers = receipt(letters[:1])
    receipts = Receipts()
    assert receipts.take(value, headers)
    reads = {"numbers": "text"}
    assert chosen(letters, receipts, reads=reads) == ([2], ["sent again before"])
    assert not receipts.take(b"garbage", headers)
    assert not receipts.take(value, [])


def test_a_letter_of_a_message_with_the_header_of_a_receipt_is_none() -> None:
    record = Record(b'{"readings": {"0": [1]}}', headers=[("ewma-receipt", b"1")])
    (letter,) = run_job(tables(), [record]).dead_letters
    receipts = Receipts()
    assert not receipts.take(letter.value, letter.headers)
    assert Origin("readings", 0, 1) not in receipts


def test_a_letter_that_came_back_is_sent_by_request_only() -> None:
    record = Record(QUOTED, headers=[(REDRIVEN, b"dead-letters/0@9")])
    letters = letters_of(record)
    reads = {"numbers": "text"}
    assert letters[0].came_back
    assert chosen(letters, reads=reads)[0] == []
    assert "--again" in chosen(letters, reads=reads)[1][0]
    assert chosen(letters, reads=reads, again=True) == ([0], [])
    assert letters[0].resent_headers() == [(REDRIVEN, b"dead-letters/0@0")]


def test_a_message_of_several_readings_is_sent_by_request_only_and_once() -> None:
    payload = b'[{"id": "a", "value": "1"}, {"id": "a", "value": "2"}, {"id": "a", "value": 3}]'
    letters = letters_of(Record(payload), records="[]")
    assert [letter.ordinal for letter in letters] == [0, 1]
    reads = {"numbers": "text", "records": "[]"}
    assert chosen(letters, reads=reads)[0] == []
    found = chosen(letters, reads=reads, whole_messages=True)
    assert found == ([0], ["another letter of the same message is sent"])


def test_a_letter_that_was_cut_and_one_of_no_partition_are_left() -> None:
    letters = letters_of(Record(b'{"id": "a", "value": "1", "x": "' + b"x" * 2_000 + b'"}'))
    letters += letters_of(Record(QUOTED, partition=9))
    found, reasons = chosen(letters, reads={"numbers": "text"})
    assert found == []
    assert any("no longer whole" in reason for reason in reasons)
    assert any("does not have" in reason for reason in reasons)


def test_letters_of_other_topics_are_not_ours() -> None:
    assert chosen(letters_of(Record(QUOTED, topic="other"))) == ([], [])
