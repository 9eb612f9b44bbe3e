"""A fence before runs of before: brokers refuse what their producers send, whatever they do.

May touch kafka-python's inside; must not know whose runs these are. Kafka fences producers with a
transactional id: each new one of the same id has a higher epoch, and brokers take no record of a
lower one. That holds for records outside of transactions too, once a partition has heard of the
epoch, as it does by the end of a transaction without records. So all producers of a run write
with one producer id and epoch, each to partitions of its own, and every reader sees what they
write at once.
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
    """The producer id and epoch that a run writes with; those of the runs before are refused.

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
        """Return a fence from its text; `ConfigError` if it is none."""
        producer_id, _, epoch = text.partition(":")
        if not (producer_id.isdecimal() and epoch.isdecimal()):
            raise ConfigError(f"fence = {text!r}: give a producer id and an epoch, as 4000:17")
        return cls(int(producer_id), int(epoch))


def raise_fence(
    client: Mapping[str, object], transactional_id: str, partitions: Mapping[str, int]
) -> Fence:
    """Return what a new run writes with, when no record of an earlier one can be appended any more.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    transactional_id
        The same for all runs of a job.
    partitions
        How many there are of each topic that is written to.

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
    # The next one of this id is let in when the end of the transaction is in every partition.
    second = connect_producer(client, transactional_id)
    try:
        given = second._transaction_manager.producer_id_and_epoch
        return Fence(given.producer_id, given.epoch)
    finally:
        close_producer(second, _CLOSE_S)


def stand_behind(producer: KafkaProducer, fence: Fence) -> None:
    """Have an idempotent producer that has sent nothing write with what a fence gives.

    It never takes another producer id in its place, as it would after an error: it fails for good.
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
"""The code that meets what is put in its place here, and what it uses of it."""


def incompatibilities() -> list[str]:
    """Return one sentence for each thing in kafka-python that is not where it was."""
    return compatible.incompatibilities(_READS, {ProducerIdAndEpoch: ["producer_id", "epoch"]}, {})
