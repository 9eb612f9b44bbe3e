"""Sends requests of bytes and takes their answers, without a task of kafka-python's loop.

May touch kafka-python's inside; must not know the content. While records trickle in, the loop's
tasks, timers and buffers take longer than all work on the records. Unusual cases, such as a partial
answer, a connection that is being opened, or TLS, are left to the loop, which finds the state that
it would have left itself.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import select
import selectors
import struct
import time
from typing import Any

from kafka import errors as kafka_errors
from kafka.future import Future
from kafka.net.connection import KafkaConnection
from kafka.net.selector import NetworkSelector, Task, TaskState
from kafka.net.transport import KafkaTCPTransport
from kafka.protocol.frame import KafkaBytes
from kafka.protocol.parser import KafkaProtocol

from ewma_ops.connectors.client import compatible
from ewma_ops.connectors.client.frames import BODY_AT, Frame
from ewma_ops.connectors.client.network import Selector

__all__ = ["incompatibilities", "send", "serve", "take"]

_HEAD = struct.Struct(">iiB")  # length of the answer, correlation id, tags
_LENGTH_BYTES = 4
_EPOLLIN = getattr(select, "EPOLLIN", 0)
_HAS_EPOLL = hasattr(selectors, "EpollSelector")

_NO_TIMER = Task(lambda: None)
_NO_TIMER.state = TaskState.DONE
"""Replaces the timer of each request: one timer for all requests of a connection."""


def send(connection: KafkaConnection, frame: Frame) -> Any:
    """Send a request as ``KafkaConnection.send_request`` would; return kafka-python's future."""
    transport, parser = connection.transport, connection.parser
    if (
        type(transport) is not KafkaTCPTransport
        or not connection.connected
        or connection.paused
        or connection._reauth.is_reauthenticating
        or parser.bytes_to_send
        or transport._closed
        or not transport._write
    ):
        return connection.send_request(frame)
    future, now = Future(), time.monotonic()
    correlation_id = parser._next_correlation_id()
    frame.with_header(correlation_id, parser._client_id)
    data = frame.encode(framed=True, header=True)
    timeout_at = connection._timeout_at(now)
    parser.in_flight_requests.append(frame)
    in_flight = connection.in_flight_requests
    in_flight.append((correlation_id, future, now, timeout_at, _NO_TIMER))
    if not hasattr(connection, "_watched"):
        connection._watched = True
        connection.net.call_at(timeout_at, lambda: _look_after(connection))
    transport.write(data)
    if len(in_flight) >= connection.config["max_in_flight_requests_per_connection"]:
        connection.pause("max_in_flight")
    return future


def _look_after(connection: KafkaConnection) -> None:
    """Close a connection whose oldest answer is overdue; else check again when it would be."""
    if connection.closed:
        return
    oldest = next(iter(connection.in_flight_requests), None)
    now = time.monotonic()
    if oldest is None:
        at = connection._timeout_at(now)
    else:
        _, future, sent_at, at, timer = oldest
        if timer is _NO_TIMER and at <= now:
            connection._request_timed_out(future, sent_at, at)
            return
    connection.net.call_at(max(at, now), lambda: _look_after(connection))


def serve(net: NetworkSelector, timeout_s: float) -> None:
    """Wait up to ``timeout_s`` for answers and take them, as a turn of the loop does."""
    selector = net._selector
    if net._ready or not _HAS_EPOLL or not isinstance(selector, Selector):
        net._poll_once(timeout_s)
        return
    if net._scheduled:
        due_s = net._scheduled[0][0] - time.monotonic()
        if due_s <= 0:
            net._poll_once(0)
            return
        timeout_s = min(timeout_s, due_s)
    came = selector.came(timeout_s)
    transports = [selector.transport_of(fd) if event == _EPOLLIN else None for fd, event in came]
    if None in transports:
        net._poll_once(0)  # the kernel reports it the same way
        return
    for transport in transports:
        _receive(transport)


def take(connection: KafkaConnection) -> bool:
    """Take the answers that have come; return False, with nothing done, to leave it to the loop."""
    transport = connection.transport
    if type(transport) is not KafkaTCPTransport or not connection.connected:
        return False
    if transport._closed or not transport._read:
        return False
    _receive(transport)
    return True


def _receive(transport: Any) -> None:
    """Take what has come on a connection, as its waiting task would."""
    data, error = transport._sock_recv()
    if error is not None:
        transport.abort(error=error)
        return
    if not len(data):
        return
    transport.last_read = time.monotonic()
    connection = transport._protocol
    if connection is None or _take_answer(connection, data):
        return
    try:
        connection.data_received(data)
    except kafka_errors.KafkaProtocolError as damaged:
        transport.abort(error=damaged)


def _take_answer(connection: KafkaConnection, data: memoryview) -> bool:
    """Take a single whole answer to a request of bytes; return whether it was one."""
    parser, in_flight = connection.parser, connection.in_flight_requests
    asked = parser.in_flight_requests
    if parser._receiving or parser._header.tell() or not asked or not in_flight:
        return False
    frame = asked[0]
    if type(frame) is not Frame or len(data) < _HEAD.size or connection.closed:
        return False
    size, correlation_id, tags = _HEAD.unpack_from(data)
    if size + _LENGTH_BYTES != len(data) or tags:
        return False
    if not correlation_id == frame.correlation_id == in_flight[0][0]:
        return False
    parser._validate_frame_size(size)
    answer = KafkaBytes(0)
    answer += data[_LENGTH_BYTES:]
    answer.seek(BODY_AT)
    try:
        found = frame.decode(answer)
    except (ValueError, struct.error):  # it is met again, and reported
        return False
    asked.popleft()
    _, future, _, _, timer = in_flight.popleft()
    connection.net.cancel(timer)
    connection._maybe_throttle(found)
    future.success(found)
    if (
        "max_in_flight" in connection.paused
        and len(in_flight) < connection.config["max_in_flight_requests_per_connection"]
    ):
        connection.unpause("max_in_flight")
    connection._reauth.on_response_processed()
    return True


_READS = {
    (KafkaConnection, "send_request"): ("initializing", "_reauth", "paused", "connected"),
    (KafkaConnection, "_send_request"): (
        "parser", "call_at", "in_flight_requests", "write", "pause",
    ),
    (KafkaConnection, "_request_timed_out"): ("close",),
    (KafkaConnection, "data_received"): (
        "receive_bytes", "popleft", "cancel", "_maybe_throttle", "success", "unpause",
        "on_response_processed",
    ),
    (KafkaProtocol, "send_request"): (
        "_next_correlation_id", "_client_id", "bytes_to_send", "in_flight_requests",
    ),
    (KafkaProtocol, "receive_bytes"): ("_receiving", "_header", "_validate_frame_size"),
    (KafkaTCPTransport, "_read_from_sock"): (
        "_sock_recv", "abort", "last_read", "_protocol", "data_received",
    ),
    (NetworkSelector, "_poll_once"): ("_ready", "_schedule_tasks", "select"),
    (NetworkSelector, "_schedule_tasks"): ("_scheduled",),
    (NetworkSelector, "cancel"): ("DONE",),
}  # fmt: skip
"""The code that is replaced here, and the names it uses."""


def incompatibilities() -> list[str]:
    """Return one sentence for each part of kafka-python that has moved."""
    return compatible.incompatibilities(_READS, {}, {})
