"""What ``ewma explain`` found of an alarm, and how it is printed: as lines, or as a document.

Knows readings, shares and sentences; must not know topics, or how it was found.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.columns.ticks import iso_moment, shown_duration
from ewma_ops.commands.terminal import table
from ewma_ops.job.showing import shown_text
from ewma_ops.monitor.rules import ChartRule, Rule, Stale
from ewma_ops.studies.explanation import Explanation, Share
from ewma_ops.studies.silences import Silence

__all__ = ["Explained"]

_ROWS = 12
_NEWEST = 5


@dataclass(frozen=True)
class Explained:
    """An alarm: its record, its readings, and what the rule saw.

    ``values`` is the column of the field that the rule is about; ``whole`` whether the readings are
    all that the topic has; ``per_ms`` how many ticks of their times are a millisecond.
    """

    alarm_id: str
    series_id: str
    rule: Rule
    record: dict[str, Any] | None
    same_rules: bool
    readings: Readings
    values: NDArray[np.float64]
    whole: bool
    per_ms: int
    explanation: Explanation | None
    silence: Silence | None

    def document(self) -> dict[str, Any]:
        """Return all of it, to be written as JSON."""
        return {
            "alarm_id": self.alarm_id,
            "series_id": self.series_id,
            "kind": self.rule.kind,
            "same_rules": self.same_rules,
            "record": self.record,
            "readings_read": len(self.readings),
            "whole_history": self.whole,
            "explanation": self._explanation_document(),
        }

    def _explanation_document(self) -> dict[str, Any] | None:
        if self.silence is not None:
            usual, reach, due = self.silence
            limits = {"usual_gap_ms": usual / self.per_ms, "limit_ms": reach / self.per_ms}
            return {**limits, "silent_from": due}
        if self.explanation is None:
            return None
        names = ("measured", "expected", "lower", "upper", "score", "std", "n_eff")
        shares = [
            {"offset": self._offset(one), "time": self._time(one), **one._asdict()}
            for one in self.explanation.shares
        ]
        return {**{name: getattr(self.explanation, name) for name in names}, "shares": shares}

    def lines(self) -> Iterator[str]:
        """Yield the lines for people."""
        yield f"{self.alarm_id}: rule {self.rule_name} on {shown_text(self.series_id, 80)}"
        if self.record is not None:
            yield f"  {shown_text(str(self.record.get('summary', '')), 400)}"
        else:
            yield "  the alarms topic no longer has its record"
        if not self.same_rules:
            yield "  it was raised with another configuration; what follows uses this one"
        if isinstance(self.rule, Stale):
            yield from self._silence_lines()
        elif self.explanation is None:
            yield from self._plain_lines()
        else:
            yield from self._share_lines(self.explanation)

    @property
    def rule_name(self) -> str:
        """The name of the rule, which the id of an alarm begins with."""
        return self.alarm_id.split("-")[0]

    def _share_lines(self, one: Explanation) -> Iterator[str]:
        yield (
            f"  computed again: {one.measured:.6g}, expected {one.expected:.6g} ({one.lower:.6g} "
            f"to {one.upper:.6g}), {one.score:.3g} standard errors off"
        )
        if not self.whole:
            yield f"  from the last {len(self.readings):,} readings; earlier ones hardly weigh"
        if len(one.shares) > 1:
            newest = ", ".join(f"{share.share:.0%}" for share in one.shares[:3])
            yield (
                f"  the last {min(_ROWS, len(one.shares))} readings hold {one.newest(_ROWS):.0%} "
                f"of the deviation, the newest {newest}; half of it came in {one.needed(0.5)} "
                "readings"
            )
        yield ""
        rows = [self._row(share) for share in one.shares[:_ROWS]]
        heads = ["offset", "time", "value", "clipped to", "weight", "share"]
        width = shutil.get_terminal_size().columns
        yield from (f"  {line}" for line in table(heads, rows, width - 2, right={0, 2, 3, 4, 5}))

    def _row(self, share: Share) -> list[str]:
        time = self._time(share)
        return [
            f"{self._offset(share):,}",
            "" if time is None else self._moment(time),
            f"{share.value:.6g}",
            f"{share.used:.6g}" if share.used != share.value else "",
            f"{share.weight:.1%}",
            f"{share.share:.1%}",
        ]

    def _plain_lines(self) -> Iterator[str]:
        if isinstance(self.rule, ChartRule):
            n, which = len(self.readings), "all" if self.whole else "the last"
            yield f"  by {which} {n:,} readings up to there the rule does not judge it; the newest:"
        else:
            yield (
                f"  a rule {self.rule.kind} looks at the reading itself; the last ones of the "
                "series:"
            )
        times = self.readings.times_ms
        for at in reversed(range(len(self.readings))[-_NEWEST:]):
            when = "" if times is None else self._moment(int(times[at]))
            yield f"    {when}  {self.values[at]:.6g}"

    def _silence_lines(self) -> Iterator[str]:
        if self.silence is None:
            yield "  computed again: too few readings are left of the series (warm_up)"
        else:
            usual, reach = (shown_duration(one / self.per_ms) for one in self.silence[:2])
            yield (
                f"  computed again: usually a reading every {usual}; nothing for {reach} is too "
                f"long: from {self._moment(self.silence.due)} on, by the timestamps of the records"
            )
        yield "  the last readings before the silence, and the gaps before them:"
        assert self.readings.appended_ms is not None
        times_ms = self.readings.appended_ms[self._present]
        for at in reversed(range(len(times_ms))[-_NEWEST:]):
            gap = "" if not at else shown_duration(max(int(times_ms[at] - times_ms[at - 1]), 0))
            yield f"    {self._moment(int(times_ms[at]) * self.per_ms)}  {gap}"

    @cached_property
    def _present(self) -> NDArray[np.intp]:
        """Places of the readings that have a value, to which shares refer."""
        return np.flatnonzero(~np.isnan(self.values))

    def _offset(self, share: Share) -> int:
        assert self.readings.origins is not None
        return int(self.readings.origins.offsets[self._present[share.place]])

    def _time(self, share: Share) -> int | None:
        times = self.readings.times_ms
        return None if times is None else int(times[self._present[share.place]])

    def _moment(self, ticks: int) -> str:
        return iso_moment(ticks // self.per_ms / 1000)
