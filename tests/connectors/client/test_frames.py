"""Short requests and answers, compared with what kafka-python makes of the same."""

from __future__ import annotations

import struct
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer import FetchRequest, FetchResponse
from kafka.protocol.frame import KafkaBytes
from kafka.protocol.producer import ProduceRequest, ProduceResponse

from ewma_ops.connectors.client.frames import (
    FETCH_VERSION,
    PRODUCE_VERSION,
    Fetched,
    Frame,
    Produced,
    Session,
    encode_fetch,
    encode_produce,
    kafka_fetched,
    read_fetched,
    read_produced,
)

Part = FetchRequest.FetchTopic.FetchPartition
names = st.text("abz-._09", min_size=1, max_size=249)
numbers = st.integers(0, 2**31 - 1)
offsets = st.integers(0, 2**62)


def whole(request: Any) -> bytes:
    request.with_header(correlation_id=77, client_id="ewma_ops-consumer")
    return bytes(request.encode(framed=True, header=True))


def answer(response: Any, version: int) -> KafkaBytes:
    """Return an answer as kafka-python's parser hands it over, its header read."""
    body = response.encode(version=version)
    buffer = KafkaBytes(5 + len(body))
    buffer.write((77).to_bytes(4, "big") + b"\0" + bytes(body))
    frame = Frame(0, version, b"", lambda _: None)
    assert frame.parse_header(buffer).correlation_id == 77
    return buffer


@given(
    st.dictionaries(
        names, st.lists(st.tuples(numbers, numbers, offsets), max_size=200), max_size=3
    ),
    st.booleans(),
    names,
)
def test_a_fetch_is_encoded_as_kafka_python_does(
    topics: dict[str, list[tuple[int, int, int]]], committed: bool, rack: str
) -> None:
    parts = {
        topic: [
            Part(
                partition=number,
                current_leader_epoch=epoch,
                fetch_offset=offset,
                last_fetched_epoch=epoch - 1,
                partition_max_bytes=1 << 20,
            )
            for number, epoch, offset in own
        ]
        for topic, own in topics.items()
    }
    session = Session(500, 1, 16 << 20, committed, 123, 9, rack)
    request = FetchRequest(
        max_wait_ms=500,
        min_bytes=1,
        max_bytes=16 << 20,
        isolation_level=int(committed),
        session_id=123,
        session_epoch=9,
        topics=[FetchRequest.FetchTopic(topic=t, partitions=own) for t, own in parts.items()],
        forgotten_topics_data=[],
        rack_id=rack,
        version=FETCH_VERSION,
    )
    assert whole(encode_fetch(session, parts, read_fetched)) == whole(request)


@given(
    st.dictionaries(names, st.lists(st.tuples(numbers, st.binary(max_size=300))), max_size=3),
    st.none() | names,
)
def test_what_is_produced_is_encoded_as_kafka_python_does(
    topics: dict[str, list[tuple[int, bytes]]], transactional_id: str | None
) -> None:
    Topic = ProduceRequest.TopicProduceData  # noqa: N806 - a class
    request = ProduceRequest(
        transactional_id=transactional_id,
        acks=-1,
        timeout_ms=30_000,
        topic_data=[
            Topic(
                name=topic,
                partition_data=[Topic.PartitionProduceData(index=n, records=b) for n, b in own],
            )
            for topic, own in topics.items()
        ],
        version=PRODUCE_VERSION,
    )
    batches = {t: [(n, bytearray(b)) for n, b in own] for t, own in topics.items()}
    assert whole(encode_produce(transactional_id, -1, 30_000, batches)) == whole(request)


def fetched(records: bytes = b"r" * 100, error: int = 0, **more: Any) -> Any:
    topic = FetchResponse.FetchableTopicResponse
    named = {"throttle_time_ms": more.pop("throttle_time_ms", 0)}
    part = topic.PartitionData(
        partition_index=3,
        error_code=error,
        high_watermark=90,
        last_stable_offset=80,
        log_start_offset=5,
        **{"aborted_transactions": [], "preferred_read_replica": -1, "records": records, **more},
    )
    responses = [topic(topic="readings", partitions=[part])]
    return FetchResponse(error_code=0, session_id=123, responses=responses, **named)


@pytest.mark.parametrize("records", [b"", b"r", b"r" * 127, b"r" * 128, b"r" * 20_000])
@pytest.mark.parametrize("aborted", [[], None])
def test_a_usual_answer_to_a_fetch(records: bytes, aborted: list[Any] | None) -> None:
    response = fetched(records, aborted_transactions=aborted)
    read = read_fetched(answer(response, FETCH_VERSION))
    assert isinstance(read, Fetched)
    assert read.session_id == 123
    assert [tuple(part) for part in read.parts] == [("readings", 3, 90, 80, records)]
    again = kafka_fetched(read)
    assert again.session_id == 123
    (part,) = again.responses[0].partitions
    assert (part.high_watermark, bytes(part.records)) == (90, records)


def test_an_answer_that_is_not_as_usual_is_kafka_pythons() -> None:
    transaction = FetchResponse.FetchableTopicResponse.PartitionData.AbortedTransaction
    unusual = [
        fetched(error=6),
        fetched(throttle_time_ms=100),
        fetched(aborted_transactions=[transaction(producer_id=1, first_offset=2)]),
        fetched(preferred_read_replica=2),
        fetched(records=b"r" * 70_000),
    ]
    for response in unusual:
        read = read_fetched(answer(response, FETCH_VERSION))
        assert not isinstance(read, Fetched)
        assert read.responses[0].partitions[0].high_watermark == 90


def produced(error: int = 0, message: str | None = None, throttle_ms: int = 0) -> Any:
    topic = ProduceResponse.TopicProduceResponse
    part = topic.PartitionProduceResponse(
        index=3,
        error_code=error,
        base_offset=70,
        log_append_time_ms=-1,
        log_start_offset=5,
        record_errors=[],
        error_message=message,
    )
    responses = [topic(name="smoothed", partition_responses=[part, part])]
    return ProduceResponse(responses=responses, throttle_time_ms=throttle_ms)


def test_answers_to_what_was_produced() -> None:
    read = read_produced(answer(produced(), PRODUCE_VERSION))
    assert isinstance(read, Produced)
    (topic,) = read.responses
    assert topic.name == "smoothed"
    assert [astuple(part) for part in topic.partition_responses] == [(3, 0, 70, -1, 5)] * 2
    for unusual in (produced(error=7), produced(message="hm"), produced(throttle_ms=9)):
        read = read_produced(answer(unusual, PRODUCE_VERSION))
        assert not isinstance(read, Produced)
        assert read.responses[0].partition_responses[1].base_offset == 70


@pytest.mark.parametrize("kept", range(6, 60))
def test_an_answer_that_ends_too_early_is_an_error_that_closes_the_connection(kept: int) -> None:
    """kafka-python expects these types, and no others, where it reads answers."""
    for response, version, read in (
        (fetched(b"r" * 9), FETCH_VERSION, read_fetched),
        (produced(), PRODUCE_VERSION, read_produced),
    ):
        full = answer(response, version)
        if kept >= len(full):
            continue
        cut = KafkaBytes(0)
        cut += full[:kept]
        cut.seek(5)
        with pytest.raises((ValueError, struct.error)):
            Frame(0, version, b"", read).decode(cut)
