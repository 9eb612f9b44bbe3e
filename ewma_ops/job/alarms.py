"""Alarms on their way out: transitions to addressed records, counted and reported.

Knows transitions, records and metrics; must not know how alarms are judged, nor Bytewax.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from prometheus_client import Counter as Counts

from ewma_ops.columns.murmur2 import murmur2, murmur2_column, partition_for
from ewma_ops.columns.readings import Smoothed
from ewma_ops.columns.transitions import SEVERITIES, TRANSITIONS, Transitions
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.parts import Addressed, part_key
from ewma_ops.job.report import Report, unmatched
from ewma_ops.monitor.globs import GlobWatch
from ewma_ops.monitor.rules import AlarmRules
from ewma_ops.serde.json.alarms import AlarmEncoder, RuleText, identified
from ewma_ops.wire.records import ProducerRecords

__all__ = ["AlarmRecords", "RouteAlarms"]

_log = logging.getLogger(__name__)

_ALARMS = Counts(
    "ewma_ops_alarms",
    "Transitions of alarms, by rule, transition and severity.",
    ["rule", "transition", "severity"],
)


class AlarmRecords:
    """Make the records of transitions, the same bytes from the same transitions.

    Parameters
    ----------
    rules
        The rules.
    identity
        Identity of the alarms, as `JobIdentity.alarms`.
    inputs
        The topics that are read: a record names the topic of its reading.
    ticks_per_ms
        Ticks of the job's event times in a millisecond.
    """

    def __init__(
        self, rules: AlarmRules, identity: str, inputs: InputTopics, ticks_per_ms: int = 1
    ) -> None:
        self.job = murmur2(identity.encode())
        self._texts = [
            RuleText(name, rule.kind, rule.designed or "", rule.runbook or "")
            for name, rule in rules.rules
        ]
        self._globs = {name: rule.series for name, rule in rules.rules}
        self._encoder = AlarmEncoder(self._texts, self.job, inputs.place, ticks_per_ms)

    @property
    def globs(self) -> dict[str, Sequence[str]]:
        """The globs of each rule."""
        return dict(self._globs)

    @property
    def names(self) -> list[str]:
        """The names of the rules, in order."""
        return [text.name for text in self._texts]

    def summary(self, transitions: Transitions) -> str:
        """Return the sentence of the first transition, after the name of its rule."""
        (record, *_) = self._encoder.records(transitions)
        return f"{record['rule']}: {record['summary']}"

    def largest(self, max_id_bytes: int) -> int:
        """Return the most bytes that key and value of a record may have."""
        return self._encoder.largest(max_id_bytes)

    def of(self, transitions: Transitions) -> ProducerRecords:
        """Return a record for each transition, in order, keyed by the series."""
        keys = list(map(str.encode, transitions.series_ids))
        values = self._encoder.encode(transitions)
        origins = identified(transitions, self._texts, self.job)
        return ProducerRecords(keys, values, origins=origins)


class RouteAlarms:
    """The transitions of smoothed readings to addressed records; ``report`` counts them."""

    def __init__(
        self, records: AlarmRecords, partitions: int, report: Report | None = None
    ) -> None:
        self._records = records
        self._partitions = partitions
        self._report = Report() if report is None else report
        self._globs = self._report.globs = GlobWatch(records.globs)

    def __call__(self, batch: list[Smoothed]) -> Iterable[Addressed]:
        """Yield the records of each run's transitions, by partition."""
        for smoothed in batch:
            if not self._globs.is_over:
                self._look(smoothed.readings.series_ids)
            if smoothed.transitions is not None and len(smoothed.transitions):
                self._count(smoothed.transitions)
                yield from self._address(smoothed.transitions)

    def _look(self, series_ids: Sequence[str]) -> None:
        self._globs.look(series_ids)
        if self._globs.is_over:
            for rule, why in self._globs.unmatched.items():
                _log.warning("%s (of this worker's series)", unmatched(rule, *why))

    def _count(self, transitions: Transitions) -> None:
        kinds = np.stack([transitions.rules, transitions.transitions, transitions.severities])
        found, counts = np.unique(kinds, axis=1, return_counts=True)
        raised: Counter[str] = Counter()
        for (rule, transition, severity), n in zip(found.T.tolist(), counts.tolist(), strict=True):
            name, became = self._records.names[rule], TRANSITIONS[transition]
            _ALARMS.labels(name, became, SEVERITIES[severity]).inc(n)
            if became == "raised":
                raised[name] += n
        if raised:
            first = np.flatnonzero(transitions.transitions == TRANSITIONS.index("raised"))[:1]
            self._report.add_alarms(raised, lambda: self._records.summary(transitions.take(first)))

    def _address(self, transitions: Transitions) -> Iterator[Addressed]:
        made = self._records.of(transitions)
        hashes = transitions.hashes
        partitions = partition_for(
            murmur2_column(transitions.series_ids) if hashes is None else hashes, self._partitions
        )
        for partition in np.unique(partitions).tolist():
            yield part_key(partition), made.take(np.flatnonzero(partitions == partition))
