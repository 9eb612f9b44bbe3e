"""A transition of an alarm, read back from the alarms topic.

Knows the document; must not know Kafka, HTTP or the receivers.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = ["Transition", "parse_transition"]


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One transition of an alarm: what happened to which alarm, and when.

    ``alarm_id`` is the same for all transitions of an alarm; ``time`` and ``since`` are event
    times in the job's ticks, of the transition and of the raise; ``None`` where readings have none.
    ``topic`` is the input topic of the reading that the alarm is of.
    ``document`` is the whole record.
    """

    alarm_id: str
    transition: Literal["raised", "changed", "held", "cleared"]
    rule: str
    series_id: str
    severity: str
    time: int | None = None
    since: int | None = None
    kind: str = ""
    summary: str = ""
    runbook: str | None = None
    topic: str | None = None
    document: bytes = b""

    @property
    def job(self) -> str:
        """The hash of its job and topic: the last part of its id."""
        return self.alarm_id.rpartition("-")[2]

    @property
    def active(self) -> bool:
        """Whether the alarm is still on after it."""
        return self.transition != "cleared"

    @property
    def key(self) -> str:
        """Unique among transitions: an alarm is raised and cleared once; changes differ in time."""
        own = f"{self.alarm_id}/{self.transition}"
        return own if self.transition in ("raised", "cleared") else f"{own}/{self.time}"

    def ended(self, time: int | None) -> Transition:
        """Return a transition that ends it without a record, because another alarm replaced it."""
        ends = {"transition": "cleared", "by": "reset", "time": time}
        document = msgspec.json.encode(msgspec.json.decode(self.document) | ends)
        return msgspec.structs.replace(self, transition="cleared", time=time, document=document)

    def field(self, name: str) -> Any:
        """Return a field of the document; ``None`` where it has none."""
        return msgspec.json.decode(self.document).get(name)


_decoder = msgspec.json.Decoder(Transition)


def parse_transition(value: bytes | None) -> Transition | None:
    """Return the transition that a record holds, or ``None`` where it holds none.

    Examples
    --------
    >>> made = parse_transition(
    ...     b'{"alarm_id": "level-0-7-9f3a51c2", "transition": "raised", "rule": "level",'
    ...     b' "series_id": "a", "severity": "warning", "time": 5, "since": 5, "score": 3.5}'
    ... )
    >>> made.key, made.field("score")
    ('level-0-7-9f3a51c2/raised', 3.5)
    >>> parse_transition(b"{}") is None
    True
    """
    try:
        read = _decoder.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return msgspec.structs.replace(read, document=value)
