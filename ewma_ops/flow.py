"""The dataflow behind ``ewma run``: Kafka in, smoothed events and dead letters out.

The one place that joins connectors, codecs and operators; each of them knows none of the others.

    source -> decode -> Readings -> smooth -> encode -> sink
                    `-> dead letters -------------------> sink
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TypeGuard, cast

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream
from prometheus_client import Counter

import ewma_ops.operators as ew
from ewma_ops.connectors.parts import part_key
from ewma_ops.connectors.sink import KafkaSink
from ewma_ops.connectors.source import KafkaSource
from ewma_ops.deadletter import letters
from ewma_ops.murmur2 import murmur2_column, partition_for
from ewma_ops.readings import Readings, Smoothed
from ewma_ops.serde.json import JsonDecoder, JsonEncoder
from ewma_ops.settings import Settings
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

__all__ = ["build_flow"]

_READINGS = Counter("ewma_ops_readings", "Readings taken in.")
_DEAD_LETTERS = Counter("ewma_ops_dead_letters", "Messages put aside, by cause.", ["cause"])

Addressed = tuple[str, ProducerRecords]
"""Records for one partition, by the name of its part."""


def build_flow(settings: Settings, stopping: threading.Event | None = None) -> Dataflow:
    """Build the dataflow of a configuration.

    Parameters
    ----------
    settings
        What to read, compute and write.
    stopping
        When set, the source ends and Bytewax takes a last snapshot.

    Raises
    ------
    BrokerError, ConfigError
        If Kafka cannot be reached with the options given, or a topic does not exist.
    """
    reads = settings.input
    source = KafkaSource(
        settings.kafka,
        reads.topic,
        start=reads.start,
        stop=reads.stop,
        group_id=reads.group_id,
        stopping=stopping,
    )
    events = KafkaSink(settings.kafka, settings.output.topic)
    dead_letters = KafkaSink(settings.kafka, settings.dead_letters.topic)
    decode = _Decode(
        JsonDecoder(value=reads.value, series_id=reads.series_id, time=reads.time),
        dead_letters.partitions,
    )
    encode = _Encode(JsonEncoder(settings.smoothing.statistics), events.partitions)

    flow = Dataflow("ewma")
    records = op.input("source", flow, source)
    decoded = op.branch("readable", op.flat_map_batch("decode", records, decode), _is_readings)
    unreadable = cast("KeyedStream[ProducerRecords]", decoded.falses)
    smoothed = ew.smooth_batches("smooth", decoded.trues, settings.smoothing, settings.shards)
    op.output("sink", op.flat_map_batch("encode", smoothed, encode), events)
    op.output("dead-letters", unreadable, dead_letters)
    return flow


def _is_readings(item: Readings | Addressed) -> TypeGuard[Readings]:
    return isinstance(item, Readings)


class _Decode:
    """Runs of records to readings, and what is unreadable to addressed dead letters."""

    def __init__(self, decoder: JsonDecoder, partitions: int) -> None:
        self._decoder = decoder
        self._partitions = partitions

    def __call__(self, batch: list[ConsumerRecords]) -> Iterable[Readings | Addressed]:
        for records in batch:
            decoded = self._decoder.decode(records.keys, records.values, records.timestamps_ms)
            if len(decoded.readings) > 0:
                _READINGS.inc(len(decoded.readings))
                yield decoded.readings
            if decoded.rejected:
                for rejection in decoded.rejected:
                    _DEAD_LETTERS.labels(rejection.cause).inc()
                part = part_key(records.partition % self._partitions)
                yield part, letters(records, decoded.rejected)


class _Encode:
    """Smoothed columns to addressed events, one run for each output partition."""

    def __init__(self, encoder: JsonEncoder, partitions: int) -> None:
        self._encoder = encoder
        self._partitions = partitions

    def __call__(self, batch: list[Smoothed]) -> Iterable[Addressed]:
        runs: dict[int, ProducerRecords] = {}
        for smoothed in batch:
            ids, hashes = smoothed.readings.series_ids, smoothed.readings.hashes
            keys = list(map(str.encode, ids))
            values = self._encoder.encode(smoothed)
            found = partition_for(
                murmur2_column(ids) if hashes is None else hashes, self._partitions
            )
            for partition in np.flatnonzero(np.bincount(found)).tolist():
                run = runs.setdefault(partition, ProducerRecords([], []))
                at = np.flatnonzero(found == partition).tolist()
                run.keys.extend(keys if len(at) == len(keys) else [keys[i] for i in at])
                run.values.extend(values if len(at) == len(keys) else [values[i] for i in at])
        return [(part_key(partition), run) for partition, run in runs.items()]
