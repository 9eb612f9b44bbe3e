"""Lookups before and during each run of a job: its identity, where it begins, what is new.

Knows brokers, files and settings; must not know processes, nor how the answers are stored.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.connectors.client.fencing import raise_fence
from ewma_ops.connectors.client.topic_configs import refuse_or_warn
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.sink.readback import leaders_answered
from ewma_ops.connectors.sink.routing import Route, by_key, by_source, routed_partitions
from ewma_ops.connectors.source.offsets import start_offsets
from ewma_ops.errors import BrokerError
from ewma_ops.job.identity import JobIdentity, alarms_name, identify, look_up_inputs
from ewma_ops.job.recovery.manifest import CHANGED, Beginning, Identity, InputNote
from ewma_ops.job.topics import topic_uses
from ewma_ops.settings.model import Settings

__all__ = ["JobLookups"]

_log = logging.getLogger(__name__)

_MOST_NAMED = 5


class JobLookups:
    """The lookups of a launcher, which calls :meth:`identify` first, before each run.

    Parameters
    ----------
    settings
        The configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.found: JobIdentity | None = None
        """The result of the last call of :meth:`identify`."""

    def identify(self) -> Identity:
        """Look the job up again, and check what it needs; return the identity for its store.

        Raises
        ------
        BrokerError, ConfigError
            As for :func:`ewma_ops.job.identity.identify`; and if the configuration of a topic
            breaks a promise of the job, or the file of the warm start has other columns.
        """
        self.found = identity = identify(self._settings)
        if identity.history is not None:
            identity.history.check()
        refuse_or_warn(self._settings.kafka, topic_uses(self._settings, identity.inputs.names))
        return identity.store

    def fence(self) -> str:
        """Fence earlier runs of the job off; return the fence of the next one, as text.

        "" if the launcher need not: transactions do it, or nothing is promised.

        Raises
        ------
        BrokerError, ConfigError
            If the brokers do not answer, or refuse the transactional id.
        """
        assert self.found is not None, "identify is called first"
        if self._settings.output.delivery != "exactly-once":
            return ""
        partitions = {topic: view.partitions for topic, view in self.found.written.items()}
        name = f"ewma-{murmur2(self.found.events.encode()):08x}"
        return str(raise_fence(self._settings.kafka, name, partitions))

    def leaders_answered(self) -> float | None:
        """Ask all leaders of the topics that are written to; return when they had answered.

        Ask when no earlier worker is alive: what those had sent is waited for from then on. None
        where nothing is waited for.

        Raises
        ------
        BrokerError, ConfigError
            If one does not answer, or the brokers refuse the user.
        """
        assert self.found is not None, "identify is called first"
        if self._settings.output.delivery == "at-least-once":
            return None
        partitions = {topic: view.partitions for topic, view in self.found.written.items()}
        return leaders_answered(self._settings.kafka, partitions)

    def find_beginning(self) -> Beginning:
        """Return the beginning of a new job.

        Recorded once, in the recovery store: later runs use it too, for example after a crash
        before the first snapshot. An input partition that it does not name was added later, and is
        read from its first offset. The number of written partitions of an output topic is its
        current one; or, if it has events of this job from a run whose store is lost, the number at
        that time: otherwise these events would not be found, and would be written again.

        Raises
        ------
        BrokerError, ConfigError
            If a topic cannot be read.
        """
        reads, client = self._settings.input, self._settings.kafka
        assert self.found is not None, "identify is called first"
        inputs = self.found.inputs
        routed = {
            self._settings.output.topic: self._routed(self._settings.output.topic, by_key),
            self._settings.dead_letters.topic: self._routed(
                self._settings.dead_letters.topic, by_source
            ),
        }
        offsets = start_offsets(client, inputs, reads.group_id, reads.start)
        beginning = Beginning(offsets, routed, _notes(inputs), alarms_name(self.found.alarms))
        return beginning._replace(routed={**routed, **self._alarms_routed(routed)})

    def _alarms_routed(self, noted: Mapping[str, int]) -> dict[str, int]:
        """Return how many partitions alarms are written to, if that is not recorded yet."""
        alarms = self._settings.alarms
        if alarms is None or alarms.topic in noted:
            return {}
        return {alarms.topic: self._routed(alarms.topic, by_key, of_alarms=True)}

    def _routed(self, topic: str, route: Route, *, of_alarms: bool = False) -> int:
        assert self.found is not None
        view, job = self.found.written[topic], self.found.events
        if self._settings.output.delivery == "at-least-once":
            return view.partitions
        return routed_partitions(
            self._settings.kafka,
            topic,
            view,
            self.found.alarms if of_alarms else job,
            route,
            self.found.inputs.by_number,
        )

    def extend_beginning(self, noted: Beginning) -> Beginning:
        """Add topics that are new to the job: they are read from the beginning, whatever its start.

        If the rules of its alarms differ from those that it began with, that is recorded.

        Raises
        ------
        BrokerError, ConfigError
            If their offsets cannot be looked up, or a broker does not know all partitions yet.
        """
        assert self.found is not None, "identify is called first"
        inputs, group_id = self.found.inputs, self._settings.input.group_id
        for number, topic in inputs.by_number.items():
            note = noted.inputs.get(number)
            if note is not None and topic.view.partitions < note.partitions:
                raise BrokerError(
                    f"topic {topic.name!r} has {topic.view.partitions} partitions, and "
                    f"{note.partitions} when it was last read: a broker is behind"
                )
        new = inputs.only(inputs.by_number.keys() - noted.inputs.keys())
        gone = {
            number: note._replace(gone=True)
            for number, note in noted.inputs.items()
            if number not in inputs.by_number
        }
        offsets = dict(noted.offsets)
        if new.by_number:
            offsets |= start_offsets(self._settings.kafka, new, group_id, "earliest")
            _log.warning("topic %s is new to this job: read from its first record", new)
        routed = {**noted.routed, **self._alarms_routed(noted.routed)}
        alarms = noted.alarms if noted.alarms == alarms_name(self.found.alarms) else CHANGED
        return Beginning(offsets, routed, {**gone, **_notes(inputs)}, alarms)

    def changes(self) -> str:
        """Return which topics and partitions this run does not read; "" for none.

        Raises
        ------
        BrokerError, ConfigError
            If they cannot be looked up.
        """
        assert self.found is not None, "identify is called first"
        was, now = self.found.inputs, look_up_inputs(self._settings)
        changes = [
            f"topic {topic.name!r} is new"
            if number not in was.by_number
            else f"topic {topic.name!r} has grown to {topic.view.partitions} partitions"
            for number, topic in now.by_number.items()
            if number not in was.by_number
            or topic.view.partitions > was.by_number[number].view.partitions
        ]
        if len(changes) > _MOST_NAMED:
            changes[_MOST_NAMED:] = [f"and {len(changes) - _MOST_NAMED:,} more"]
        return ", ".join(changes)


def _notes(inputs: InputTopics) -> dict[int, InputNote]:
    return {
        number: InputNote(topic.name, topic.view.partitions)
        for number, topic in inputs.by_number.items()
    }
