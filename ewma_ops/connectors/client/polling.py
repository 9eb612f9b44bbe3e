"""``KafkaConsumer.poll`` for a consumer that polls often: its upkeep now and then, not each time.

May touch kafka-python's inside; must not know connections, or what is in a record. Requests,
answers, positions and errors stay the consumer's own. What it does besides at every poll, as asking
for the group's coordinator and comparing leader epochs, takes longer than fetching one record:
it is done when the cluster's metadata has changed, and otherwise at intervals.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import contextlib
import time
from collections import defaultdict, deque
from typing import Any
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
from ewma_ops.errors import CorruptBatch
from ewma_ops.wire.batch import Columns, decode_batches
from ewma_ops.wire.layout import MAGIC, MAGIC_AT

__all__ = ["Polling", "incompatibilities"]

_UPKEEP_S = 0.5


class Polling:
    """Polls a consumer whose sockets are served by the thread that polls.

    Parameters
    ----------
    consumer
        The consumer. It must not have been told to subscribe: a group that members join has more
        upkeep than this knows.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = ref(consumer)
        self._fetcher, self._net = consumer._fetcher, consumer._net
        self._cluster, self._subscription = consumer._cluster, consumer._subscription
        self._committed = consumer.config["isolation_level"] == "read_committed"
        self._check_crcs = consumer.config["check_crcs"]
        self._upkeep_at = 0.0
        self._refreshed_at: float | None = None
        self._nodes: dict[TopicPartition, int] = {}
        """Where each partition is read: at its leader, or at a replica that this one has named."""
        self._anew: set[int] = set()
        """Nodes whose next request is kafka-python's: with partitions or leaders of now."""
        self._answers: deque[tuple[dict[TopicPartition, int], Fetched]] = deque()

    def poll(self, timeout_ms: int) -> dict[Any, list[Any]]:
        """Return what ``KafkaConsumer.poll`` would; errors as of that."""
        until = time.monotonic() + timeout_ms / 1000
        while True:
            now = time.monotonic()
            if self._answers:
                # The next fetch is sent when the caller is back: by then records have gathered
                # that it brings at once, and not the first of them alone.
                records = self._drain()
            elif now >= self._upkeep_at or self._refreshed_at != self._refreshed():
                records = self._keep_up(now)
            else:
                records, partial = self._fetcher.fetched_records()
                if not partial:
                    self._fetch()
            if records or now >= until:
                return records
            sockets.serve(self._net, max(0.0, min(until, self._upkeep_at) - now))

    def is_connected(self) -> bool:
        """Return whether all partitions are read on connections that are there.

        To connect may hold whoever polls for seconds, where a name has to be looked up.
        """
        connections = self._fetcher._manager._conns
        found = [connections.get(node) for node in set(self._nodes.values())]
        there = [connection is not None and connection.connected for connection in found]
        return bool(there) and all(there)

    def _keep_up(self, now: float) -> dict[Any, list[Any]]:
        refreshed = self._refreshed()
        self._locate()
        if refreshed != self._refreshed_at:
            self._anew = set(self._nodes.values())
        self._upkeep_at, self._refreshed_at = now + _UPKEEP_S, refreshed
        consumer = self._consumer()
        assert consumer is not None  # it is its caller who polls
        records: dict[Any, list[Any]] = consumer.poll(timeout_ms=0)
        return records

    def _locate(self) -> None:
        where = self._fetcher._select_read_replica
        self._nodes = {tp: where(tp) for tp in self._subscription.assignment}

    def _refreshed(self) -> float:
        at: float = self._cluster._last_successful_refresh_ms
        return at

    def _fetch(self) -> None:
        """Send what ``Fetcher.send_fetches`` would, without a coroutine for it."""
        fetcher = self._fetcher
        busy, manager = fetcher._nodes_with_pending_fetch_requests, fetcher._manager
        if fetcher.config["client_rack"]:  # the last answer may have named a replica nearby
            self._locate()
        nodes = set(self._nodes.values())
        if busy and nodes <= busy:
            return
        sent = []
        requests = None if nodes & self._anew else self._short_requests(busy)
        if requests is None:
            requests = fetcher._create_fetch_requests()
            self._anew -= requests.keys()
        for node_id, (request, offsets) in requests.items():
            busy.add(node_id)
            if isinstance(request, Frame):
                future = sockets.send(manager._conns[node_id], request)
            else:
                future = manager.send(request, node_id=node_id)
            future.add_callback(self._answered, node_id, offsets, time.monotonic())
            future.add_errback(fetcher._handle_fetch_error, node_id)
            future.add_both(fetcher._clear_pending_fetch_request, node_id)
            sent.append(future)
        under_way = [future for future in fetcher._fetch_futures if not future.is_done]
        fetcher._fetch_futures = deque(under_way + sent)

    def _short_requests(self, busy: set[int]) -> dict[int, tuple[Frame, dict[Any, int]]] | None:
        """Return the requests that go on with the sessions there are.

        ``None`` where that is not all there is to ask: kafka-python does it then.
        """
        fetcher, nodes = self._fetcher, self._nodes
        assignment = self._subscription.assignment
        if fetcher._completed_fetches or fetcher._next_partition_records:
            return None
        if fetcher._paused_completed_fetches or fetcher._paused_partition_records:
            return None
        offsets: dict[int, dict[TopicPartition, int]] = {}
        changed: dict[int, dict[str, list[Any]]] = {}
        for tp, state in assignment.items():
            node = nodes.get(tp)
            if node is None or not state.is_fetchable():
                return None
            if node in busy:
                continue
            handler = fetcher._session_handlers.get(node)
            known = None if handler is None else handler.session_partitions.get(tp)
            if known is None or handler.next_metadata.is_full:
                return None
            position = state._position
            offsets.setdefault(node, {})[tp] = position.offset
            topics = changed.setdefault(node, {})
            if (known.fetch_offset, known.last_fetched_epoch) != position[::2]:
                topics.setdefault(tp.topic, []).append((known, position))
        if not all(self._goes_on(node, len(own)) for node, own in offsets.items()):
            return None
        return {
            node: (self._short_request(node, topics), offsets[node])
            for node, topics in changed.items()
        }

    def _goes_on(self, node: int, partitions: int) -> bool:
        """Return whether a node's session is of so many partitions, on a connection that serves."""
        connection = self._fetcher._manager._conns.get(node)
        if connection is None or not connection.connected or connection.paused:
            return False
        if len(self._fetcher._session_handlers[node].session_partitions) != partitions:
            return False
        version: int = connection.broker_version_data.api_version(
            FetchRequest, max_version=FETCH_VERSION
        )
        return version == FETCH_VERSION

    def _short_request(self, node: int, topics: dict[str, list[Any]]) -> Frame:
        config = self._fetcher.config
        metadata = self._fetcher._session_handlers[node].next_metadata
        session = Session(
            config["fetch_max_wait_ms"],
            config["fetch_min_bytes"],
            config["fetch_max_bytes"],
            self._committed,
            metadata.session_id,
            metadata.epoch,
            config["client_rack"],
        )
        for parts in topics.values():
            for known, position in parts:
                known.fetch_offset, known.last_fetched_epoch = (
                    position.offset,
                    position.leader_epoch,
                )
        named = {topic: [known for known, _ in parts] for topic, parts in topics.items()}
        return encode_fetch(session, named, read_fetched)

    def _answered(self, node: int, offsets: dict[Any, int], sent_at: float, answer: Any) -> None:
        fetcher = self._fetcher
        if isinstance(answer, Fetched):
            handler = fetcher._session_handlers.get(node)
            tps = [TopicPartition(part.topic, part.partition) for part in answer.parts]
            if (
                handler is not None
                and answer.session_id == handler.next_metadata.session_id
                and all(tp in offsets for tp in tps)
            ):
                handler.next_metadata = handler.next_metadata.next_incremental()
                self._answers.append((offsets, answer))
                return
            answer = kafka_fetched(answer)
        fetcher._handle_fetch_response(node, offsets, sent_at, answer)

    def _drain(self) -> dict[Any, list[Any]]:
        """Return the records of short answers, as ``Fetcher.fetched_records`` does those of others.

        An answer is short enough to be taken as a whole.
        """
        assignment = self._subscription.assignment
        drained: dict[Any, list[Any]] = defaultdict(list)
        while self._answers:
            offsets, answer = self._answers[0]
            while answer.parts:
                part = answer.parts.pop(0)
                tp = TopicPartition(part.topic, part.partition)
                state = assignment.get(tp)
                # Since it was asked for it may have been left, paused, or sought elsewhere.
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
            with contextlib.suppress(CorruptBatch):  # it is met again, and told
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


_READS = {
    (KafkaConsumer, "_poll_once"): ("_coordinator", "_fetcher", "fetch_records"),
    (Fetcher, "fetch_records"): ("fetched_records", "send_fetches", "_fetch_futures"),
    (Fetcher, "_send_fetches_async"): (
        "_create_fetch_requests", "_nodes_with_pending_fetch_requests", "_manager",
        "_handle_fetch_response", "_handle_fetch_error", "_clear_pending_fetch_request",
        "_fetch_futures",
    ),
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
"""The code that `Polling` does the work of, and what it uses."""


def incompatibilities() -> list[str]:
    """Return one sentence for each thing in kafka-python that is not where it was."""
    return sockets.incompatibilities() + compatible.incompatibilities(_READS, {}, {})
