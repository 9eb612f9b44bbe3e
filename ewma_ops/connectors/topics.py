"""What topics there are, and how to make one.

Knows the admin client's questions; must not know what is read or written.
"""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Mapping, Sequence

from kafka import errors as kafka_errors
from kafka.admin import NewTopic

from ewma_ops.connectors.client import TopicView, connect_admin, servers_of, speaking_to
from ewma_ops.errors import TopicError

__all__ = ["create_topic", "look_up", "partition_count"]

_ANSWER_TIMEOUT_S = 10.0


def partition_count(client: Mapping[str, object], topic: str) -> int:
    """Return how many partitions a topic has; errors as of :func:`look_up`."""
    return look_up(client, topic).partitions


def look_up(client: Mapping[str, object], topic: str) -> TopicView:
    """Ask for a topic: its partitions, and the id that tells it from a later one of its name.

    Never creates it.

    Raises
    ------
    BrokerError
        If no broker answers, or there is no such topic.
    ConfigError
        If the broker refuses the user or the name, or an option is wrong.
    """
    with connect_admin(client) as admin, speaking_to(client, f"looking up topic {topic!r}"):
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        while True:
            answer = admin.describe_topics([topic])[0]
            error = kafka_errors.for_code(answer["error_code"])
            if error is kafka_errors.NoError:
                return TopicView(answer.get("topic_id"), len(answer["partitions"]))
            if error is kafka_errors.UnknownTopicOrPartitionError:
                raise _no_such_topic(client, topic, admin.list_topics())
            if not issubclass(error, kafka_errors.RetriableError) or time.monotonic() > deadline:
                raise error(topic)
            time.sleep(0.1)


def create_topic(client: Mapping[str, object], topic: str, partitions: int) -> None:
    """Create a topic, replicated as the broker does by default; do nothing if it exists.

    Raises
    ------
    BrokerError, ConfigError
        As of :func:`partition_count`.
    """
    new = NewTopic(topic, partitions, -1)
    with connect_admin(client) as admin, speaking_to(client, f"creating topic {topic!r}"):
        with contextlib.suppress(kafka_errors.TopicAlreadyExistsError):
            admin.create_topics([new])
        admin.wait_for_topics([topic], timeout_ms=int(_ANSWER_TIMEOUT_S * 1000))


def _no_such_topic(client: Mapping[str, object], topic: str, topics: Sequence[str]) -> TopicError:
    servers = servers_of(client)
    near = difflib.get_close_matches(topic, topics, 1)
    return TopicError(
        f"topic {topic!r} does not exist at {servers}"
        + (f" (did you mean {near[0]!r}?)" if near else "")
        + ": create it, for an output or dead-letter topic with `ewma check CONFIG "
        f"--create-topics`, or with kafka-topics.sh --bootstrap-server {servers} "
        f"--create --topic {topic} --partitions 4"
    )
