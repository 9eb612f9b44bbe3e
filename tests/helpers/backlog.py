"""A copy of a topic by a source and a sink with a brake between: prints its memory as it goes.

python tests/helpers/backlog.py BOOTSTRAP SOURCE TARGET RECORDS [RECORDS_A_SECOND [STANDSTILL_S]]
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main

from ewma_ops.connectors import KafkaSink, KafkaSource
from ewma_ops.connectors.client.connect import connect_producer
from ewma_ops.connectors.client.exchange import send
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords
from tests.helpers.dataflows import copied

VALUE = b'{"series_id":"sensor-%d","ts":1700000000000,"value":21.5,"note":"%s"}'
NOTE_BYTES = 400


def fill(bootstrap: str, topic: str, batches: int, a_batch: int) -> None:
    """Write batches of records to 4 partitions in turn."""
    producer = connect_producer({"bootstrap_servers": bootstrap})
    producer.partitions_for(topic)
    values: list[bytes | None] = [VALUE % (i, b"x" * NOTE_BYTES) for i in range(a_batch)]
    keys: list[bytes | None] = [b"sensor-%d" % i for i in range(a_batch)]
    for batch in range(batches):
        futures, _ = send(producer, topic, batch % 4, ProducerRecords(keys, values))
        futures[-1].get(60)
    producer.close(10)


def resident_mb() -> float:
    """Return this process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(
    bootstrap: str,
    source: str,
    target: str,
    records: int,
    a_second: int = 100_000,
    standstill_s: int = 0,
) -> None:
    seen = printed = 0
    started = time.monotonic()

    def brake(item: ConsumerRecords) -> Any:
        nonlocal seen, printed
        if seen == 0:
            time.sleep(standstill_s)
        seen += len(item)
        time.sleep(max(0.0, started + seen / a_second - time.monotonic()))
        if seen // (records // 20) > printed:
            printed = seen // (records // 20)
            print(f"{resident_mb():.1f}", flush=True)
        return copied(item)

    client = {"bootstrap_servers": bootstrap}
    flow = Dataflow("backlog")
    items = op.input("in", flow, KafkaSource(client, source, stop="end", group_id=source))
    op.output(
        "out", op.map("brake", items, brake), KafkaSink(client, target, delivery="at-least-once")
    )
    cluster_main(flow, [], 0)
    assert seen == records, f"{seen} of {records}"


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))  # type: ignore[arg-type]
