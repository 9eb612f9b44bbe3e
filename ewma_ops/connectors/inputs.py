"""The topics that a flow reads, and one number for each partition of any of them.

Knows names, ids and partition counts; must not know how they are looked up, or what is read.

The number is part of each event's identity and of the recovery store, so it must not depend on the
other topics, and must be found again without the store. So it is made of the topic's id and the
partition only. A topic that is created again is another topic.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from kafka import TopicPartition

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import numbered, partition_of, topic_of
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.client.topics import listed
from ewma_ops.connectors.parts import part_key
from ewma_ops.errors import ConfigError

__all__ = [
    "InputTopic",
    "InputTopics",
    "UnlistedTopics",
    "source_part",
    "source_part_number",
]

_DIGITS = 8


class InputTopic(NamedTuple):
    """A topic, its number (31 bits, 0 for one that is read alone), and its description."""

    name: str
    number: int
    view: TopicView


@dataclass(frozen=True)
class InputTopics:
    """One or more topics, by their numbers, in the order of their names.

    Parameters
    ----------
    by_number
        The topics.
    optional
        Whether they may come and go while they are read, as the topics of a pattern may.

    Examples
    --------
    >>> topics = InputTopics.of({"a": TopicView("one", 2), "b": TopicView("two", 1)})
    >>> [tp.topic for tp in topics], topics.place(topics.number("a", 1)).partition
    (['a', 'a', 'b'], 1)
    """

    by_number: Mapping[int, InputTopic]
    optional: bool = False

    @staticmethod
    def alone(name: str, view: TopicView) -> InputTopics:
        """Return a topic that is always the only one: its partitions keep their own numbers."""
        return InputTopics({0: InputTopic(name, 0, view)})

    @staticmethod
    def of(views: Mapping[str, TopicView], *, optional: bool = False) -> InputTopics:
        """Return topics from their descriptions.

        Raises
        ------
        ConfigError
            If two have the same number: for a thousand topics one case in ten thousand.
        """
        found: dict[int, InputTopic] = {}
        for name, view in sorted(views.items()):
            # Brokers before 2.8 have no topic ids: a topic created again counts as the old one.
            number = (murmur2((view.topic_id or name).encode()) & 0x7FFFFFFF) or 1
            if number in found:
                raise ConfigError(
                    f"topics {found[number].name!r} and {name!r} cannot be read together, as their "
                    "ids have the same hash: create one of them again, or read it in a separate job"
                )
            found[number] = InputTopic(name, number, view)
        return InputTopics(found, optional)

    def __iter__(self) -> Iterator[TopicPartition]:
        for topic in self.by_number.values():
            for partition in range(topic.view.partitions):
                yield TopicPartition(topic.name, partition)

    def __len__(self) -> int:
        return sum(topic.view.partitions for topic in self.by_number.values())

    def __str__(self) -> str:
        return listed(self.names)

    @cached_property
    def names(self) -> dict[str, InputTopic]:
        """The topics, by name."""
        return {topic.name: topic for topic in self.by_number.values()}

    def numbers(self) -> list[int]:
        """Return the number of each partition."""
        return [self.number(tp.topic, tp.partition) for tp in self]

    def number(self, topic: str, partition: int) -> int:
        """Return the number of a partition; for a topic that is read alone, whatever its name."""
        return partition if 0 in self.by_number else numbered(self.names[topic].number, partition)

    def place(self, number: int) -> TopicPartition:
        """Return the partition that has a number; ``KeyError`` if its topic is not among these."""
        return TopicPartition(self.by_number[topic_of(number)].name, partition_of(number))

    def offsets_by_place(self, offsets: Mapping[int, int]) -> dict[TopicPartition, int]:
        """Convert offsets by number to offsets by partition; those of other topics are left out."""
        return {
            self.place(number): offset
            for number, offset in offsets.items()
            if topic_of(number) in self.by_number
        }

    def only(self, numbers: Collection[int]) -> InputTopics:
        """Return those of the topics that have one of these numbers."""
        kept = {n: topic for n, topic in self.by_number.items() if n in numbers}
        return replace(self, by_number=kept)


@dataclass(frozen=True)
class UnlistedTopics(InputTopics):
    """Topics that are not known in advance: each is numbered when its first record comes.

    For records without a broker: the numbers hold for one run.

    Examples
    --------
    >>> topics = UnlistedTopics()
    >>> [topics.place(topics.number(name, 3)) for name in ("a", "b", "a")]
    [TopicPartition(topic='a', partition=3), TopicPartition(topic='b', partition=3), ...]
    """

    by_number: Mapping[int, InputTopic] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, topic: str, partition: int) -> int:
        """Return the number of a partition."""
        return numbered(self._numbers.setdefault(topic, len(self._numbers) + 1), partition)

    def place(self, number: int) -> TopicPartition:
        """Return the partition that has a number."""
        return TopicPartition(list(self._numbers)[topic_of(number) - 1], partition_of(number))


def source_part(number: int) -> str:
    """Return the name of the source's part for an input partition, which must never change.

    Examples
    --------
    >>> source_part(10), source_part(numbered(0x2F, 10))
    ('000010', '0000002f-000010')
    """
    topic, partition = topic_of(number), part_key(partition_of(number))
    return f"{topic:0{_DIGITS}x}-{partition}" if topic else partition


def source_part_number(part: str) -> int:
    """Return the number of the input partition that a part name stands for."""
    topic, _, partition = part.rpartition("-")
    return numbered(int(topic or "0", 16), int(partition))
