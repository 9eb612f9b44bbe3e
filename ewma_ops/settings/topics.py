"""The keys that say which topics are read: their bounds and conflicts.

Knows names and patterns; must not know which topics exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

import msgspec

from ewma_ops.settings.model import Input, Text
from ewma_ops.stats.durations import duration_ms

__all__ = ["derived_group", "discover_interval", "loops", "topic_mistakes", "topic_pattern"]


def discover_interval(value: object) -> timedelta | None:
    """Return how often to look for new topics and partitions; ``None`` for never.

    Raises
    ------
    ValueError, msgspec.ValidationError
        If it is neither ``"off"``, 0, nor a duration of at least a second.
    """
    if value in ("off", "0") or (value == 0 and not isinstance(value, bool)):
        return None
    interval = timedelta(milliseconds=duration_ms(msgspec.convert(value, str)))
    if interval < timedelta(seconds=1):
        raise ValueError(value)
    return interval


def topic_pattern(value: object) -> str:
    """Return a regular expression; ``ValueError`` or ``msgspec.ValidationError`` if it is none."""
    text = msgspec.convert(value, Text)
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(str(error)) from None
    return text


def topic_mistakes(reads: Input, example: str) -> Iterator[str]:
    """Yield mistakes in the topics; ``example`` is a line that would be right."""
    ways = [key for key in ("topic", "topics", "topic_pattern") if getattr(reads, key)]
    if not ways:
        yield f"input.topic is missing; add {example}"
    if len(ways) > 1:
        keys = " and ".join(f"input.{key}" for key in ways)
        yield f"{keys} are set together; keep the one that names what to read"
    if len(set(reads.topics)) < len(reads.topics):
        yield "input.topics names a topic twice; name each once"


def loops(reads: Input, written: Mapping[str, str]) -> Iterator[str]:
    """Yield output topics that the job also reads, or writes for two purposes.

    ``written`` are topics by their keys.
    """
    earlier: dict[str, str] = {}
    for key, topic in written.items():
        if topic in reads.names:
            other = "input.topic" if reads.topic else "one of input.topics"
            yield f'{key} = "{topic}" is also {other}; use a separate topic'
        elif topic in earlier:
            yield f'{key} = "{topic}" is also {earlier[topic]}; use a separate topic'
        elif reads.topic_pattern and re.fullmatch(reads.topic_pattern, topic):
            yield (
                f'{key} = "{topic}" matches input.topic_pattern, so that the job would read what '
                "it writes; narrow the pattern, or write to a topic of another name"
            )
        earlier.setdefault(topic, key)


def derived_group(reads: Input, output: str) -> str:
    """Return the consumer group of a job that names none: the same when topics are added."""
    return f"ewma-{reads.topic_pattern or reads.names[0]}-{output}"
