"""csp: one node in Python between its Kafka adapters, which read and write the JSON in C++."""

import sys
from datetime import datetime, timedelta, timezone

import csp
from csp import ts
from csp.adapters.kafka import JSONTextMessageMapper, KafkaAdapterManager, KafkaStartOffset

BETA = 0.9
bootstrap, topic, output, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])


class Reading(csp.Struct):  # type: ignore[misc]  # it has no types
    series_id: str
    ts: int
    value: float


class Event(csp.Struct):  # type: ignore[misc]
    series_id: str
    time: int
    value: float
    ewma: float


@csp.node  # type: ignore[untyped-decorator]
def smooth(reading: ts[Reading], n: int) -> ts[Event]:
    with csp.state():
        s_state: dict[str, tuple[float, float]] = {}
        s_done = 0
    if csp.ticked(reading):
        series_id, x = reading.series_id, reading.value
        v, power = s_state.get(series_id, (0.0, 1.0))
        v, power = BETA * v + (1 - BETA) * x, power * BETA
        s_state[series_id] = (v, power)
        s_done += 1
        if s_done == n:
            csp.stop_engine()
        return Event(series_id=series_id, time=reading.ts, value=x, ewma=v / (1 - power))


@csp.graph  # type: ignore[untyped-decorator]
def flow() -> None:
    kafka = KafkaAdapterManager(
        bootstrap,
        KafkaStartOffset.EARLIEST,
        max_queue_size=1_000_000,
        poll_timeout=timedelta(milliseconds=50),
        rd_kafka_consumer_conf_options={
            "fetch.queue.backoff.ms": "10",
            "queued.max.messages.kbytes": "65536",
            "fetch.wait.max.ms": "10",
            "session.timeout.ms": "6000",
            "heartbeat.interval.ms": "500",
        },
        rd_kafka_producer_conf_options={
            "linger.ms": "5",
            "batch.num.messages": "100000",
            "batch.size": "500000",
            "partitioner": "murmur2_random",
        },
    )
    json = JSONTextMessageMapper()
    readings = kafka.subscribe(Reading, json, topic, push_mode=csp.PushMode.NON_COLLAPSING)
    kafka.publish(json, output, "series_id", smooth(readings, n))


csp.run(flow, starttime=datetime.now(timezone.utc), endtime=timedelta(seconds=300), realtime=True)
