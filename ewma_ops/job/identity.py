"""What makes a job this job: looked up once, and handed to all that need it.

Knows settings and what brokers say of topics; must not know the dataflow, nor what is in a topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.client.topics import describe_topics
from ewma_ops.job.builders import open_history
from ewma_ops.job.recovery.manifest import Identity
from ewma_ops.serde.parquet import History
from ewma_ops.settings.model import WARM_START, Settings

__all__ = ["JobIdentity", "identify"]

_NOT_IN_EVENTS = ("shards", "delivery")
"""No bit of an event depends on them."""


@dataclass(frozen=True)
class JobIdentity:
    """A job and its topics as they were at one moment.

    Parameters
    ----------
    store
        What a recovery store belongs to: the settings' identity and that of the topics.
    events
        Whose events these are: what they depend on beside the positions of the readings. Where
        this changes, all events are new ones. So the input topic's id is in it: a topic created
        anew has other readings at the same offsets.
    topics
        What brokers said of each topic, by its name.
    history
        What the job starts from; None without a warm start.
    """

    store: Identity
    events: str
    topics: Mapping[str, TopicView]
    history: History | None = None


def identify(
    settings: Settings, noted: Identity = MappingProxyType({}), *, letters: bool = True
) -> JobIdentity:
    """Look the job's topics up, all at once, and take the digest of its warm start.

    Parameters
    ----------
    settings
        The configuration.
    noted
        What the recovery store belongs to, where a launcher has compared it with the file of the
        warm start already: its digest is taken from there. The file is compared with it once
        more when it is read.
    letters
        Whether the dead-letter topic counts: whose events are whose does not depend on it.

    Raises
    ------
    BrokerError, ConfigError
        If Kafka cannot be reached with the options given, or a topic does not exist; or if the
        file of the warm start cannot be read.
    """
    names = {
        "input": settings.input.topic,
        "output": settings.output.topic,
        **({"dead-letter": settings.dead_letters.topic} if letters else {}),
    }
    history = open_history(settings, str(noted.get(WARM_START, "")))
    topics = describe_topics(settings.kafka, list(names.values()))
    own = settings.identity(None if history is None else history.digest)
    ids = {f"{name} topic id": str(topics[topic].topic_id) for name, topic in names.items()}
    of_events = {key: text for key, text in own.items() if key not in _NOT_IN_EVENTS}
    of_events["input topic id"] = ids["input topic id"]
    return JobIdentity({**own, **ids}, repr(sorted(of_events.items())), topics, history)
