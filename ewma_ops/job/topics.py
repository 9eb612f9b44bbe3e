"""What a job needs of its topics' configuration: `ewma check` and each start look at it.

Knows settings and the options of topics; must not know the dataflow.
"""

from __future__ import annotations

from collections.abc import Iterable

from ewma_ops.connectors.client.topic_configs import Use
from ewma_ops.connectors.client.topics import largest_record
from ewma_ops.connectors.inputs import UnlistedTopics
from ewma_ops.job.alarms import AlarmRecords
from ewma_ops.job.builders import build_encoder
from ewma_ops.settings.model import Settings

__all__ = ["letters_cut", "topic_uses"]


def topic_uses(settings: Settings, inputs: Iterable[str]) -> list[Use]:
    """Return what the job's topics are for, to look at their settings; ``inputs`` are read."""
    exact = settings.output.delivery != "at-least-once"
    ids = settings.input.max_id_bytes
    largest, smaller = build_encoder(settings).largest(ids), f"lower input.max_id_bytes ({ids})"
    return [
        *(Use(name, "input", record_time=settings.input.time is None) for name in inputs),
        Use(settings.output.topic, "output", exact, False, largest, smaller),
        Use(settings.dead_letters.topic, "dead letters", exact),
        *_of_alarms(settings, exact, smaller),
    ]


def _of_alarms(settings: Settings, exact: bool, smaller: str) -> list[Use]:
    if settings.alarms is None:
        return []
    records = AlarmRecords(settings.alarms.rules, "", UnlistedTopics())
    largest = records.largest(settings.input.max_id_bytes)
    return [Use(settings.alarms.topic, "alarms", exact, False, largest, smaller)]


def letters_cut(settings: Settings) -> tuple[int, str]:
    """Return how many bytes a dead letter may have, and why those are fewer than were asked for.

    The topic's own limit rules, as a letter that it does not take would stop the flow.

    Raises
    ------
    BrokerError, ConfigError
        If no broker answers, or an option of the connection is wrong.
    """
    topic, asked = settings.dead_letters.topic, settings.dead_letters.max_bytes
    largest = largest_record(settings.kafka, topic)
    if largest is None or asked <= largest:
        return asked, ""
    return largest, (
        f"dead_letters.max_bytes is {asked}, and topic {topic!r} takes {largest} bytes: larger "
        f"letters are cut to that; set dead_letters.max_bytes = {largest}, or raise "
        "max.message.bytes of the topic"
    )
