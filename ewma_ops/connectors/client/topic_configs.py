"""Configuration of topics, and the settings that break the flow's promises.

Knows the settings of topics that affect delivery; must not know what is read or written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from kafka import errors as kafka_errors

from ewma_ops.connectors.client.connect import connect_admin, topic_settings, translating_errors
from ewma_ops.connectors.client.options import servers_of
from ewma_ops.connectors.client.topics import BATCH_BYTES
from ewma_ops.errors import ConfigError
from ewma_ops.secrets.masking import masked

__all__ = ["Concern", "Use", "concerns", "refuse_or_warn"]

_log = logging.getLogger(__name__)

SHORT_RETENTION_MS = 3_600_000
"""A restart may take an hour: somebody has to notice the failure and repair it."""

_HOUR_MS = 3_600_000
_warned: set[str] = set()


class Use(NamedTuple):
    """The use of a topic; ``exact`` is whether its events must be there exactly once.

    ``largest_bytes`` is what the largest record needs, and ``smaller`` how to reduce that.
    """

    topic: str
    role: Literal["input", "output", "dead letters", "alarms"]
    exact: bool = False
    record_time: bool = False
    largest_bytes: int = 0
    smaller: str = ""


class Concern(NamedTuple):
    """A problem of a topic; a ``grave`` one breaks a promise, others weaken one."""

    text: str
    grave: bool = False


def concerns(client: Mapping[str, object], uses: list[Use]) -> list[Concern]:
    """Ask for the settings of topics, and return the problems with them.

    If a broker does not answer, because the user lacks permission or it does not know the request,
    one concern says what was not checked. Missing topics are not reported here.

    Raises
    ------
    BrokerError, ConfigError
        If no broker answers, or the broker refuses the user or an option is wrong.
    """
    with connect_admin(client) as admin:
        try:
            with translating_errors(client, "looking up topics"):
                found = admin.describe_topics([use.topic for use in uses])
                brokers = len(admin.describe_cluster()["brokers"])
            settings = topic_settings(admin, [use.topic for use in uses])
        except (kafka_errors.KafkaError, KeyError, TypeError, ValueError, RuntimeError) as error:
            return [_unknown(uses, masked(f"{type(error).__name__}: {error}"))]
    replicas = {
        topic["name"]: min((len(part["replica_nodes"]) for part in topic["partitions"]), default=0)
        for topic in found
        if not topic["error_code"]
    }
    concerns: list[Concern] = []
    for use in uses:
        own = settings.get(use.topic)
        if own is not None and use.topic in replicas:
            concerns += _of_cleanup(client, use, own)
            concerns += _of_replicas(use, own, replicas[use.topic], brokers)
            concerns += _of_sizes(client, use, own)
    return concerns


def refuse_or_warn(client: Mapping[str, object], uses: list[Use]) -> None:
    """Raise grave problems, and log the rest once per process; errors as for :func:`concerns`."""
    for concern in sorted(concerns(client, uses), key=lambda concern: not concern.grave):
        if concern.grave:
            raise ConfigError(concern.text)
        if concern.text not in _warned:
            _warned.add(concern.text)
            _log.warning("%s", concern.text)


def _unknown(uses: list[Use], why: str) -> Concern:
    topics = ", ".join(use.topic for use in uses)
    return Concern(
        f"the settings of {topics} are not checked (cleanup.policy, retention.ms, "
        "min.insync.replicas), because the broker does not report them; grant the user "
        f"DescribeConfigs on these topics ({why})"
    )


def _of_cleanup(
    client: Mapping[str, object], use: Use, settings: Mapping[str, str | None]
) -> Iterator[Concern]:
    compacted = "compact" in (settings.get("cleanup.policy") or "")
    if compacted and use.exact:
        table = use.role.replace(" ", "_")
        yield Concern(
            f"topic {use.topic!r} ({table}.topic) is compacted: events are removed from it, and "
            "cannot be distinguished from missing ones after a restart. Run kafka-configs.sh "
            "--bootstrap-server "
            f"{servers_of(client)} --alter --entity-type topics --entity-name {use.topic} "
            "--add-config cleanup.policy=delete, or name another topic, or set output.delivery = "
            '"at-least-once" for a job that starts over',
            grave=True,
        )
    elif compacted and use.role == "input":
        yield Concern(
            f"topic {use.topic!r} (input.topic) is compacted: readings that are not read in time "
            "are removed, and `ewma verify` cannot recompute the values of the others"
        )
    retention_ms = int(settings.get("retention.ms") or -1)
    if 0 <= retention_ms < SHORT_RETENTION_MS and (use.exact or use.role == "input"):
        lost = "readings are lost" if use.role == "input" else "events may be written twice"
        yield Concern(
            f"topic {use.topic!r} keeps its records for {retention_ms / _HOUR_MS:.3g} h "
            f"(retention.ms = {retention_ms}): if the flow is down for longer, {lost}; set "
            f"retention.ms to {SHORT_RETENTION_MS} or more"
        )
    if use.record_time and settings.get("message.timestamp.type") == "LogAppendTime":
        yield Concern(
            f"topic {use.topic!r} has message.timestamp.type = LogAppendTime: because input.time "
            "is left out, the time of a reading is when the broker received it; set input.time to "
            "the field with the time of the event"
        )


def _of_replicas(
    use: Use, settings: Mapping[str, str | None], replicas: int, brokers: int
) -> Iterator[Concern]:
    needed = int(settings.get("min.insync.replicas") or 1)
    writes = use.role != "input"
    if writes and needed > replicas:
        yield Concern(
            f"topic {use.topic!r} cannot be written to: min.insync.replicas = {needed}, and it has "
            f"{replicas} replicas; set min.insync.replicas to {max(1, replicas - 1)}",
            grave=True,
        )
    elif replicas == 1 and brokers > 1:
        yield Concern(
            f"topic {use.topic!r} has one replica on a cluster of {brokers} brokers: a disk that "
            "fails loses data; create it with --replication-factor 3"
        )
    elif writes and replicas > 1 and needed == 1:
        yield Concern(
            f"topic {use.topic!r} has min.insync.replicas = 1: an acknowledged event may be on one "
            "broker only, and lost with it; set min.insync.replicas to 2"
        )
    elif writes and replicas > 1 and needed == replicas:
        yield Concern(
            f"topic {use.topic!r} has min.insync.replicas = {needed} of {replicas} replicas: "
            "nothing can be written while one broker is down; set min.insync.replicas to "
            f"{replicas - 1}"
        )
    if settings.get("unclean.leader.election.enable") == "true":
        yield Concern(
            f"topic {use.topic!r} has unclean.leader.election.enable = true: a broker that was "
            "behind may become leader, and acknowledged records are lost; set it to false"
        )


def _of_sizes(
    client: Mapping[str, object], use: Use, settings: Mapping[str, str | None]
) -> Iterator[Concern]:
    limit = int(settings.get("max.message.bytes") or 0)
    needed = use.largest_bytes + BATCH_BYTES
    request = client.get("max_request_size")
    if isinstance(request, int) and use.largest_bytes and request < needed:
        yield Concern(
            f"kafka.max_request_size = {request}, and the largest event for topic {use.topic!r} "
            f"may have {needed} bytes, which would stop the flow. Raise kafka.max_request_size to "
            f"{needed}, or {use.smaller}",
            grave=True,
        )
    if use.largest_bytes and 0 < limit < needed:
        yield Concern(
            f"topic {use.topic!r} takes records of up to {limit} bytes (max.message.bytes), and "
            f"the largest event may have {needed}, which would stop the flow. Raise "
            f"max.message.bytes to {needed}, or {use.smaller}",
            grave=True,
        )
