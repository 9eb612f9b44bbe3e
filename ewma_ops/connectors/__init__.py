"""Kafka as source and sink of a Bytewax dataflow; bytes and columns only."""

from typing import TYPE_CHECKING

from ewma_ops.lazy import lazy_names

if TYPE_CHECKING:
    from ewma_ops.connectors.client.topics import create_topic, partition_count
    from ewma_ops.connectors.parts import part_key
    from ewma_ops.connectors.sink.sink import KafkaSink
    from ewma_ops.connectors.source.source import KafkaSource
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ewma_ops.connectors.client.topics": ["create_topic", "partition_count"],
            "ewma_ops.connectors.parts": ["part_key"],
            "ewma_ops.connectors.sink.sink": ["KafkaSink"],
            "ewma_ops.connectors.source.source": ["KafkaSource"],
        },
    )

__all__ = ["KafkaSink", "KafkaSource", "create_topic", "part_key", "partition_count"]
