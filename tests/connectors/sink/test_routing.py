from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import Origins
from ewma_ops.connectors.client.topics import describe_topic
from ewma_ops.connectors.sink.ledger import IDENTITY_HEADER, identities
from ewma_ops.connectors.sink.routing import by_key, by_source, routed_partitions
from ewma_ops.errors import TopicError
from tests.helpers.brokers import Record, produce

MakeTopic = Callable[..., str]
KEYS = [b"key-%d" % i for i in range(40)]


def written(job: str, partitions: int, first: int = 0) -> list[Record]:
    """Return a record of each key as a job writes it to a topic of so many partitions."""
    offsets = np.arange(first, first + len(KEYS))
    sources = (offsets % 4).astype(np.int32)
    headers = identities(murmur2(job.encode()), Origins(sources, offsets))
    return [
        Record(
            b"event",
            key,
            list(headers[i]),
            partition=(murmur2(key) & 0x7FFFFFFF) % partitions,
        )
        for i, key in enumerate(KEYS)
    ]


def test_a_topic_shows_by_how_many_partitions_it_was_written(kafka: str, topic: MakeTopic) -> None:
    client, name = {"bootstrap_servers": kafka}, topic(kafka, 5)
    view = describe_topic(client, name)
    assert routed_partitions(client, name, view, "job", by_key) == 5, "nothing is there"
    produce(kafka, name, [*written("another", 2), Record(b"foreign", b"key-1", partition=4)])
    assert routed_partitions(client, name, view, "job", by_key) == 5, "nothing of this job"
    produce(kafka, name, written("job", 3))
    assert routed_partitions(client, name, view, "job", by_key) == 3
    assert routed_partitions(client, name, view, "another", by_key) == 2
    produce(kafka, name, written("job", 5, first=40))
    with pytest.raises(TopicError, match=f"'{name}' has records .* and another topic"):
        routed_partitions(client, name, view, "job", by_key)


def test_dead_letters_show_it_by_the_partition_they_are_from(kafka: str, topic: MakeTopic) -> None:
    client, name = {"bootstrap_servers": kafka}, topic(kafka, 4)
    view = describe_topic(client, name)
    assert IDENTITY_HEADER == "ewma"
    letters = [r._replace(partition=i % 4 % 3) for i, r in enumerate(written("job", 1))]
    produce(kafka, name, letters)
    assert routed_partitions(client, name, view, "job", by_source) == 3
