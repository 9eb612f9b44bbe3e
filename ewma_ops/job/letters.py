"""Dead letters read back: their originals, which to send again, and which were already sent.

Knows the headers of letters and a job's decoder; must not know sockets, nor how records are sent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ewma_ops.job.builders import build_decoder
from ewma_ops.job.decoding import decode_runs
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords, Headers

__all__ = ["REDRIVEN", "Letter", "Origin", "Plan", "Receipts", "choose", "parse_letter", "receipt"]

REDRIVEN = "ewma-redriven"
"""Header of a record that was sent again: topic, partition and offset of its letter."""

_RECEIPT = "ewma-receipt"
_OWN = {"ewma", "ewma-cut", "ewma-ordinal", "ewma-cause", "ewma-detail"}
_OWN |= {"ewma-topic", "ewma-partition", "ewma-offset", "ewma-timestamp"}
_NEEDED = {"ewma-cause", "ewma-topic", "ewma-partition", "ewma-offset", "ewma-timestamp"}


class Origin(NamedTuple):
    """The position of a letter's message."""

    topic: str
    partition: int
    offset: int


class Letter(NamedTuple):
    """A dead letter, with its original record: key, value, its own headers and timestamp.

    ``place`` is the position of the letter; ``written_ms`` the time it was written.
    """

    place: Origin
    written_ms: int
    cause: str
    detail: str
    origin: Origin
    ordinal: int | None
    is_cut: bool
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp_ms: int

    @property
    def came_back(self) -> bool:
        """Whether it was sent again before, and was rejected again."""
        return any(name == REDRIVEN for name, _ in self.headers)

    def resent_headers(self) -> list[tuple[str, bytes | None]]:
        """Return the headers of the record to send again: its own, and its letter's position."""
        own = [one for one in self.headers if one[0] != REDRIVEN]
        topic, partition, offset = self.place
        return [*own, (REDRIVEN, f"{topic}/{partition}@{offset}".encode())]


def parse_letter(
    place: Origin,
    written_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
) -> Letter | None:
    """Return the letter in a record, or ``None`` if it is not one.

    Examples
    --------
    >>> own = {"cause": b"empty", "topic": b"t", "partition": b"3", "offset": b"7"}
    >>> headers = [("h", b"1"), *((f"ewma-{name}", text) for name, text in own.items())]
    >>> letter = parse_letter(
    ...     Origin("d", 0, 1), 5, b"k", b"", [*headers, ("ewma-timestamp", b"9"), ("ewma", b"")]
    ... )
    >>> letter.origin, letter.headers, letter.timestamp_ms, letter.came_back
    (Origin(topic='t', partition=3, offset=7), [('h', b'1')], 9, False)
    """
    own: dict[str, str] = {}
    rest = list(headers)
    while rest and rest[-1][0] in _OWN and rest[-1][0] not in own:
        name, content = rest.pop()
        own[name] = (content or b"").decode(errors="replace")
    if not own.keys() >= _NEEDED:
        return None
    try:
        origin = Origin(own["ewma-topic"], int(own["ewma-partition"]), int(own["ewma-offset"]))
        timestamp_ms = int(own["ewma-timestamp"])
        ordinal = int(own["ewma-ordinal"]) if "ewma-ordinal" in own else None
    except ValueError:
        return None
    detail, is_cut = own.get("ewma-detail", ""), "ewma-cut" in own
    why = own["ewma-cause"], detail, origin, ordinal, is_cut
    return Letter(place, written_ms, *why, key, value, rest, timestamp_ms)


def receipt(letters: Iterable[Letter]) -> tuple[bytes, list[tuple[str, bytes | None]]]:
    """Return value and headers of a receipt for the messages that were sent again."""
    offsets: dict[str, dict[str, list[int]]] = {}
    for letter in letters:
        topic, partition, offset = letter.origin
        offsets.setdefault(topic, {}).setdefault(str(partition), []).append(offset)
    return msgspec.json.encode(offsets), [(_RECEIPT, b"1")]


class Receipts:
    """Which messages were sent again, according to the receipts.

    Examples
    --------
    >>> receipts = Receipts()
    >>> receipts.take(b'{"t": {"3": [7]}}', [("ewma-receipt", b"1")])
    True
    >>> Origin("t", 3, 7) in receipts, Origin("t", 3, 8) in receipts
    (True, False)
    """

    def __init__(self) -> None:
        self._sent: set[Origin] = set()

    def __contains__(self, origin: object) -> bool:
        return origin in self._sent

    def take(self, value: bytes | None, headers: Headers) -> bool:
        """Add a record if it is a receipt; return whether it is one."""
        if [name for name, _ in headers] != [_RECEIPT]:  # a dead letter may have this header too
            return False
        try:
            found = msgspec.json.decode(value or b"", type=dict[str, dict[str, list[int]]])
            for topic, partitions in found.items():
                for partition, offsets in partitions.items():
                    self._sent |= {Origin(topic, int(partition), offset) for offset in offsets}
        except (msgspec.MsgspecError, ValueError):
            return False
        return True


@dataclass
class Plan:
    """Which letters are to be sent again, and why others are left, by cause.

    ``again`` has the cause and detail of those that would fail again.
    """

    chosen: list[Letter] = field(default_factory=list)
    left: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    again: dict[str, str] = field(default_factory=dict)

    def leave(self, letter: Letter, why: str) -> None:
        """Note that a letter is left."""
        self.left[letter.cause][why] += 1

    def reasons(self) -> Counter[str]:
        """Return how many letters are left for each reason."""
        return sum(self.left.values(), Counter())


SENT_BEFORE = "sent again before"
CUT = "cut to dead_letters.max_bytes: the message is no longer whole"
CAME_BACK = "sent again before, and rejected again: --again sends them once more"
IN_PART = "part of a message with several readings: --whole-messages sends all of them"
TWICE = "another letter of the same message is sent"
STILL = "would be dead letters again"
SKIPPED = "would be skipped by input.where or input.tombstones"
GONE = "of a partition that the input topic does not have"


def choose(
    settings: Settings,
    letters: Sequence[Letter],
    receipts: Collection[Origin] | Receipts,
    partitions: Mapping[str, int],
    *,
    again: bool = False,
    whole_messages: bool = False,
) -> Plan:
    """Decide which letters are to be sent again.

    Parameters
    ----------
    settings
        Of the job: letters that it still cannot read are left.
    letters
        In the order in which they were written.
    receipts
        Messages that were sent again.
    partitions
        How many partitions the input topic has, by name; letters of other topics are left.
    again
        Whether letters that came back are sent once more.
    whole_messages
        Whether messages are sent of which only some readings were rejected.
    """
    plan, seen = Plan(), set[Origin]()
    asked: list[Letter] = []
    for letter in letters:
        if letter.origin.topic not in partitions:
            continue
        if letter.origin in receipts:
            plan.leave(letter, SENT_BEFORE)
        elif letter.is_cut:
            plan.leave(letter, CUT)
        elif letter.came_back and not again:
            plan.leave(letter, CAME_BACK)
        elif letter.ordinal is not None and not whole_messages:
            plan.leave(letter, IN_PART)
        elif letter.origin in seen:
            plan.leave(letter, TWICE)
        elif letter.origin.partition >= partitions[letter.origin.topic]:
            plan.leave(letter, GONE)
        else:
            seen.add(letter.origin)
            asked.append(letter)
    _try_out(settings, asked, plan)
    return plan


def _try_out(settings: Settings, letters: Sequence[Letter], plan: Plan) -> None:
    """Decode letters as the job would now; those that fail again are left."""
    if not letters:
        return
    decoded = decode_runs(build_decoder(settings), [_as_run(letter) for letter in letters])
    failed = {one.at: one for one in decoded.rejected}
    kept = set(decoded.kept.tolist())
    for place, letter in enumerate(letters):
        if place in failed:
            plan.leave(letter, STILL)
            plan.again.setdefault(failed[place].cause, failed[place].detail)
        elif place not in kept:
            plan.leave(letter, SKIPPED)
        else:
            plan.chosen.append(letter)


def _as_run(letter: Letter) -> ConsumerRecords:
    topic, partition, offset = letter.origin
    headers: list[Any] | None = [letter.headers] if letter.headers else None
    return ConsumerRecords(
        topic,
        partition,
        np.array([offset], np.int64),
        np.array([letter.timestamp_ms], np.int64),
        [letter.key],
        [letter.value],
        headers,
    )
