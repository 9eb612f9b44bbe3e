"""What makes a job this job, for its recovery store and for the header of its events.

Knows settings and topics; must not know the dataflow.
"""

from __future__ import annotations

from ewma_ops.connectors.client.topic_configs import Use, refuse_or_warn
from ewma_ops.connectors.client.topics import describe_topic, partition_count
from ewma_ops.connectors.sink.routing import by_key, by_source, routed_partitions
from ewma_ops.connectors.source.offsets import start_offsets
from ewma_ops.job.builders import build_encoder, open_history
from ewma_ops.job.recovery.manifest import Beginning
from ewma_ops.settings.model import Settings

__all__ = ["find_beginning", "identify", "job_identity", "topic_uses"]


def identify(settings: Settings) -> dict[str, str]:
    """Return what a recovery store belongs to: the settings' identity and that of the topics.

    Raises
    ------
    BrokerError, ConfigError
        As of :func:`build_job`.
    """
    topics = {
        "input": settings.input.topic,
        "output": settings.output.topic,
        "dead-letter": settings.dead_letters.topic,
    }
    identity = settings.identity()
    if (history := open_history(settings)) is not None:
        history.check()
    for name, topic in topics.items():
        view = describe_topic(settings.kafka, topic)
        identity[f"{name} topic id"] = str(view.topic_id)
    refuse_or_warn(settings.kafka, topic_uses(settings))
    return identity


def topic_uses(settings: Settings) -> list[Use]:
    """Return what the job's topics are for, to look at their settings."""
    exact = settings.output.delivery != "at-least-once"
    ids = settings.input.max_id_bytes
    largest, smaller = build_encoder(settings).largest(ids), f"lower input.max_id_bytes ({ids})"
    return [
        Use(settings.input.topic, "input", record_time=settings.input.time is None),
        Use(settings.output.topic, "output", exact, False, largest, smaller),
        Use(settings.dead_letters.topic, "dead letters", exact),
    ]


def find_beginning(settings: Settings) -> Beginning:
    """Return where a job begins that begins now.

    Noted once, in the recovery store: a run that goes on with the job begins there too, also
    after a crash before the first snapshot. An input partition that the note does not name was
    added later, and is read from its first offset. The output topics are written to by as many
    partitions as they have now; or had, where events of this job are there already, of a run
    whose store is lost: else what it wrote would not be found, and be written again.

    Raises
    ------
    BrokerError, ConfigError
        As of :func:`build_job`.
    """
    reads, client, routed = settings.input, settings.kafka, {}
    exact = settings.output.delivery != "at-least-once"
    job = job_identity(settings) if exact else ""
    for topic, route in ((settings.output.topic, by_key), (settings.dead_letters.topic, by_source)):
        if exact:
            routed[topic] = routed_partitions(client, topic, job, route)
        else:
            routed[topic] = partition_count(client, topic)
    return Beginning(start_offsets(client, reads.topic, reads.group_id, reads.start), routed)


def job_identity(settings: Settings) -> str:
    """Return whose events these are: what else they depend on than the readings' positions.

    Where this changes, all events are new ones. So the input topic's id is in it: a topic created
    anew has other readings at the same offsets.
    """
    parts = settings.identity()
    del parts["shards"]  # no bit of an event depends on it
    view = describe_topic(settings.kafka, settings.input.topic)
    return repr(sorted({**parts, "input topic id": str(view.topic_id)}.items()))
