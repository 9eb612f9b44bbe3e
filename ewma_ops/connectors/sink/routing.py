"""Deduces from the records of a topic by how many partitions a job routed them.

Knows positions, keys and identities; must not know what is in a record, nor how one is routed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import Origins, partition_of
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.sink.ledger import origins_of
from ewma_ops.connectors.sink.readback import Readback
from ewma_ops.errors import TopicError

__all__ = ["Route", "by_key", "by_source", "routed_partitions"]

_log = logging.getLogger(__name__)

Route = Callable[[Sequence["bytes | None"], Origins], "NDArray[np.int64]"]
"""Hashes of records, by key and origin: modulo the number of partitions, each gives its
partition."""


def by_key(keys: Sequence[bytes | None], origins: Origins) -> NDArray[np.int64]:  # noqa: ARG001
    """Return the hash of each key, as Kafka's default partitioner computes it."""
    hashes = {key: murmur2(key or b"") & 0x7FFFFFFF for key in set(keys)}
    return np.array([hashes[key] for key in keys], np.int64)


def by_source(keys: Sequence[bytes | None], origins: Origins) -> NDArray[np.int64]:  # noqa: ARG001
    """Return the partition of each record's origin, whatever its topic."""
    return partition_of(origins.partitions.astype(np.int64))


def routed_partitions(
    client: Mapping[str, object],
    topic: str,
    view: TopicView,
    job: str,
    route: Route,
    topics: Collection[int] = (0,),
) -> int:
    """Return how many partitions a job must write to, to find its records again.

    As many as the topic has, if no record of the job says otherwise. If the topic has grown since,
    it is fewer: a record is in the partition that it was routed to, and only the same number leads
    back to it. Reads the whole topic, some 100,000 records a second.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    topic, view
        The topic, and its description by brokers.
    job
        Names the job whose records count, as for the sink.
    route
        How the job chooses partitions.
    topics
        Numbers of the input topics, as of :func:`origins_of`.

    Raises
    ------
    TopicError
        If no number of partitions explains where the records are.
    BrokerError, ConfigError
        If the topic cannot be read.
    """
    partitions, own = view.partitions, murmur2(job.encode())
    if partitions == 1:
        return 1
    fits = list(range(1, partitions + 1))
    reader = Readback(client, topic, committed=False)
    try:
        quiet_at = reader.quiet_at(partitions)
        for partition in (one for one, size in reader.sizes.items() if size):
            for stretch in reader.read(partition, 0, quiet_at=quiet_at):
                at, origins = origins_of(own, stretch.headers, topics)
                numbers = np.unique(route([stretch.keys[i] for i in at.tolist()], origins))
                fits = [n for n in fits if np.all(numbers % n == partition)]
    finally:
        reader.close()
    if not fits:
        raise TopicError(
            f"topic {topic!r} has records of this job in partitions that no single number of "
            "partitions explains, so missing records cannot be recognized: start with a new "
            "recovery directory and another topic"
        )
    return fits[-1]
