"""``KafkaConsumer.poll`` for frequent polls: housekeeping now and then, not each time.

May touch kafka-python's inside; must not know connections, or what is in a record. Requests,
answers, positions and errors stay the consumer's own. Its housekeeping at every poll, such as
looking up the group's coordinator and comparing leader epochs, takes longer than fetching one
record: it is done when the cluster's metadata has changed, and otherwise at intervals.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import contextlib
import time
from collections import defaultdict, deque
from typing import Any, NamedTuple
from weakref import ref

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.fetcher import Fetcher, FetchSessionHandler
from kafka.net.connection import KafkaConnection
from kafka.net.selector import NetworkSelector
from kafka.protocol.consumer import FetchRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.record.memory_records import MemoryRecords

from ewma_ops.connectors.client import compatible, runs_in, sockets
from ewma_ops.connectors.client.frames import (
    FETCH_VERSION,
    Fetched,
    Frame,
    Session,
    encode_fetch,
    kafka_fetched,
    read_fetched,
)
from ewma_ops.connectors.client.network import refreshed_at
from ewma_ops.errors import CorruptBatch
from ewma_ops.wire.batch import Columns, decode_batches
from ewma_ops.wire.layout import MAGIC, MAGIC_AT

__all__ = ["Polling", "incompatibilities"]

_UPKEEP_S = 0.5


class _Reader(NamedTuple):
    """An open fetch session: its connection, and its partitions as the broker knows them."""

    connection: KafkaConnection
    handler: FetchSessionHandler
    parts: list[tuple[TopicPartition, Any, Any]]
    """Each with the consumer's state, and the last request for it."""


class Polling:
    """Polls a consumer whose sockets the polling thread serves.

    Parameters
    ----------
    consumer
        The consumer. It must not have subscribed: membership in a group needs more housekeeping
        than this does.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = ref(consumer)
        self._fetcher, self._net = consumer._fetcher, consumer._net
        self._subscription = consumer._subscription
        self._committed = consumer.config["isolation_level"] == "read_committed"
        self._check_crcs = consumer.config["check_crcs"]
        self._upkeep_at = 0.0
        self._refreshed_at: float | None = None
        self._nodes: dict[TopicPartition, int] = {}
        """The node that each partition is read from: its leader, or a replica named by the
        leader."""
        self._asked: set[int] = set()
        """Those nodes."""
        self._anew: set[int] = set()
        """Nodes whose next request kafka-python makes, because partitions or leaders changed."""
        self._readers: dict[int, _Reader] | None = None
        """The sessions of all nodes, while only positions change."""
        self._answers: deque[tuple[dict[TopicPartition, int], Fetched]] = deque()

    def poll(self, timeout_ms: int) -> dict[Any, list[Any]]:
        """Return what ``KafkaConsumer.poll`` would, with the same errors."""
        until = time.monotonic() + timeout_ms / 1000
        while True:
            now = time.monotonic()
            if self._answers:
                # The next fetch is sent at the next call: by then several records have gathered,
                # and it brings all of them at once.
                records = self._drain()
            elif now >= self._upkeep_at or self._refreshed_at != refreshed_at(self._consumer()):
                records = self._keep_up(now)
            else:
                records = self._go_on()
            if records or now >= until:
                return records
            sockets.serve(self._net, max(0.0, min(until, self._upkeep_at) - now))

    def is_connected(self) -> bool:
        """Return whether all partitions are read on open connections.

        Connecting may block the caller for seconds while a name is looked up.
        """
        connections = self._fetcher._manager._conns
        found = [connections.get(node) for node in self._asked]
        there = [connection is not None and connection.connected for connection in found]
        return bool(there) and all(there)

    def _keep_up(self, now: float) -> dict[Any, list[Any]]:
        """Do the housekeeping of ``KafkaConsumer._poll_once``."""
        consumer = self._consumer()
        assert consumer is not None  # its caller polls
        refreshed = refreshed_at(consumer)
        self._locate()
        if refreshed != self._refreshed_at:
            self._anew = set(self._asked)
        self._upkeep_at, self._refreshed_at = now + _UPKEEP_S, refreshed
        if not consumer._coordinator.poll(timeout_ms=0):
            return {}
        consumer._refresh_committed_offsets(timeout_ms=0)
        self._fetcher.reset_offsets_if_needed()
        self._fetcher.maybe_validate_positions()
        self._fetcher.validate_offsets_if_needed()
        return self._go_on()

    def _go_on(self) -> dict[Any, list[Any]]:
        """Return what kafka-python has fetched, and fetch again once nothing of it is left."""
        records: dict[Any, list[Any]] = {}
        partial = False
        if self._holds():
            records, partial = self._fetcher.fetched_records()
        if not partial:
            self._fetch()
        return records

    def _holds(self) -> bool:
        """Return whether kafka-python holds fetched records, or an error, not taken yet."""
        fetcher = self._fetcher
        return bool(
            fetcher._completed_fetches
            or fetcher._next_partition_records
            or fetcher._paused_completed_fetches
            or fetcher._paused_partition_records
            or fetcher._next_in_line_exception_metadata
        )

    def _locate(self) -> None:
        where = self._fetcher._select_read_replica
        self._nodes = {tp: where(tp) for tp in self._subscription.assignment}
        self._asked, self._readers = set(self._nodes.values()), None

    def _fetch(self) -> None:
        """Send what ``Fetcher.send_fetches`` would, without a coroutine for it."""
        busy = self._fetcher._nodes_with_pending_fetch_requests
        if self._fetcher.config["client_rack"]:  # the last answer may have named a nearby replica
            self._locate()
        if busy and self._asked <= busy:
            return
        requests = None if self._asked & self._anew else self._short_requests(busy)
        if requests is None:
            self._fetch_anew(busy)
            return
        for node, reader, offsets, changed in requests:
            busy.add(node)
            future = sockets.send(reader.connection, self._short_request(reader, changed))
            future.add_callback(self._answered, node, offsets, time.monotonic())
            future.add_errback(self._failed, node)

    def _fetch_anew(self, busy: set[int]) -> None:
        fetcher, self._readers = self._fetcher, None
        requests = fetcher._create_fetch_requests()
        self._anew -= requests.keys()
        for node, (request, offsets) in requests.items():
            busy.add(node)
            future = fetcher._manager.send(request, node_id=node)
            future.add_callback(self._answered, node, offsets, time.monotonic())
            future.add_errback(self._failed, node)

    def _short_requests(self, busy: set[int]) -> list[_Request] | None:
        """Return the requests that continue the sessions of all nodes that are not busy.

        ``None`` if that does not cover all partitions: kafka-python does it then.
        """
        assignment = self._subscription.assignment
        if self._readers is None:
            self._readers = self._find_readers()
        if self._readers is None or self._holds():
            return None
        if sum(len(reader.parts) for reader in self._readers.values()) != len(assignment):
            return None
        requests: list[_Request] = []
        for node, reader in self._readers.items():
            if node in busy:
                continue
            connection = reader.connection
            if (
                not connection.connected
                or connection.paused
                or reader.handler.next_metadata.is_full
            ):
                return None
            offsets: dict[TopicPartition, int] = {}
            changed: dict[str, list[Any]] = {}
            for tp, state, known in reader.parts:
                if assignment.get(tp) is not state or not state.is_fetchable():
                    return None
                position = state._position
                offsets[tp] = position.offset
                if (known.fetch_offset, known.last_fetched_epoch) != position[::2]:
                    changed.setdefault(tp.topic, []).append((known, position))
            requests.append((node, reader, offsets, changed))
        return requests

    def _find_readers(self) -> dict[int, _Reader] | None:
        """Return the sessions with exactly the current partitions, on working connections."""
        fetcher = self._fetcher
        readers: dict[int, _Reader] = {}
        for tp, state in self._subscription.assignment.items():
            node = self._nodes.get(tp)
            handler = fetcher._session_handlers.get(node)
            known = None if handler is None else handler.session_partitions.get(tp)
            connection = fetcher._manager._conns.get(node)
            if node is None or known is None or connection is None or not connection.connected:
                return None
            readers.setdefault(node, _Reader(connection, handler, [])).parts.append(
                (tp, state, known)
            )
        for connection, handler, parts in readers.values():
            version: int = connection.broker_version_data.api_version(
                FetchRequest, max_version=FETCH_VERSION
            )
            if version != FETCH_VERSION or len(handler.session_partitions) != len(parts):
                return None
        return readers

    def _short_request(self, reader: _Reader, changed: dict[str, list[Any]]) -> Frame:
        config = self._fetcher.config
        metadata = reader.handler.next_metadata
        session = Session(
            config["fetch_max_wait_ms"],
            config["fetch_min_bytes"],
            config["fetch_max_bytes"],
            self._committed,
            metadata.session_id,
            metadata.epoch,
            config["client_rack"],
        )
        named: dict[str, list[Any]] = {}
        for topic, parts in changed.items():
            for known, position in parts:
                known.fetch_offset, known.last_fetched_epoch = position[::2]
            named[topic] = [known for known, _ in parts]
        return encode_fetch(session, named, read_fetched)

    def _answered(self, node: int, offsets: dict[Any, int], sent_at: float, answer: Any) -> None:
        fetcher = self._fetcher
        fetcher._nodes_with_pending_fetch_requests.discard(node)
        if isinstance(answer, Fetched):
            handler = fetcher._session_handlers.get(node)
            if (
                handler is not None
                and answer.session_id == handler.next_metadata.session_id
                and all((part.topic, part.partition) in offsets for part in answer.parts)
            ):
                handler.next_metadata = handler.next_metadata.next_incremental()
                self._answers.append((offsets, answer))
                return
            answer = kafka_fetched(answer)
        fetcher._handle_fetch_response(node, offsets, sent_at, answer)

    def _failed(self, node: int, error: Exception) -> None:
        self._fetcher._nodes_with_pending_fetch_requests.discard(node)
        self._fetcher._handle_fetch_error(node, error)

    def _drain(self) -> dict[Any, list[Any]]:
        """Return the records of short answers, as ``Fetcher.fetched_records`` does for others.

        A short answer is taken as a whole.
        """
        assignment = self._subscription.assignment
        drained: dict[Any, list[Any]] = defaultdict(list)
        while self._answers:
            offsets, answer = self._answers[0]
            while answer.parts:
                part = answer.parts.pop(0)
                tp = TopicPartition(part.topic, part.partition)
                state = assignment.get(tp)
                # Since the request the partition may have been unassigned, paused, or repositioned.
                if state is None or not state.is_fetchable():
                    continue
                if state._position.offset != offsets[tp]:
                    continue
                stable = part.last_stable_offset
                decided = self._committed and 0 <= stable < part.high_watermark
                state.highwater = stable if decided else part.high_watermark
                if part.records:
                    self._take(tp, state, part.records, drained)
            self._answers.popleft()
        return dict(drained)

    def _take(self, tp: Any, state: Any, records: bytes, drained: dict[Any, list[Any]]) -> None:
        offset = state._position.offset
        runs: list[Columns] = []
        if len(records) > MAGIC_AT and records[MAGIC_AT] == MAGIC:
            with contextlib.suppress(CorruptBatch):  # it is met again, and reported
                runs = list(decode_batches(records, offset, check_crc=self._check_crcs))
        if runs:
            epoch = runs_in.last_epoch(records)
            state._position = OffsetAndMetadata(runs[-1].next_offset, "", epoch)
            if found := [run for run in runs if len(run.values)]:
                drained[tp] += found
            return
        fetcher = self._fetcher
        taken = fetcher.PartitionRecords(
            offset,
            tp,
            MemoryRecords(records),
            check_crcs=self._check_crcs,
            isolation_level=fetcher._isolation_level,
            aborted_transactions=[],
            on_drain=fetcher._on_partition_records_drain,
        )
        while taken:
            fetcher._append(drained, taken, fetcher.config["max_poll_records"], True)


_Request = tuple[int, _Reader, dict[TopicPartition, int], dict[str, list[Any]]]
"""Node, session, the offset of each of its partitions, and what has changed of them by topic."""

_READS = {
    (KafkaConsumer, "_poll_once"): (
        "_coordinator", "poll", "_refresh_committed_offsets", "reset_offsets_if_needed",
        "maybe_validate_positions", "validate_offsets_if_needed", "_fetcher", "fetch_records",
    ),
    (Fetcher, "fetch_records"): ("fetched_records", "send_fetches"),
    (Fetcher, "fetched_records"): (
        "_next_in_line_exception_metadata", "_paused_completed_fetches",
        "_paused_partition_records", "_next_partition_records", "_completed_fetches",
    ),
    (Fetcher, "_send_fetches_async"): (
        "_create_fetch_requests", "_nodes_with_pending_fetch_requests", "_manager",
        "_handle_fetch_response", "_handle_fetch_error", "_clear_pending_fetch_request",
    ),
    (Fetcher, "_clear_pending_fetch_request"): ("_nodes_with_pending_fetch_requests",),
    (Fetcher, "_create_fetch_requests"): (
        "_nodes_with_pending_fetch_requests", "_fetchable_partitions", "_session_handlers",
        "leader_epoch_for_partition", "_select_read_replica",
    ),
    (Fetcher, "_handle_fetch_response"): ("_session_handlers", "handle_response"),
    (Fetcher, "_parse_fetched_data"): ("highwater", "position", "PartitionRecords"),
    (Fetcher, "_append"): ("is_fetchable", "position", "take"),
    (FetchSessionHandler, "build_next"): ("session_partitions", "next_metadata", "is_full"),
    (FetchSessionHandler, "handle_response"): ("next_incremental", "session_id"),
    (KafkaConnection, "_send_request"): ("API_VERSION", "send_request", "expect_response"),
    (KafkaProtocol, "send_request"): ("with_header", "encode", "expect_response", "header"),
    (KafkaProtocol, "_process_response"): (
        "correlation_id", "get_response_class", "parse_header", "decode",
    ),
    (NetworkSelector, "poll"): ("_poll_once",),
}  # fmt: skip
"""The code that `Polling` replaces, and the names it uses."""


def incompatibilities() -> list[str]:
    """Return one sentence for each part of kafka-python that has moved."""
    return sockets.incompatibilities() + compatible.incompatibilities(_READS, {}, {})
