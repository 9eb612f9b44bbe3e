"""The sender of ``KafkaProducer`` with short ways for what it does at every request.

May touch kafka-python's inside; must not know connections, or what is in a record. Queues,
sequence numbers, retries and time-outs stay the producer's own.

While little is written the thread that writes does what the sender's own thread would, which only
looks in once a second: to wake that one for each request, and again for the answer, costs more than
the requests. Where somebody waits for answers, or much is written, the thread is called back; and
where the loop has several steps to take, as to connect or to authenticate again.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import logging
import threading
import time
from typing import Any
from weakref import WeakKeyDictionary

from kafka import KafkaProducer
from kafka.net.compat import KafkaNetClient
from kafka.net.connection import KafkaConnection
from kafka.net.transport import KafkaTCPTransport
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.producer.sender import Sender
from kafka.protocol.producer import ProduceRequest

from ewma_ops.connectors.client import compatible, sockets
from ewma_ops.connectors.client.frames import PRODUCE_VERSION, Frame, encode_produce

__all__ = ["Sending", "incompatibilities"]

_log = logging.getLogger(__name__)

_LONGEST_WAIT_MS = 1000.0
_LOOKS_IN_S = 1.0


class Sending:
    """Has a producer's sender make requests of bytes, in one of two threads.

    Parameters
    ----------
    producer
        The producer; it has sent nothing yet.
    """

    def __init__(self, producer: KafkaProducer) -> None:
        self._sender = sender = producer._sender
        self._accumulator, self._client = sender._accumulator, sender._client
        self._net = self._client._net
        self._transactions = sender._transaction_manager
        self._serving = threading.Lock()  # held by whoever serves the sockets
        self._asked = self._lent = self._at_once = False
        self._called_back = threading.Event()
        self._served: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
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
        """Send what there is, and take what answers have come, in this thread if that may be.

        Else the sender's own thread is woken. Returns whether this is to be called again, since
        answers are still to come.
        """
        if not self._lent:
            self._asked = True
            self._wake()
            return False
        if self._serving.acquire(blocking=False):  # else its own thread looks in: let it go on
            try:
                if self._lent and self._serve_here():
                    return bool(self._client.in_flight_request_count())
            finally:
                self._serving.release()
        self.call_back()
        return False

    def _serve_here(self) -> bool:
        """Do what there is to do now; return whether nothing is left but to wait for answers."""
        if self._accumulator.has_undrained():
            self._serve_at_once()
        else:
            sockets.serve(self._net, 0.0)
        if self._has_steps_to_take():  # as where TLS waits until it can write
            sockets.serve(self._net, 0.0)
        return not (self._accumulator.has_undrained() or self._has_steps_to_take())

    def call_back(self) -> None:
        """Have the sender's own thread serve, at once."""
        self._asked = False
        if self._lent:
            self._lent = False
            self._called_back.set()
        else:
            self._wake()

    def _run(self) -> None:
        """Do what is the sender's to do: called by its own thread, again and again."""
        if self._lent and not self._called_back.wait(_LOOKS_IN_S):
            with self._serving:
                self._serve_at_once()
                if self._accumulator.has_undrained() or self._has_steps_to_take():
                    self._lent = False
            return
        self._lent = False
        self._called_back.clear()
        with self._serving:
            self._run_once()
        # What this thread has sent it takes the answer to: nobody else was told of that.
        waits = self._has_steps_to_take() or self._client.in_flight_request_count()
        if self._asked and not self._transactional and not waits:
            self._lent = True
            # Whoever has come since saw that it was not, and leaves it to this thread.
            if not self._asked or self._accumulator.has_undrained():
                self._lent = False

    @property
    def _transactional(self) -> bool:
        return self._transactions is not None and self._transactions.is_transactional()

    def _has_steps_to_take(self) -> bool:
        """Return whether the loop is to go on soon, and perhaps several times."""
        return bool(self._net._ready) or any(
            connection.initializing
            or connection._reauth.is_reauthenticating
            or (connection.transport is not None and connection.transport._write_buffer)
            for connection in self._client._manager._conns.values()
        )

    def _serve_at_once(self) -> None:
        self._at_once = True
        try:
            self._run_once()
        except Exception:  # noqa: BLE001 - as its own thread does: a bug there ends no flow
            _log.exception("serving a Kafka producer failed")
            self._lent = False
        finally:
            self._at_once = False

    def _send(self, now: float | None = None) -> float:
        wait_ms: float = self._send_data(now)
        if self._at_once:
            return 0.0
        # It would look a second time whether there is more to send, each time.
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

    def _serves(self, node_id: int) -> bool:
        connection = self._client._manager._conns.get(node_id)
        if connection is None or not connection.connected:
            return False
        if connection not in self._served:
            version = connection.broker_version_data.api_version(
                ProduceRequest, max_version=PRODUCE_VERSION
            )
            self._served[connection] = version == PRODUCE_VERSION
        return self._served[connection]

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
    (Sender, "_send_producer_data"): ("_create_produce_requests", "_handle_produce_response"),
    (Sender, "_create_produce_requests"): ("_produce_request",),
    (Sender, "_produce_request"): ("topic_partition", "buffer", "transactional_id"),
    (Sender, "_handle_produce_response"): ("responses", "partition_responses", "index", "name"),
    (Sender, "_complete_batch"): ("error_code", "base_offset", "log_append_time_ms"),
    (RecordAccumulator, "has_undrained"): ("_batches",),
    (RecordAccumulator, "next_expiry_time_ms"): ("_next_batch_expiry_time_ms",),
    (KafkaNetClient, "send"): ("_manager",),
    (KafkaNetClient, "in_flight_request_count"): ("_conns",),
    (KafkaConnection, "send_request"): ("initializing", "_reauth", "is_reauthenticating"),
    (KafkaTCPTransport, "write"): ("_write_buffer",),
}  # fmt: skip
"""The code that meets what is put in its place here, and what it uses of it."""


def incompatibilities() -> list[str]:
    """Return one sentence for each thing in kafka-python that is not where it was."""
    return sockets.incompatibilities() + compatible.incompatibilities(_READS, {}, {})
