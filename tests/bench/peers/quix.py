"""Quix Streams with its state store."""

from __future__ import annotations

import logging
import sys
from typing import Any

from quixstreams import Application

BETA = 0.9
bootstrap, topic, output, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
application = Application(
    broker_address=bootstrap,
    consumer_group=output,
    auto_offset_reset="earliest",
    state_dir=f"/tmp/quix-{output}",
    use_changelog_topics=False,
    loglevel=logging.WARNING,
    consumer_extra_config={
        "fetch.queue.backoff.ms": 10,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 500,
    },
    producer_extra_config={"linger.ms": 5, "partitioner": "murmur2_random"},
)


def smooth(reading: dict[str, Any], state: Any) -> dict[str, Any]:
    v, power = state.get("ewma", (0.0, 1.0))
    v, power = BETA * v + (1 - BETA) * reading["value"], power * BETA
    state.set("ewma", (v, power))
    return {
        "series_id": reading["series_id"],
        "time": reading["ts"],
        "value": reading["value"],
        "ewma": v / (1 - power),
    }


frame = application.dataframe(application.topic(topic, value_deserializer="json"))
frame = frame.apply(smooth, stateful=True)
frame.to_topic(application.topic(output, value_serializer="json"))
application.run(count=n, timeout=30)
