"""`Transitions` of alarms as columns: raised, changed, held, cleared.

Knows shapes, dtypes and the words of the codes; must not know rules, formats or destinations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import joined, taken
from ewma_ops.columns.origins import Origins

__all__ = ["BY", "EVIDENCE", "SEVERITIES", "TRANSITIONS", "Transition", "Transitions"]

TRANSITIONS = ("raised", "changed", "held", "cleared")
"""The transitions of an alarm. Changed: it became more severe, or turned to the other side."""

BY = ("", "back", "adopted", "reset", "resumed")
"""Why it was cleared: the series came back; the new level became the expected one; the series was
reset; a series that was silent sent a reading. Empty for all but ``cleared``."""

SEVERITIES = ("info", "warning", "critical")
"""From the least to the most severe."""

EVIDENCE = (
    *("value", "ewma", "expected", "lower", "upper", "score", "limit", "std", "n_eff", "worst"),
    *("readings", "duration_ms"),
)
"""The names that evidence can have, in the order of a record."""

_SIDES = ("", "high", "low")  # by high: 0, 1, -1


class Transition(msgspec.Struct, frozen=True, gc=False):
    """A transition of an alarm of a series.

    ``rule`` is the rule's name, ``transition`` one of `TRANSITIONS`, ``by`` of `BY`, ``severity``
    of `SEVERITIES`; ``side`` is ``"high"``, ``"low"``, or empty. ``time_ms`` is the time of the
    reading, ``since_ms`` that of the first one in a row that raised the alarm; ``None`` if they
    have none. ``evidence`` holds numbers by name, as `Transitions` describes them.
    """

    rule: str
    transition: str
    severity: str
    side: str = ""
    by: str = ""
    time_ms: int | None = None
    since_ms: int | None = None
    evidence: dict[str, float] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Transitions:
    """Transitions of alarms as columns, m of them, complete without the readings.

    In the order of their triggers, then of the rules; at most one for each trigger and rule.

    Parameters
    ----------
    series_ids
        m series ids.
    hashes
        uint32[m], the stable hash of each series id.
    times_ms
        int64[m], event times of the triggers, in the ticks of the readings; for rules that go by
        the log's clock, its time. ``None`` if they have no times; the least int64 for one without,
        if others have.
    origins
        Input positions of the triggers; ``None`` outside Kafka.
    rules
        uint8[m], place of the rule among the rules.
    transitions
        uint8[m], place in `TRANSITIONS`.
    by
        uint8[m], place in `BY`.
    severities
        uint8[m], place in `SEVERITIES`.
    highs
        int8[m]: 1 if the series is high, -1 if it is low, 0 if the rule knows no sides.
    raised
        Input position of the reading that raised the alarm; ``None`` outside Kafka.
    since_ms
        int64[m], the time of the first of the readings in a row that raised the alarm; ``None`` if
        they have no times.
    evidence
        float64[m] by name (`EVIDENCE`), NaN where there is none: the ``value`` of the trigger, the
        ``ewma`` and the ``expected`` mean, the bounds ``lower`` and ``upper`` within which there is
        no alarm, the ``score`` and its ``limit``, ``std`` and ``n_eff`` of the expected mean, the
        ``worst`` score of the alarm, the ``readings`` that it has lasted, and ``duration_ms`` since
        ``since_ms``, in the ticks of the readings.
    places
        intp[m], places of the triggers among the readings that the transitions came with; ``None``
        if they came with none, or with several runs.

    Examples
    --------
    >>> none = Transitions.of_none()
    >>> len(none), len(Transitions.concat([none, none]))
    (0, 0)
    """

    series_ids: Sequence[str]
    hashes: NDArray[np.uint32]
    times_ms: NDArray[np.int64] | None
    origins: Origins | None
    rules: NDArray[np.uint8]
    transitions: NDArray[np.uint8]
    by: NDArray[np.uint8]
    severities: NDArray[np.uint8]
    highs: NDArray[np.int8]
    raised: Origins | None
    since_ms: NDArray[np.int64] | None
    evidence: Mapping[str, NDArray[np.float64]]
    places: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.rules)

    @classmethod
    def of_none(cls) -> Transitions:
        """Return no transitions."""
        codes = np.zeros(0, np.uint8)
        return cls(
            [], np.zeros(0, np.uint32), None, None, codes, codes, codes, codes,
            np.zeros(0, np.int8), None, None, {name: np.zeros(0) for name in EVIDENCE},
        )  # fmt: skip

    def single(self, names: Sequence[str]) -> list[Transition]:
        """Return each transition by itself; ``names`` are those of the rules."""
        none = [None] * len(self)
        columns = zip(
            *(self.rules.tolist(), self.transitions.tolist(), self.severities.tolist()),
            *(self.highs.tolist(), self.by.tolist()),
            none if self.times_ms is None else self.times_ms.tolist(),
            none if self.since_ms is None else self.since_ms.tolist(),
            zip(*(column.tolist() for column in self.evidence.values()), strict=True),
            strict=True,
        )
        return [
            Transition(
                *(names[rule], TRANSITIONS[what], SEVERITIES[severity], _SIDES[high], BY[by]),
                time_ms,
                since_ms,
                {name: x for name, x in zip(self.evidence, numbers, strict=True) if x == x},
            )
            for rule, what, severity, high, by, time_ms, since_ms, numbers in columns
        ]

    def take(self, at: NDArray[np.intp]) -> Transitions:
        """Return the transitions at positions ``at``, in that order."""
        return Transitions(
            taken(self.series_ids, at),
            self.hashes[at],
            None if self.times_ms is None else self.times_ms[at],
            None if self.origins is None else self.origins.take(at),
            self.rules[at],
            self.transitions[at],
            self.by[at],
            self.severities[at],
            self.highs[at],
            None if self.raised is None else self.raised.take(at),
            None if self.since_ms is None else self.since_ms[at],
            {name: column[at] for name, column in self.evidence.items()},
        )

    @staticmethod
    def concat(parts: Sequence[Transitions]) -> Transitions:
        """Join runs of transitions end to end; all must have the same optional columns."""
        parts = [part for part in parts if len(part)]
        if not parts:
            return Transitions.of_none()
        if len(parts) == 1:
            return parts[0]
        times = [part.times_ms for part in parts if part.times_ms is not None]
        since = [part.since_ms for part in parts if part.since_ms is not None]
        origins = [part.origins for part in parts if part.origins is not None]
        raised = [part.raised for part in parts if part.raised is not None]
        return Transitions(
            joined([part.series_ids for part in parts]),
            np.concatenate([part.hashes for part in parts]),
            np.concatenate(times) if times else None,
            Origins.concat(origins) if origins else None,
            np.concatenate([part.rules for part in parts]),
            np.concatenate([part.transitions for part in parts]),
            np.concatenate([part.by for part in parts]),
            np.concatenate([part.severities for part in parts]),
            np.concatenate([part.highs for part in parts]),
            Origins.concat(raised) if raised else None,
            np.concatenate(since) if since else None,
            {name: np.concatenate([part.evidence[name] for part in parts]) for name in EVIDENCE},
        )
