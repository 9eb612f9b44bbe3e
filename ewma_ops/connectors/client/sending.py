"""The sender of ``KafkaProducer`` with shortcuts for what it does at every request.

May touch kafka-python's inside; must not know connections, or what is in a record. Queues,
sequence numbers, retries and time-outs stay the producer's own.

While little is written, the writing thread does the work of the sender's own thread, which only
checks once a second: waking it for each request, and again for the answer, costs more than the
requests. The sender's thread takes over when somebody waits for answers, when much is written, and
when the loop has several steps to take, such as to connect or to authenticate again.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from kafka import KafkaProducer
from kafka.net.compat import KafkaNetClient
from kafka.net.connection import KafkaConnection
from kafka.net.transport import KafkaTCPTransport
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import TransactionManager, TransactionState
from kafka.protocol.producer import ProduceRequest

from ewma_ops.connectors.client import compatible, sockets
from ewma_ops.connectors.client.frames import PRODUCE_VERSION, Frame, encode_produce
from ewma_ops.connectors.client.runs_out import RunBatch

__all__ = ["Sending", "incompatibilities"]

_log = logging.getLogger(__name__)

_LONGEST_WAIT_MS = 1000.0
_LOOKS_IN_S = 1.0
_SENDS = (TransactionState.READY, TransactionState.UNINITIALIZED)
"""States in which records are sent; the second one for a producer whose id was given to it."""


class Sending:
    """Makes a producer's sender build requests as bytes, in one of two threads.

    Parameters
    ----------
    producer
        The producer; it has sent nothing yet.
    """

    def __init__(self, producer: KafkaProducer) -> None:
        self._sender = sender = producer._sender
        self._accumulator, self._client = sender._accumulator, sender._client
        self._net, self._cluster = self._client._net, sender._metadata
        self._acks, self._timeout_ms = sender.config["acks"], sender.config["request_timeout_ms"]
        self._transactions = sender._transaction_manager
        self._serving = threading.Lock()  # held by the thread that serves the sockets
        self._asked = self._lent = self._at_once = False
        self._called_back = threading.Event()
        self._served: dict[int | None, tuple[KafkaConnection, bool]] = {}
        self._run_once, self._wake = sender.run_once, sender.wakeup
        self._send_data, self._produce_request = (
            sender._send_producer_data,
            sender._produce_request,
        )
        sender._send_producer_data, sender._produce_request = self._send, self._request
        sender.run_once, sender.wakeup = self._run, self.call_back
        self._client_send, self._client_poll = self._client.send, self._client.poll
        self._client.send, self._client.poll = self._send_request, self._poll

    def serve(self) -> bool:
        """Send what there is and take the answers that have come, in this thread if possible.

        Else wake the sender's own thread. Returns whether to call this again, because answers are
        pending.
        """
        if not self._lent:
            self._asked = True
            self._wake()
            return False
        if self._serving.acquire(blocking=False):  # else its own thread is at work: let it continue
            try:
                if self._lent and self._guarded(self._serve_here):
                    return bool(self._client.in_flight_request_count())
            finally:
                self._serving.release()
        self.call_back()
        return False

    def _serve_here(self) -> bool:
        """Do the work that is due; return whether only answers are pending."""
        if self._serve_shortly():
            return True
        if self._accumulator.has_undrained():
            self._serve_at_once()
        else:
            sockets.serve(self._net, 0.0)
        if self._has_steps_to_take():  # for example, TLS waits until it can write
            sockets.serve(self._net, 0.0)
        return self._is_done()

    def _serve_shortly(self) -> bool:
        """Take answers and send what was written, in the usual case; return whether it applied.

        The sender's full round visits every partition several times, mostly for rare things:
        batches that are retried or expired, brokers that are not ready. Its own thread makes that
        round once a second, and at once in an unusual case.
        """
        for connection in list(self._client._manager._conns.values()):
            if connection.in_flight_requests and not sockets.take(connection):
                return False
        due = None if self._net._ready else self._due()
        if due is None:
            return False
        for node_id, batches in due.items():
            self._drain(batches)
            connection = self._client._manager._conns[node_id]
            request = self._request(node_id, self._acks, self._timeout_ms, batches)
            future = sockets.send(connection, request)
            future.add_callback(
                self._sender._handle_produce_response, node_id, time.monotonic(), batches
            )
            future.add_errback(self._sender._failed_produce, batches, node_id)
            if connection.transport is None or connection.transport._write_buffer:
                return False
        return True

    def _due(self) -> dict[int, list[RunBatch]] | None:
        """Return the batches to be sent, by the node that leads; ``None`` if any is unusual."""
        accumulator, ids = self._accumulator, self._transactions
        usual = (
            ids is not None
            and ids._current_state in _SENDS
            and ids.producer_id_and_epoch.is_valid
            and not ids._pending_requests
            and not accumulator.muted
            and not self._sender._topics_to_add
        )
        if not usual:
            return None
        due: dict[int, list[RunBatch]] = {}
        left = self._sender.config["max_request_size"]
        for tp, queue in list(accumulator._batches.items()):
            if not queue:
                continue
            batch, leader = queue[0], self._cluster.leader_for_partition(tp)
            left -= batch.records.size_in_bytes()
            new = type(batch) is RunBatch and not batch.attempts and len(queue) == 1
            if not new or left < 0 or not self._serves(leader):
                return None
            due.setdefault(leader, []).append(batch)
        return due

    def _drain(self, batches: list[RunBatch]) -> None:
        """Take batches off their queues, number and encode them, as ``RecordAccumulator.drain``."""
        ids, now = self._transactions, time.monotonic()
        for batch in batches:
            tp, records = batch.topic_partition, batch.records
            with self._accumulator._tp_lock(tp):
                self._accumulator._batches[tp].popleft()
            number = ids.producer_id_and_epoch
            records.set_producer_state(
                number.producer_id, number.epoch, ids.sequence_number(tp), is_transactional=False
            )
            ids.increment_sequence_number(tp, records.next_offset())
            records.close()
            batch.drained = now
            heapq.heappush(self._sender._in_flight_batches[tp], (batch.created, batch))

    def call_back(self) -> None:
        """Make the sender's own thread serve, at once."""
        self._asked = False
        if self._lent:
            self._lent = False
            self._called_back.set()
        else:
            self._wake()

    def _run(self) -> None:
        """Do the sender's work: called by its own thread in a loop."""
        if self._lent and not self._called_back.wait(_LOOKS_IN_S):
            with self._serving:
                if not self._guarded(self._serve_at_once):
                    self._lent = False
            return
        self._lent = False
        self._called_back.clear()
        with self._serving:
            self._run_once()
        # This thread takes the answers to its own requests: no other knows of them.
        waits = self._has_steps_to_take() or self._client.in_flight_request_count()
        if self._asked and not self._transactional and not waits:
            self._lent = True
            # Threads that came meanwhile saw that it was not, and leave the work to this one.
            if not self._asked or self._accumulator.has_undrained():
                self._lent = False

    @property
    def _transactional(self) -> bool:
        return self._transactions is not None and self._transactions.is_transactional()

    def _has_steps_to_take(self) -> bool:
        """Return whether the loop has to run again soon, perhaps several times."""
        return bool(self._net._ready) or any(
            connection.initializing
            or connection._reauth.is_reauthenticating
            or (connection.transport is not None and connection.transport._write_buffer)
            for connection in self._client._manager._conns.values()
        )

    def _serve_at_once(self) -> bool:
        """Do one round of the sender without waiting; return whether no work is left."""
        self._at_once = True
        try:
            self._run_once()
        finally:
            self._at_once = False
        return self._is_done()

    def _is_done(self) -> bool:
        return not (self._accumulator.has_undrained() or self._has_steps_to_take())

    def _guarded(self, serve: Callable[[], bool]) -> bool:
        try:
            return serve()
        except Exception:  # noqa: BLE001 - as its own thread does: a bug there ends no flow
            _log.exception("serving a Kafka producer failed")
            return False

    def _send(self, now: float | None = None) -> float:
        wait_ms: float = self._send_data(now)
        if self._at_once:
            return 0.0
        # It would check a second time for more to send, at every round.
        if wait_ms > 0 or self._accumulator.has_undrained():
            return min(wait_ms, _LONGEST_WAIT_MS)
        due_ms = self._accumulator.next_expiry_time_ms - time.monotonic() * 1000
        return float(max(0.0, min(due_ms, _LONGEST_WAIT_MS)))

    def _send_request(self, node_id: int, request: Any, **named: Any) -> Any:
        connection = self._client._manager._conns.get(node_id)
        if isinstance(request, Frame) and connection is not None:
            return sockets.send(connection, request)
        return self._client_send(node_id, request, **named)

    def _poll(self, timeout_ms: float | None = None, future: Any = None) -> None:
        if timeout_ms is None or future is not None:
            self._client_poll(timeout_ms=timeout_ms, future=future)
        else:
            sockets.serve(self._net, timeout_ms / 1000)

    def _serves(self, node_id: int | None) -> bool:
        connection = self._client._manager._conns.get(node_id)
        if connection is None or not connection.connected or connection.paused:
            return False
        known = self._served.get(node_id)
        if known is None or known[0] is not connection:
            version = connection.broker_version_data.api_version(
                ProduceRequest, max_version=PRODUCE_VERSION
            )
            known = self._served[node_id] = connection, version == PRODUCE_VERSION
        return known[1]

    def _request(self, node_id: int, acks: int, timeout_ms: int, batches: list[Any]) -> Frame | Any:
        if acks == 0 or not self._serves(node_id):
            return self._produce_request(node_id, acks, timeout_ms, batches)
        topics: dict[str, list[tuple[int, bytearray]]] = {}
        for batch in batches:
            topic, partition = batch.topic_partition
            topics.setdefault(topic, []).append((partition, batch.records.buffer()))
        name = None if self._transactions is None else self._transactions.transactional_id
        return encode_produce(name, acks, timeout_ms, topics)


_READS = {
    (Sender, "run"): ("run_once",),
    (Sender, "initiate_close"): ("wakeup",),
    (Sender, "run_once"): ("_send_producer_data", "poll"),
    (Sender, "_send_producer_data"): (
        "_create_produce_requests", "_handle_produce_response", "_failed_produce", "is_ready",
        "_in_flight_batches", "heappush", "created",
    ),
    (Sender, "_maybe_remove_from_inflight_batches"): ("_in_flight_batches", "created"),
    (Sender, "_create_produce_requests"): ("_produce_request",),
    (Sender, "_produce_request"): ("topic_partition", "buffer", "transactional_id"),
    (Sender, "_handle_produce_response"): ("responses", "partition_responses", "index", "name"),
    (Sender, "_complete_batch"): ("error_code", "base_offset", "log_append_time_ms"),
    (RecordAccumulator, "has_undrained"): ("_batches",),
    (RecordAccumulator, "ready"): ("muted", "leader_for_partition", "attempts"),
    (RecordAccumulator, "drain_batches_for_one_node"): (
        "_tp_lock", "popleft", "set_producer_state", "sequence_number", "is_transactional",
        "increment_sequence_number", "next_offset", "close", "drained", "size_in_bytes",
    ),
    (TransactionManager, "init_producer_id"): ("_current_state",),
    (TransactionManager, "_complete_epoch_bump"): ("READY",),
    (TransactionManager, "has_producer_id"): ("producer_id_and_epoch", "is_valid"),
    (TransactionManager, "_enqueue_request"): ("_pending_requests",),
    (RecordAccumulator, "next_expiry_time_ms"): ("_next_batch_expiry_time_ms",),
    (KafkaNetClient, "send"): ("_manager",),
    (KafkaNetClient, "in_flight_request_count"): ("_conns",),
    (KafkaConnection, "send_request"): ("initializing", "_reauth", "is_reauthenticating"),
    (KafkaTCPTransport, "write"): ("_write_buffer",),
}  # fmt: skip
"""The code that uses our replacements, and the names it uses."""


def incompatibilities() -> list[str]:
    """Return one sentence for each part of kafka-python that has moved."""
    return sockets.incompatibilities() + compatible.incompatibilities(_READS, {}, {})
