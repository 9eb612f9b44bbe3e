"""Kafka as source and sink of a Bytewax dataflow; bytes and columns only."""

from ewma_ops.connectors.client.topics import create_topic, partition_count
from ewma_ops.connectors.parts import part_key
from ewma_ops.connectors.sink.sink import KafkaSink
from ewma_ops.connectors.source.source import KafkaSource

__all__ = ["KafkaSink", "KafkaSource", "create_topic", "part_key", "partition_count"]
