"""Bytewax with the Kafka connector it comes with (confluent-kafka inside) and a stateful map."""

from __future__ import annotations

import sys
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

BETA = 0.9
FOREVER = "--forever"
bootstrap, topic, output = sys.argv[1:4]


def read(message: Any) -> Any:
    return orjson.loads(message.value)


def smooth(state: Any, reading: dict[str, Any]) -> tuple[Any, Any]:
    v, power = (0.0, 1.0) if state is None else state
    v, power = BETA * v + (1 - BETA) * reading["value"], power * BETA
    return (v, power), (reading, v / (1 - power))


def write(item: tuple[str, Any]) -> Any:
    series_id, (reading, ewma) = item
    event = {"series_id": series_id, "time": reading["ts"], "value": reading["value"]}
    event["ewma"] = ewma
    return KafkaSinkMessage(series_id.encode(), orjson.dumps(event))


flow = Dataflow("own")
messages = op.input(
    "in",
    flow,
    KafkaSource(
        [bootstrap],
        [topic],
        tail=FOREVER in sys.argv,
        batch_size=1_000,
        add_config={
            "fetch.queue.backoff.ms": "10",
            "fetch.wait.max.ms": "10",
        },
    ),
)
readings = op.key_on("key", op.map("read", messages, read), lambda reading: reading["series_id"])
smoothed = op.stateful_map("smooth", readings, smooth)
out = op.map("write", smoothed, write)
sink = KafkaSink(
    [bootstrap],
    output,
    add_config={
        "linger.ms": "2",
        "partitioner": "murmur2_random",
        "queue.buffering.max.messages": "1000000",
    },
)
op.output("out", out, sink)
run_main(flow)
