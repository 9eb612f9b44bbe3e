"""The sender of ``KafkaProducer`` with short ways for what it does at every request.

May touch kafka-python's inside; must not know connections, or what is in a record. Queues,
sequence numbers, retries and time-outs stay the producer's own.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import time
from typing import Any
from weakref import WeakKeyDictionary

from kafka import KafkaProducer
from kafka.net.compat import KafkaNetClient
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.producer.sender import Sender
from kafka.protocol.producer import ProduceRequest

from ewma_ops.connectors.client import compatible
from ewma_ops.connectors.client.frames import PRODUCE_VERSION, Frame, encode_produce

__all__ = ["incompatibilities", "send_shortly"]

_LONGEST_WAIT_MS = 1000.0


def send_shortly(producer: KafkaProducer) -> None:
    """Have a producer's sender make requests of bytes, and wait for the answer once they are sent.

    It would look a second time whether there is more to send, each time.
    """
    sender: Any = producer._sender
    accumulator, transactions = sender._accumulator, sender._transaction_manager
    send_data, produce_request = sender._send_producer_data, sender._produce_request
    served: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    def send_producer_data(now: float | None = None) -> float:
        wait_ms: float = send_data(now)
        if wait_ms > 0 or accumulator.has_undrained():
            return min(wait_ms, _LONGEST_WAIT_MS)
        due_ms = accumulator.next_expiry_time_ms - time.monotonic() * 1000
        return float(max(0.0, min(due_ms, _LONGEST_WAIT_MS)))

    def serves(node_id: int) -> bool:
        connection = sender._client._manager._conns.get(node_id)
        if connection is None or not connection.connected:
            return False
        if connection not in served:
            version = connection.broker_version_data.api_version(
                ProduceRequest, max_version=PRODUCE_VERSION
            )
            served[connection] = version == PRODUCE_VERSION
        return served[connection]

    def request(node_id: int, acks: int, timeout_ms: int, batches: list[Any]) -> Frame | Any:
        if acks == 0 or not serves(node_id):
            return produce_request(node_id, acks, timeout_ms, batches)
        topics: dict[str, list[tuple[int, bytearray]]] = {}
        for batch in batches:
            topic, partition = batch.topic_partition
            topics.setdefault(topic, []).append((partition, batch.records.buffer()))
        name = None if transactions is None else transactions.transactional_id
        return encode_produce(name, acks, timeout_ms, topics)

    sender._send_producer_data, sender._produce_request = send_producer_data, request


_READS = {
    (Sender, "run_once"): ("_send_producer_data", "poll"),
    (Sender, "_send_producer_data"): ("_create_produce_requests", "_handle_produce_response"),
    (Sender, "_create_produce_requests"): ("_produce_request",),
    (Sender, "_produce_request"): ("topic_partition", "buffer", "transactional_id"),
    (Sender, "_handle_produce_response"): ("responses", "partition_responses", "index", "name"),
    (Sender, "_complete_batch"): ("error_code", "base_offset", "log_append_time_ms"),
    (RecordAccumulator, "has_undrained"): ("_batches",),
    (RecordAccumulator, "next_expiry_time_ms"): ("_next_batch_expiry_time_ms",),
    (KafkaNetClient, "send"): ("_manager",),
}  # fmt: skip
"""The code that meets what is put in its place here, and what it uses of it."""


def incompatibilities() -> list[str]:
    """Return one sentence for each thing in kafka-python that is not where it was."""
    return compatible.incompatibilities(_READS, {}, {})
