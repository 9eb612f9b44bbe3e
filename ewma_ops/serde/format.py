"""A format of payloads: bytes in, a document out, or why there is none.

Knows the causes of rejections; must not know which formats there are, nor what is in a document.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

__all__ = [
    "CAUSES",
    "SKIPPED",
    "Format",
    "Reasons",
    "Refused",
    "empty",
    "not_utf8",
    "text_of",
    "tombstone",
]

CAUSES = (
    "tombstone",
    "empty",
    "not-utf8",
    "not-json",
    "not-csv",
    "not-line",
    "not-decoded",
    "not-avro",
    "not-protobuf",
    "unknown-schema",
    "wrong-size",
    "too-deep",
    "wrong-type",
    "missing",
    "out-of-range",
    "no-series-id",
    "binary-key",
    "too-many-readings",
    "id-too-long",
    "include-too-long",
    "value-too-long",
    "no-time",
    "ahead",
    "not-a-time",
    "time-out-of-range",
)
"""Every cause a rejection can have."""

Reasons = dict[int, tuple[str, str]]
"""Why payloads are not readings: cause and detail by place. The first one recorded counts."""

SKIPPED = ("", "")
"""The cause of messages that the job skips, without a letter."""


class Refused(Exception):
    """A payload, or a field of it, is not a reading: its arguments are cause and detail."""


class Format(ABC):
    """A format of payloads: what turns each of them into a document."""

    @abstractmethod
    def document(self, payload: bytes) -> Any:
        """Return what a payload holds: dict, list, text, number, time, ``None``.

        Raises
        ------
        Refused
            If that is no document, with one of `CAUSES`. Whatever the bytes are, nothing else is
            raised.
        """

    def documents(
        self, payloads: Sequence[bytes | None], places: Sequence[int], rejected: Reasons
    ) -> list[Any]:
        """Return the document of each payload, of which the i-th is that at ``places[i]`` of a run.

        Where one is refused, cause and detail are noted by place, and ``{}`` stands for it.
        """
        found: list[Any] = []
        for place, payload in zip(places, payloads, strict=True):
            try:
                if payload is None:
                    raise tombstone()
                found.append(self.document(payload))
            except Refused as refused:
                found.append({})
                rejected.setdefault(place, refused.args)
        return found


def tombstone() -> Refused:
    """Say that a message has no value."""
    return Refused("tombstone", "the value is null")


def empty() -> Refused:
    """Say that the value of a message holds nothing."""
    return Refused("empty", "the value is empty")


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say what is wrong with bytes that are not text."""
    return f"not UTF-8: {error.reason} (byte {error.start})"


def text_of(payload: bytes) -> str:
    """Return the text that a payload is, or refuse it."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise Refused("not-utf8", not_utf8(error)) from None
