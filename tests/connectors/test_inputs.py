"""Numbers of the partitions of several topics: stable, apart, and found again without a note."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import Origins, numbered, partition_of, topic_of
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics, source_part, source_part_number
from ewma_ops.connectors.sink.ledger import Ledger, LedgerState, identities, origins_of
from ewma_ops.errors import ConfigError

NUMBERS = st.builds(numbered, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))


def ids(n: int) -> list[str]:
    return [str(uuid.UUID(int=i + 1)) for i in range(n)]


def test_a_partition_has_the_same_number_whatever_is_read_beside_it() -> None:
    views = {f"t{i}": TopicView(one, 3) for i, one in enumerate(ids(50))}
    every = InputTopics.of(views)
    alone = InputTopics.of({"t7": views["t7"]})
    assert len(every) == len(set(every.numbers())) == 150
    assert alone.numbers() == [every.number("t7", partition) for partition in range(3)]
    assert [every.place(number) for number in every.numbers()] == list(every)
    assert every.place(every.number("t9", 2)) == TopicPartition("t9", 2)


def test_a_topic_that_was_created_again_has_other_numbers() -> None:
    first, second = (InputTopics.of({"t": TopicView(one, 2)}) for one in ids(2))
    assert not set(first.numbers()) & set(second.numbers())


def test_a_topic_that_is_alone_has_the_numbers_of_its_partitions() -> None:
    topics = InputTopics.alone("t", TopicView("id", 3))
    assert topics.numbers() == [0, 1, 2]
    assert [source_part(number) for number in topics.numbers()] == ["000000", "000001", "000002"]


def test_topics_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match="'a' and 'b' cannot be read together"):
        InputTopics.of({"a": TopicView("one", 1), "b": TopicView("one", 1)})


@given(NUMBERS)
def test_a_part_name_leads_back_to_its_number(number: int) -> None:
    assert source_part_number(source_part(number)) == number


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.integers(0, 2**32 - 1))
def test_headers_lead_back_to_the_numbers(numbers: list[int], job: int) -> None:
    origins = Origins(np.array(numbers, np.int64), np.arange(len(numbers)))
    headers = identities(job, origins)
    topics = {topic_of(number) for number in numbers}
    at, found = origins_of(job, list(headers), topics)
    assert at.tolist() == list(range(len(numbers)))
    assert found.partitions.tolist() == numbers
    (first, *_) = topics
    own = [i for i, number in enumerate(numbers) if topic_of(number) == first]
    assert origins_of(job, list(headers), [first])[0].tolist() == own


def test_one_topic_of_number_0_is_written_as_before() -> None:
    header = identities(1, Origins(np.array([2], np.int32), np.array([3]))).contents
    assert header.hex(" ", 4) == "00000001 00000002 00000000 00000003 00000000 00000000"
    number = numbered(murmur2(b"topic") & 0x7FFFFFFF, 2)
    several = identities(1, Origins(np.array([number]), np.array([3]))).contents
    assert (several[4:], several[:4] != header[:4]) == (header[4:], True)


def test_the_same_offset_of_two_topics_is_two_records() -> None:
    topics = InputTopics.of({"a": TopicView("one", 1), "b": TopicView("two", 1)})
    a, b = topics.numbers()
    ledger = Ledger()
    ledger.recall(Origins(np.array([a]), np.array([7])))
    assert ledger.admit(Origins(np.array([a, b]), np.array([7, 7]))).tolist() == [False, True]
    ledger = Ledger()
    ledger.recall(Origins(np.array([a, b]), np.array([7, 8])))
    state = LedgerState.opened(ledger.close_epoch().sealed())
    assert {n: column.tolist() for n, column in state.pending.items()} == {a: [7], b: [8]}
    assert partition_of(b) == 0
