"""Kafka as source and sink of a Bytewax dataflow; bytes and columns only."""

from ewma_ops.connectors.parts import part_key
from ewma_ops.connectors.sink import KafkaSink
from ewma_ops.connectors.source import KafkaSource
from ewma_ops.connectors.topics import create_topic, partition_count

__all__ = ["KafkaSink", "KafkaSource", "create_topic", "part_key", "partition_count"]
