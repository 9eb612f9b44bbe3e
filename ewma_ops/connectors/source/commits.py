"""Commits durable offsets to the consumer group, for monitoring of the lag.

Nothing depends on these commits, so a failure is only logged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from ewma_ops.connectors.client.topics import listed

__all__ = ["Commits"]

_log = logging.getLogger(__name__)

_PAUSE_S = 0.5
_PATIENCE_S = 10.0
"""How long a group's coordinator may take to start before that is logged."""
_LAST_MS = 1000


class Commits:
    """Commits durable offsets of topics with the consumer that reads them; never waits.

    Parameters
    ----------
    consumer
        Of the group that offsets are committed to.
    group_id
        As for the source.
    """

    def __init__(self, consumer: KafkaConsumer, group_id: str) -> None:
        self._consumer = consumer
        self._group_id = group_id
        self._lock = threading.Lock()
        self._durable: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._committing = False
        self._refused_since: float | None = None
        self._not_before = 0.0

    def durable(self, tp: TopicPartition, offset: int) -> None:
        """Record that everything before ``offset`` is durable."""
        with self._lock:
            self._durable[tp] = offset

    def send(self) -> None:
        """Commit the recorded offsets, if no commit is under way."""
        if self._committing or time.monotonic() < self._not_before:
            return
        offsets = self._due()
        if offsets:
            self._committing = True
            try:
                self._consumer.commit_async(offsets, self._on_answer)
            except kafka_errors.KafkaError as error:
                self._on_answer(offsets, error)

    def send_last(self) -> None:
        """Commit the recorded offsets, and wait for a second at most; never raises."""
        offsets = self._due()
        if offsets:
            try:
                self._consumer.commit(offsets, timeout_ms=_LAST_MS)
            except Exception as error:  # noqa: BLE001 - logged: commits are for monitoring only
                self._on_answer(offsets, error)

    def _due(self) -> dict[TopicPartition, OffsetAndMetadata]:
        with self._lock:
            durable, self._durable = self._durable, {}
        return {
            tp: OffsetAndMetadata(offset, "", -1)
            for tp, offset in durable.items()
            if self._committed.get(tp) != offset
        }

    def _on_answer(self, offsets: Mapping[TopicPartition, Any], answer: object) -> None:
        self._committing = False
        if not isinstance(answer, Exception):
            self._refused_since = None
            self._committed.update({tp: at.offset for tp, at in offsets.items()})
        elif not self._again(offsets, answer):
            _log.warning(
                "committing offsets of topic %s to group %r failed: %s; "
                "nothing is lost, the next epoch commits again",
                listed(sorted({tp.topic for tp in offsets})),
                self._group_id,
                answer,
            )

    def _again(self, offsets: Mapping[TopicPartition, Any], error: Exception) -> bool:
        """Return whether not to log a failure yet: the group's coordinator may be starting."""
        if not isinstance(error, kafka_errors.RetriableError):
            return False
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        self._not_before = now + _PAUSE_S
        with self._lock:
            for tp, at in offsets.items():
                self._durable.setdefault(tp, at.offset)
        return now < self._refused_since + _PATIENCE_S
