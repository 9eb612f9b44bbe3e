"""Whether the topics that a consumer reads are still those that they were when the flow started.

Knows what the client has learned of topics, and asks brokers where that may be old; must not know
what is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from kafka import KafkaConsumer

from ewma_ops.connectors.client.connect import view_of
from ewma_ops.connectors.client.network import refreshed_at
from ewma_ops.connectors.client.topics import TopicWatch, describe_topics
from ewma_ops.connectors.inputs import InputTopics

__all__ = ["TopicsWatch"]

_log = logging.getLogger(__name__)

_SILENCE_S = 30.0
"""How long after they should have sent new metadata brokers count as silent."""
_WARN_EACH_S = 60.0
_LONGEST_STEP_S = 2.0


class TopicsWatch:
    """Notice which of a consumer's topics vanish, or are created again.

    Parameters
    ----------
    client
        The options that the consumer was connected with.
    consumer
        What reads the topics.
    inputs
        The topics, and what brokers said of them when the flow started.
    """

    def __init__(
        self, client: Mapping[str, object], consumer: KafkaConsumer, inputs: InputTopics
    ) -> None:
        self._client, self._consumer, self._optional = client, consumer, inputs.optional
        self._watches = {
            name: TopicWatch(name, topic.view, optional=inputs.optional)
            for name, topic in inputs.names.items()
        }
        self._looked_at = 0.0
        self._asked = self._answered = False
        self._silent_s, self._noted_at, self._warned_at = 0.0, time.monotonic(), 0.0
        self._refreshed_at = refreshed_at(consumer)

    def is_gone(self, topic: str) -> bool:
        """Return whether a topic is gone, and the flow goes on without it."""
        return self._watches[topic].gone

    def is_missing(self, topic: str) -> bool:
        """Return whether brokers said lately that there is no such topic."""
        return self._watches[topic].missing

    @property
    def has_news(self) -> bool:
        """Whether the client has learned something since :meth:`look`."""
        return self._looked_at != refreshed_at(self._consumer)

    def look(self) -> bool:
        """Check what the client knows of the topics; return whether one has gone since.

        Raises
        ------
        TopicError
            If one that may not go has.
        """
        self._looked_at = refreshed_at(self._consumer)
        there = self._there()
        for topic in there:
            self._watches[topic].look(view_of(self._consumer, topic), time.monotonic())
        return any(map(self.is_gone, there))

    def ask(self) -> bool:
        """Ask brokers, after an unexpected answer; return whether an optional topic has gone since.

        Its offsets then mean nothing. Errors as of :meth:`look`.
        """
        there = self._there()
        if not self._optional or not there:
            return False
        found = describe_topics(self._client, there, optional=True)
        for topic in there:
            if topic in found:
                self._watches[topic].look(found[topic], time.monotonic())
            else:
                self._watches[topic].leave()
        return any(map(self.is_gone, there))

    def note_asked(self) -> None:
        """Note that the brokers were asked for records."""
        self._asked = True

    def note_answered(self) -> None:
        """Note that records came."""
        self._answered = True

    def warn_of_silence(self) -> None:
        """Log if brokers that are asked have neither sent records nor metadata for long.

        While nothing is written to the topics, no other call fails because they are away.
        """
        now, refreshed = time.monotonic(), refreshed_at(self._consumer)
        passed_s, self._noted_at = min(now - self._noted_at, _LONGEST_STEP_S), now
        if self._answered or refreshed != self._refreshed_at:
            if self._warned_at:
                _log.warning("brokers answer again, after %.0f s", self._silent_s)
            self._refreshed_at, self._silent_s, self._warned_at = refreshed, 0.0, 0.0
        elif self._asked:
            self._silent_s += passed_s
        self._asked = self._answered = False
        due_s = self._consumer.config["metadata_max_age_ms"] / 1000 + _SILENCE_S
        if self._silent_s > due_s and now - self._warned_at > _WARN_EACH_S:
            self._warned_at = now
            _log.warning(
                "no broker has answered for %.0f s, so that nothing is read; trying again: start "
                "the brokers, or correct kafka.bootstrap_servers",
                self._silent_s,
            )

    def _there(self) -> list[str]:
        return [topic for topic in self._watches if not self.is_gone(topic)]
