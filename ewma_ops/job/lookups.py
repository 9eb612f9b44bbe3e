"""What is asked before each run of a job: what it is, and where it begins if it is new.

Knows brokers, files and settings; must not know processes, nor how the answers are kept.
"""

from __future__ import annotations

from ewma_ops.connectors.client.topic_configs import refuse_or_warn
from ewma_ops.connectors.sink.routing import by_key, by_source, routed_partitions
from ewma_ops.connectors.source.offsets import start_offsets
from ewma_ops.job.identity import JobIdentity, identify
from ewma_ops.job.recovery.manifest import Beginning, Identity
from ewma_ops.job.topics import topic_uses
from ewma_ops.settings.model import Settings

__all__ = ["JobLookups"]


class JobLookups:
    """The questions of a launcher, which asks :meth:`identify` first, before each run.

    Parameters
    ----------
    settings
        The configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.found: JobIdentity | None = None
        """What the last call of :meth:`identify` found."""

    def identify(self) -> Identity:
        """Look the job up anew, and check what it needs; return what its store belongs to.

        Raises
        ------
        BrokerError, ConfigError
            As of :func:`ewma_ops.job.identity.identify`; and if the configuration of a topic
            breaks what the job promises, or the file of the warm start has other columns.
        """
        self.found = identity = identify(self._settings)
        if identity.history is not None:
            identity.history.check()
        refuse_or_warn(self._settings.kafka, topic_uses(self._settings))
        return identity.store

    def find_beginning(self) -> Beginning:
        """Return where a job begins that begins now.

        Noted once, in the recovery store: a run that goes on with the job begins there too, also
        after a crash before the first snapshot. An input partition that the note does not name was
        added later, and is read from its first offset. The output topics are written to by as many
        partitions as they have now; or had, where events of this job are there already, of a run
        whose store is lost: else what it wrote would not be found, and be written again.

        Raises
        ------
        BrokerError, ConfigError
            If a topic cannot be read.
        """
        reads, writes, client = self._settings.input, self._settings.output, self._settings.kafka
        assert self.found is not None, "identify is called first"
        letters, topics = self._settings.dead_letters, self.found.topics
        routed = {}
        for topic, route in ((writes.topic, by_key), (letters.topic, by_source)):
            routed[topic] = topics[topic].partitions
            if writes.delivery != "at-least-once":
                job = self.found.events
                routed[topic] = routed_partitions(client, topic, topics[topic], job, route)
        view = topics[reads.topic]
        return Beginning(
            start_offsets(client, reads.topic, view, reads.group_id, reads.start), routed
        )
