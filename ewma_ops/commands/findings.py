"""What ``ewma verify`` found, and how it is printed.

Knows counts and sentences; must not know how they were found.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Findings"]


@dataclass
class Findings:
    """What was found; ``examples`` names the first few faults.

    ``missing`` are readings without an event although a later one of their input partition has
    one, ``behind`` those after the last one that has. ``orphaned`` are events whose readings
    compaction has removed. ``unknowable`` says what cannot be known, if anything. ``alarms``
    holds the same for transitions of alarms, if there are rules: ``readings`` are then
    transitions, and ``events`` their records.
    """

    readings: int = 0
    rejected: int = 0
    events: int = 0
    missing: int = 0
    behind: int = 0
    doubled: int = 0
    wrong: int = 0
    disordered: int = 0
    spread: int = 0
    orphaned: int = 0
    unknowable: str = ""
    examples: list[str] = field(default_factory=list)
    alarms: Findings | None = None

    @property
    def right(self) -> bool:
        """Whether every reading has exactly one event, in order and as recomputed."""
        of_alarms = self.alarms is None or self.alarms.right
        return not self.faults and not self.unknowable and of_alarms

    @property
    def faults(self) -> int:
        """How many faults were found, of all kinds."""
        own = self.missing + self.behind + self.doubled + self.wrong + self.disordered
        return own + (0 if self.alarms is None else self.alarms.faults)

    def __str__(self) -> str:
        read = f"{self.readings:,} readings, {self.rejected:,} dead letters"
        whole = self._text(f"{read}, {self.events:,} events")
        if self.alarms is None:
            return whole
        return f"{whole}\n{self.alarms.of_alarms()}"

    def of_alarms(self) -> str:
        """Return the lines to print if these are the findings on alarms."""
        if self.unknowable:
            return f"{self.events:,} records of alarms; cannot be known: {self.unknowable}"
        head = f"{self.readings:,} transitions of alarms, {self.events:,} records"
        return self._text(head)

    def _text(self, head: str) -> str:
        faults = f"missing {self.missing:,}, doubled {self.doubled:,}, wrong value {self.wrong:,}"
        lines = [
            head,
            f"{faults}, out of order {self.disordered:,}",
        ]
        if self.behind:
            lines.append(
                f"not written yet: {self.behind:,}, the newest; run the flow and try again"
            )
        if self.spread:
            lines.append(
                f"{self.spread:,} series are spread over several input partitions: their order, "
                "and so their values, is undefined; write each series to one partition"
            )
        if self.unknowable:
            lines.append(f"cannot be known: {self.unknowable}")
        if self.orphaned:
            lines.append(f"events of readings that are gone, not checked: {self.orphaned:,}")
        return "\n".join([*lines, *self.examples])
