"""A loop by hand over confluent-kafka, well tuned: batches in, librdkafka's threads, orjson."""

from __future__ import annotations

import sys

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

bootstrap, topic, output, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
BETA = 0.9
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": output,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "fetch.queue.backoff.ms": 10,
        "queued.max.messages.kbytes": 65536,
        "fetch.wait.max.ms": 10,
    }
)
consumer.assign([TopicPartition(topic, p, 0) for p in range(4)])
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "linger.ms": 5,
        "enable.idempotence": True,
        "queue.buffering.max.messages": 1_000_000,
        "batch.num.messages": 100_000,
        "batch.size": 500_000,
        "partitioner": "murmur2_random",
    }
)
state: dict[str, tuple[float, float]] = {}
done = 0
loads, dumps, produce = orjson.loads, orjson.dumps, producer.produce
while done < n:
    messages = consumer.consume(10_000, 0.05)
    for message in messages:
        reading = loads(message.value())
        series_id, x = reading["series_id"], reading["value"]
        v, power = state.get(series_id, (0.0, 1.0))
        v, power = BETA * v + (1 - BETA) * x, power * BETA
        state[series_id] = (v, power)
        produce(
            output,
            dumps(
                {
                    "series_id": series_id,
                    "time": reading["ts"],
                    "value": x,
                    "ewma": v / (1 - power),
                }
            ),
            series_id,
        )
    done += len(messages)
    producer.poll(0)
producer.flush()
consumer.close()
