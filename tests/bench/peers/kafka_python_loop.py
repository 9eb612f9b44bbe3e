"""A loop by hand over kafka-python, record by record: what its documentation shows, tuned."""

from __future__ import annotations

import sys

import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

bootstrap, topic, output, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
BETA = 0.9
consumer = KafkaConsumer(
    bootstrap_servers=bootstrap, auto_offset_reset="earliest", metrics_enabled=False
)
consumer.assign([TopicPartition(topic, p) for p in range(4)])
producer = KafkaProducer(
    bootstrap_servers=bootstrap, linger_ms=5, batch_size=256 << 10, metrics_enabled=False
)
state: dict[str, tuple[float, float]] = {}
done = 0
while done < n:
    for messages in consumer.poll(timeout_ms=100, max_records=5_000).values():
        for message in messages:
            reading = orjson.loads(message.value)
            series_id, x = reading["series_id"], reading["value"]
            v, power = state.get(series_id, (0.0, 1.0))
            v, power = BETA * v + (1 - BETA) * x, power * BETA
            state[series_id] = (v, power)
            event = {"series_id": series_id, "time": reading["ts"], "value": x}
            event["ewma"] = v / (1 - power)
            producer.send(output, orjson.dumps(event), series_id.encode())
        done += len(messages)
producer.flush()
producer.close()
consumer.close()
