"""A fence against earlier runs of a job: brokers refuse what their producers send.

May touch kafka-python's inside; must not know whose runs these are. Kafka fences producers with a
transactional id: each new one of the same id has a higher epoch, and brokers refuse records with a
lower one. That holds for records outside of transactions too, once a partition knows the epoch,
which it learns from the end of an empty transaction. So all producers of a run write with one
producer id and epoch, each to partitions of its own, and every reader sees what they write at once.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kafka import KafkaProducer, TopicPartition
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import ProducerIdAndEpoch, TransactionManager

from ewma_ops.connectors.client import compatible
from ewma_ops.connectors.client.connect import (
    close_producer,
    commit_transaction,
    connect_producer,
    translating_errors,
)
from ewma_ops.errors import ConfigError

__all__ = ["Fence", "incompatibilities", "raise_fence", "stand_behind"]

_PATIENCE_S = 30.0
_CLOSE_S = 5.0


class Fence(NamedTuple):
    """The producer id and epoch that a run writes with; those of earlier runs are refused.

    Examples
    --------
    >>> str(Fence(4_000, 17)), Fence.parsed("4000:17") == Fence(4_000, 17)
    ('4000:17', True)
    """

    producer_id: int
    epoch: int

    def __str__(self) -> str:
        return f"{self.producer_id}:{self.epoch}"

    @classmethod
    def parsed(cls, text: str) -> Fence:
        """Return a fence from its text; `ConfigError` if it is malformed."""
        producer_id, _, epoch = text.partition(":")
        if not (producer_id.isdecimal() and epoch.isdecimal()):
            raise ConfigError(f"fence = {text!r}: give a producer id and an epoch, as 4000:17")
        return cls(int(producer_id), int(epoch))


def raise_fence(
    client: Mapping[str, object], transactional_id: str, partitions: Mapping[str, int]
) -> Fence:
    """Return the fence of a new run, once no record of an earlier run can be appended.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    transactional_id
        The same for all runs of a job.
    partitions
        The number of partitions of each topic that is written to.

    Raises
    ------
    BrokerError, ConfigError
        If the brokers do not answer, or refuse the id.
    """
    if moved := incompatibilities():
        raise ConfigError(
            f"this kafka-python keeps no fence ({'; '.join(moved)}): install the locked version"
        )
    first = connect_producer(client, transactional_id)
    try:
        with translating_errors(client, "fencing earlier runs off"):
            first.begin_transaction()
            for topic, count in partitions.items():
                for partition in range(count):
                    tp = TopicPartition(topic, partition)
                    first._transaction_manager.maybe_add_partition_to_transaction(tp)
            commit_transaction(first, _PATIENCE_S)
    finally:
        close_producer(first, _CLOSE_S)
    # The next producer of this id is admitted when every partition has the end of the transaction.
    second = connect_producer(client, transactional_id)
    try:
        given = second._transaction_manager.producer_id_and_epoch
        return Fence(given.producer_id, given.epoch)
    finally:
        close_producer(second, _CLOSE_S)


def stand_behind(producer: KafkaProducer, fence: Fence) -> None:
    """Make an idempotent producer that has sent nothing write with a fence.

    After an error it fails for good, instead of taking another producer id.
    """
    manager = producer._transaction_manager
    given = ProducerIdAndEpoch(fence.producer_id, fence.epoch)
    manager.producer_id_and_epoch = given
    manager.set_producer_id_and_epoch = lambda _: None
    manager.classify_batch_error = lambda *_, **__: manager.ERROR_CLASS_FATAL


_READS = {
    (Sender, "run_once"): ("has_producer_id", "init_producer_id", "has_fatal_error"),
    (TransactionManager, "reset_producer_id"): ("set_producer_id_and_epoch",),
    (TransactionManager, "has_producer_id"): ("producer_id_and_epoch", "is_valid"),
    (TransactionManager, "maybe_add_partition_to_transaction"): ("_new_partitions_in_transaction",),
    (TransactionManager, "_begin_completing_transaction"): ("_new_partitions_in_transaction",),
    (TransactionManager, "is_send_to_partition_allowed"): ("has_fatal_error",),
}
"""The code that uses our replacements, and the names it uses."""


def incompatibilities() -> list[str]:
    """Return one sentence for each part of kafka-python that has moved."""
    return compatible.incompatibilities(_READS, {ProducerIdAndEpoch: ["producer_id", "epoch"]}, {})
