"""The identity of a job: looked up once, and passed to everything that needs it.

Knows settings and descriptions of topics; must not know the dataflow, nor what is in a topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import numbered
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.client.topics import describe_topics, matching_topics
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.errors import BrokerError
from ewma_ops.job.builders import open_history
from ewma_ops.job.recovery.manifest import Identity, InputNote
from ewma_ops.monitor.rules import AlarmRules
from ewma_ops.serde.parquet import History
from ewma_ops.settings.model import INPUT_TOPIC, WARM_START, Settings

__all__ = [
    "JobIdentity",
    "alarms_identity",
    "alarms_name",
    "gone_partitions",
    "identify",
    "inputs_as_noted",
    "look_up_inputs",
]

_NOT_IN_EVENTS = ("shards", "delivery", INPUT_TOPIC)
"""Events do not depend on the first two; the third is in their positions."""


@dataclass(frozen=True)
class JobIdentity:
    """A job and its topics as they were at one moment.

    Parameters
    ----------
    store
        What a recovery store belongs to: the settings' identity and that of the topics.
    events
        Identity of the events: what they depend on besides the positions of the readings. If it
        changes, all events are new ones. The input topics are not part of it, because topics may be
        added: a position names its topic, by its id.
    inputs
        The topics that are read.
    written
        The description of each output topic, by its name.
    history
        The warm start; None without one.
    alarms
        Identity of the alarms: that of the events, and the rules; empty without alarms. Neither
        `store` nor `events` depends on it, so that rules may be changed while a job goes on.
    """

    store: Identity
    events: str
    inputs: InputTopics
    written: Mapping[str, TopicView]
    history: History | None = None
    alarms: str = ""


def identify(
    settings: Settings, noted: Identity = MappingProxyType({}), *, letters: bool = True
) -> JobIdentity:
    """Look the job's topics up, all at once, and take the digest of its warm start.

    Parameters
    ----------
    settings
        The configuration.
    noted
        The identity in the recovery store, if a launcher has already compared it with the file of
        the warm start: its digest is taken from there. The file is compared again when it is read.
    letters
        Whether the dead-letter topic is part of the identity; events do not depend on it.

    Raises
    ------
    BrokerError, ConfigError
        If Kafka cannot be reached with the options given, or a topic does not exist; or if the
        file of the warm start cannot be read.
    """
    names = {
        "output": settings.output.topic,
        **({"dead-letter": settings.dead_letters.topic} if letters else {}),
    }
    history = open_history(settings, str(noted.get(WARM_START, "")))
    inputs = look_up_inputs(settings)
    alarms = settings.alarms
    written_to = [*names.values(), *([] if alarms is None else [alarms.topic])]
    written = describe_topics(settings.kafka, written_to)
    own = settings.identity(None if history is None else history.digest)
    ids = {f"{name} topic id": str(written[topic].topic_id) for name, topic in names.items()}
    if not inputs.optional:
        views = (topic.view for _, topic in sorted(inputs.names.items()))
        ids[f"{INPUT_TOPIC} id"] = ", ".join(str(view.topic_id) for view in views)
    of_events = {key: text for key, text in own.items() if key not in _NOT_IN_EVENTS}
    events = repr(sorted(of_events.items()))
    of_alarms = "" if alarms is None else alarms_identity(events, alarms.rules)
    return JobIdentity({**own, **ids}, events, inputs, written, history, of_alarms)


def alarms_identity(events: str, rules: AlarmRules) -> str:
    """Return the identity of alarms: that of the events, the rules and their runbooks."""
    runbooks = [rule.runbook for _, rule in rules.rules]
    return f"{events} alarms {rules.fingerprint()} {runbooks!r}"


def look_up_inputs(settings: Settings) -> InputTopics:
    """Return the current topics of a job's input; errors as of :func:`identify`."""
    reads, client = settings.input, settings.kafka
    if reads.topic_pattern:
        names = matching_topics(client, reads.topic_pattern)
        found = describe_topics(client, names, optional=True)
        if not found:
            raise BrokerError(
                f"every topic that matches input.topic_pattern {reads.topic_pattern!r} was deleted "
                "while topics were looked up"
            )
        return InputTopics.of(found, optional=True)
    return InputTopics.of(describe_topics(client, reads.names))


def inputs_as_noted(inputs: InputTopics, notes: Mapping[int, InputNote]) -> InputTopics:
    """Return the topics and partitions that this run reads: those that its launcher has seen.

    Newer ones are read by the next run, with all its workers.

    Raises
    ------
    BrokerError
        If a broker has not yet learned of what another one reported.
    """
    if not notes:
        return inputs
    kept = {}
    for number, note in notes.items():
        if note.gone:
            continue
        topic = inputs.by_number.get(number)
        found = 0 if topic is None else topic.view.partitions
        if found < note.partitions:
            raise BrokerError(
                f"topic {note.topic!r} has {found} partitions, and {note.partitions} when the "
                "launcher looked: a broker is behind, or the topic was deleted meanwhile"
            )
        if topic is not None:
            view = topic.view._replace(partitions=note.partitions)
            kept[number] = topic._replace(view=view)
    return replace(inputs, by_number=kept)


def gone_partitions(notes: Mapping[int, InputNote]) -> list[int]:
    """Return the numbers of the partitions of topics that are gone."""
    gone = [(number, note.partitions) for number, note in notes.items() if note.gone]
    return [numbered(topic, at) for topic, partitions in gone for at in range(partitions)]


def alarms_name(alarms: str) -> str:
    """Return the name of a job's rules in its store, from `JobIdentity.alarms`; "" for none."""
    return alarms and f"{murmur2(alarms.encode()):08x}"
