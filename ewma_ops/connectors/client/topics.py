"""Look topics up, create them, and notice when one in use was deleted.

Knows what brokers say of topics; must not know what is read or written.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence

from kafka import errors as kafka_errors
from kafka.admin import NewTopic

from ewma_ops.connectors.client.connect import (
    TopicView,
    connect_admin,
    topic_settings,
    translating_errors,
)
from ewma_ops.connectors.client.options import PRODUCER, servers_of
from ewma_ops.errors import TopicError

__all__ = [
    "BATCH_BYTES",
    "KEEPS_TO_THEM",
    "TopicWatch",
    "create_topic",
    "describe_topic",
    "describe_topics",
    "largest_record",
    "listed",
    "matching_topics",
    "partition_count",
    "topic_configs",
]

_log = logging.getLogger(__name__)

_GROWN_INPUT = (
    "the new ones are read from the next start on, which `ewma run` sees to (input.discover); a "
    "series that moves to another partition may arrive out of order"
)
KEEPS_TO_THEM = (
    "where the records that it has written are; to write to all, start with a new recovery "
    "directory and another output topic"
)
"""Why a flow does not write to partitions added to its topic, and how to make it."""
_WRITE_AGAIN = (
    "To write all of them again and in order, empty it (delete it and create it once more) and "
    "start with a new recovery directory: the flow then begins where input.start says"
)

_ANSWER_TIMEOUT_S = 10.0
_MOST_LISTED = 5
_VANISHED_S = 10.0
"""How long a topic may be missing, as happens while brokers start, before it counts as deleted."""


def partition_count(client: Mapping[str, object], topic: str) -> int:
    """Return how many partitions a topic has; errors as of :func:`describe_topic`."""
    return describe_topic(client, topic).partitions


def describe_topic(client: Mapping[str, object], topic: str) -> TopicView:
    """Look a topic up: its partitions, and its id, which a later topic of that name lacks.

    Never creates it.

    Raises
    ------
    BrokerError
        If no broker answers, or there is no such topic.
    ConfigError
        If the broker refuses the user or the name, or an option is wrong.
    """
    return describe_topics(client, [topic])[topic]


def listed(topics: Iterable[str]) -> str:
    """Return the names of topics for a message; if there are many, the first ones.

    Examples
    --------
    >>> listed(["a", "b"]), listed("abcdefg")
    ("'a', 'b'", "'a', 'b', 'c', 'd', 'e' and 2 more")
    """
    names = [repr(topic) for topic in topics]
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def describe_topics(
    client: Mapping[str, object], topics: Sequence[str], *, optional: bool = False
) -> dict[str, TopicView]:
    """Look topics up all at once; errors as of :func:`describe_topic`.

    Topics that do not exist are left out, if they are ``optional``.
    """
    views: dict[str, TopicView] = {}
    absent: set[str] = set()
    with connect_admin(client) as admin:
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        while missing := [topic for topic in topics if topic not in {*views, *absent}]:
            doing = f"looking up topic {listed(missing)}"
            with translating_errors(client, doing):
                for answer in admin.describe_topics(missing):
                    topic, error = answer["name"], kafka_errors.for_code(answer["error_code"])
                    if error is kafka_errors.NoError:
                        count = len(answer["partitions"])
                        views[topic] = TopicView.of(answer.get("topic_id"), count)
                        continue
                    if error is kafka_errors.UnknownTopicOrPartitionError:
                        if optional:
                            absent.add(topic)
                            continue
                        raise _no_such_topic(client, topic, admin.list_topics())
                    passing = issubclass(error, kafka_errors.RetriableError)
                    if not passing or time.monotonic() > deadline:
                        raise error(topic)
                    time.sleep(0.1)
    return views


def matching_topics(client: Mapping[str, object], pattern: str) -> list[str]:
    """Return the topics whose whole name matches a regular expression, except Kafka's own.

    Raises
    ------
    TopicError
        If there is none.
    BrokerError, ConfigError
        As for :func:`describe_topic`.
    """
    with connect_admin(client) as admin, translating_errors(client, "listing the topics"):
        names = admin.list_topics()
    found = [n for n in names if not n.startswith("__") and re.fullmatch(pattern, n)]
    if not found:
        raise TopicError(
            f"no topic at {servers_of(client)} matches input.topic_pattern = {pattern!r}: create "
            "one, correct the pattern, or grant the user Describe on the topics"
        )
    return sorted(found)


def topic_configs(client: Mapping[str, object], topic: str, *names: str) -> dict[str, str]:
    """Return the values of some options of a topic, such as ``"max.message.bytes"``.

    Those that the brokers do not report are left out: the user may lack DescribeConfigs on the
    topic, and some brokers know no such option.

    Raises
    ------
    BrokerError, ConfigError
        If no broker answers, or an option of the connection is wrong.
    """
    doing = f"reading the options of topic {topic!r}"
    with connect_admin(client) as admin, translating_errors(client, doing):
        try:
            found = topic_settings(admin, [topic]).get(topic, {})
        except _NOT_TOLD as error:
            _log.debug("%s: %s", doing, error)
            return {}
    return {name: str(found[name]) for name in names if found.get(name) is not None}


def largest_record(client: Mapping[str, object], topic: str) -> int | None:
    """Return how many bytes a record of a topic may have: key, value and headers together.

    That is the topic's ``max.message.bytes``, or ``kafka.max_request_size`` where that is less,
    minus the overhead of a batch of one record. Whether it is compressed does not count.
    ``None`` where the brokers do not report it. Errors as of :func:`topic_configs`.
    """
    limit = topic_configs(client, topic, "max.message.bytes").get("max.message.bytes", "")
    if not limit.isdecimal():
        return None
    request_bytes = client.get("max_request_size", PRODUCER["max_request_size"])
    assert isinstance(request_bytes, int)
    return max(0, min(int(limit), request_bytes) - BATCH_BYTES)


BATCH_BYTES = 128
"""The header of a batch, 61 bytes, the numbers of a record, up to 31, and an identity, 30."""

_NOT_TOLD = (
    kafka_errors.AuthorizationError,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.IncompatibleBrokerVersion,
)


def create_topic(client: Mapping[str, object], topic: str, partitions: int) -> None:
    """Create a topic with the broker's default replication; do nothing if it exists.

    Raises
    ------
    BrokerError, ConfigError
        As for :func:`partition_count`.
    """
    new = NewTopic(topic, partitions, -1)
    with connect_admin(client) as admin, translating_errors(client, f"creating topic {topic!r}"):
        with contextlib.suppress(kafka_errors.TopicAlreadyExistsError):
            admin.create_topics([new])
        admin.wait_for_topics([topic], timeout_ms=int(_ANSWER_TIMEOUT_S * 1000))


class TopicWatch:
    """Notice when a topic vanishes, is created again, or grows while a flow uses it.

    Parameters
    ----------
    topic
        Its name.
    view
        What brokers said of it when the flow started.
    written
        Whether the flow writes to it, rather than reads it.
    optional
        Whether the flow goes on without it if it is deleted or replaced.
    """

    def __init__(
        self, topic: str, view: TopicView, *, written: bool = False, optional: bool = False
    ) -> None:
        self._topic = topic
        self._partitions = view.partitions
        self._topic_id = view.topic_id
        self._written = written
        self._optional = optional
        self.gone = False
        self._missing_since: float | None = None

    @property
    def missing(self) -> bool:
        """Whether brokers last said that there is no such topic."""
        return self._missing_since is not None

    def look(self, view: TopicView, now: float) -> None:
        """Check what brokers say of it at a time in seconds, of any clock.

        Raises
        ------
        TopicError
            If it has been missing for long, or is another topic of the same name; an optional one
            is then ``gone`` for good.
        """
        try:
            self._look(view, now)
        except TopicError:
            if not self._optional:
                raise
            self.leave()

    def leave(self) -> None:
        """Mark it as gone, and log that the flow continues without it."""
        self.gone = True
        _log.warning(
            "topic %r was deleted: the flow continues without it; its unread records are lost, and "
            "a topic created again is read as a new one",
            self._topic,
        )

    def _look(self, view: TopicView, now: float) -> None:
        if view.partitions == 0:
            self._miss(now)
            return
        self._missing_since = None
        if None not in (view.topic_id, self._topic_id) and view.topic_id != self._topic_id:
            raise self.replaced()
        if view.partitions > self._partitions:
            _log.warning(
                "topic %r has grown from %d to %d partitions: %s",
                self._topic,
                self._partitions,
                view.partitions,
                f"the flow keeps to the first ones, {KEEPS_TO_THEM}"
                if self._written
                else _GROWN_INPUT,
            )
            self._partitions = view.partitions

    def replaced(self) -> TopicError:
        """Return the error for a topic that was replaced by another one of the same name."""
        if self._written:
            return TopicError(
                f"topic {self._topic!r} was deleted and created again, or truncated, while the "
                f"flow wrote to it: records that it had are gone. {_WRITE_AGAIN}"
            )
        return TopicError(
            f"topic {self._topic!r} was deleted and created again while the flow read it: its "
            "offsets mean other records now; to read them, start with a new recovery directory"
        )

    def _miss(self, now: float) -> None:
        if self._missing_since is None:
            self._missing_since = now
        if now - self._missing_since > _VANISHED_S:
            raise TopicError(
                f"topic {self._topic!r} was deleted while the flow "
                + (
                    "wrote to it: to write all that it had again, create it and start with a new "
                    "recovery directory: the flow then begins where input.start says"
                    if self._written
                    else "read it: create it again and start with a new recovery directory"
                )
            )


def _no_such_topic(client: Mapping[str, object], topic: str, topics: Sequence[str]) -> TopicError:
    servers = servers_of(client)
    near = difflib.get_close_matches(topic, topics, 1, 0.8)  # not the input's for "x-smoothed"
    return TopicError(
        f"topic {topic!r} does not exist at {servers}"
        + (f" (did you mean {near[0]!r}?)" if near else "")
        + ": create it, for an output or dead-letter topic with `ewma check CONFIG "
        f"--create-topics`, or with kafka-topics.sh --bootstrap-server {servers} "
        f"--create --topic {topic} --partitions 4"
    )
