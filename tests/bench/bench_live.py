"""What a flow costs while it runs: latency at 10,000 messages a second, idle CPU, a million series.

python -m tests.bench.bench_live

Latency is from the broker's append of a reading to its append of the event, by the broker's own
clock (LogAppendTime), hence against Apache Kafka; skipped where there is none.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
from kafka import TopicPartition
from numpy.typing import NDArray

from ewma_ops.connectors.client import connect_consumer, connect_producer
from ewma_ops.connectors.exchange import poll, send
from ewma_ops.decay import Decay
from ewma_ops.demo.broker import EmbeddedBroker
from ewma_ops.murmur2 import murmur2, murmur2_column
from ewma_ops.readings import Readings
from ewma_ops.smoothing import Smoothing
from ewma_ops.table import SeriesTable
from ewma_ops.wire.records import ProducerRecords
from tests.bench.contest import PARTITIONS, fill, make_topic
from tests.brokers import ApacheKafka, KafkaUnavailableError

A_SECOND = 10_000
WARM_UP_S, MEASURED_S, IDLE_S = 6, 10, 20
TICK_S = 0.002
SERIES = 1_000
MANY_SERIES = 1_000_000
_PEERS = Path(__file__).parent / "peers"
_CLOCK = {"message.timestamp.type": "LogAppendTime"}


class _Sequence(msgspec.Struct):
    ts: int = -1
    time: int = -1


_read = msgspec.json.Decoder(_Sequence).decode


def latency(bootstrap: str, contender: str, python: str) -> tuple[float, float]:
    """Return the median and the 99th percentile in milliseconds."""
    source, target = f"live-{contender}", f"lived-{contender}"
    for topic in (source, target):
        make_topic(bootstrap, topic, _CLOCK)
    process = _start(python, contender, bootstrap, source, target)
    try:
        _feed(bootstrap, source, (WARM_UP_S + MEASURED_S) * A_SECOND)
        time.sleep(2)
    finally:
        process.kill()
        process.wait()
    came, went = _appended(bootstrap, source), _appended(bootstrap, target)
    assert len(went) >= len(came), f"{contender}: {len(went)} of {len(came)}"
    first = WARM_UP_S * A_SECOND
    took = np.array([went[i] - came[i] for i in range(first, len(came))])
    return float(np.percentile(took, 50)), float(np.percentile(took, 99))


def _start(python: str, contender: str, *topics: str) -> subprocess.Popen[bytes]:
    command = [python, str(_PEERS / f"{contender}.py"), *topics, "0", "--forever"]
    environment = {**os.environ, "PYTHONPATH": str(_PEERS.parents[2])}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)


def _feed(bootstrap: str, topic: str, readings: int) -> None:
    producer = connect_producer({"bootstrap_servers": bootstrap, "linger_ms": 0})
    producer.partitions_for(topic)
    started, sent = time.monotonic(), 0
    while sent < readings:
        due = min(readings, int((time.monotonic() - started) * A_SECOND))
        runs: dict[int, tuple[list[bytes | None], list[bytes | None]]] = {}
        for at in range(sent, due):
            key = b"sensor-%d" % (at % SERIES)
            partition = (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
            keys, values = runs.setdefault(partition, ([], []))
            keys.append(key)
            values.append(b'{"series_id":"%s","ts":%d,"value":20.125}' % (key, at))
        for partition, run in runs.items():
            send(producer, topic, partition, ProducerRecords(*run))
        sent = due
        time.sleep(TICK_S)
    producer.flush(10)
    producer.close(10)


def _appended(bootstrap: str, topic: str) -> dict[int, int]:
    """Return when the broker appended each reading or event, by its number."""
    consumer = connect_consumer({"bootstrap_servers": bootstrap}, "live")
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    consumer.assign(tps)
    consumer.seek_to_beginning(*tps)
    found: dict[int, int] = {}
    while runs := [run for each in poll(consumer, 1_000).values() for run in each]:
        for run in runs:
            rows = map(_read, run.values)  # type: ignore[arg-type]
            numbers = [max(row.ts, row.time) for row in rows]
            found.update(zip(numbers, run.timestamps_ms.tolist(), strict=True))
    consumer.close()
    return found


def idle(bootstrap: str) -> float:
    """Return the share of a core that the flow takes while nothing comes."""
    few = fill(bootstrap, "idle", 2_000, 100)
    make_topic(bootstrap, "idled")
    process = _start(sys.executable, "ours", bootstrap, few.topic, "idled")
    try:
        time.sleep(6)
        before = _cpu_s(process.pid)
        time.sleep(IDLE_S)
        return (_cpu_s(process.pid) - before) / IDLE_S
    finally:
        process.kill()
        process.wait()


def memory(bootstrap: str) -> tuple[float, float]:
    """Return the resident MB of a flow that holds a million series, and its peak."""
    many = fill(bootstrap, "million", MANY_SERIES + MANY_SERIES // 2, MANY_SERIES, every=True)
    make_topic(bootstrap, "millioned")
    process = _start(sys.executable, "ours", bootstrap, many.topic, "millioned")
    try:
        deadline, last = time.monotonic() + 120, 0.0
        while time.monotonic() < deadline:  # until it is idle again
            time.sleep(3)
            used = _cpu_s(process.pid)
            if used - last < 0.2:
                break
            last = used
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.kill()
        process.wait()
    sizes = dict(line.split(":", 1) for line in status.splitlines() if line.startswith("Vm"))
    resident, peak = (int(sizes[name].split()[0]) / 1e3 for name in ("VmRSS", "VmHWM"))
    return resident, peak


def stalls() -> tuple[float, float]:
    """Return the seconds for snapshots of a million series in 16 shards, and to resume them."""
    ids = [f"sensor-{i}" for i in range(MANY_SERIES)]
    smoothing = Smoothing(Decay(beta=0.9))
    shards = murmur2_column(ids) % 16
    tables = []
    for shard in range(16):
        mine = np.flatnonzero(shards == shard).tolist()
        values: NDArray[np.float64] = np.ones(len(mine))
        tables.append(SeriesTable(smoothing))
        tables[-1].update(Readings([ids[i] for i in mine], values))
    started = time.process_time()
    stored = [pickle.dumps(table.snapshot()) for table in tables]
    stall_s = time.process_time() - started
    started = time.process_time()
    resumed = [SeriesTable(smoothing, pickle.loads(snapshot)) for snapshot in stored]
    assert sum(map(len, resumed)) == MANY_SERIES
    return stall_s, time.process_time() - started


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the figures."""
    stall_s, resume_s = stalls()
    print(f"1,000,000 series: snapshots {stall_s * 1000:.0f} ms, resuming {resume_s:.2f} s (CPU)")
    with EmbeddedBroker() as broker:
        resident, peak = memory(broker.bootstrap_servers)
        print(f"1,000,000 series: {resident:.0f} MB resident, {peak:.0f} MB at most", flush=True)
        print(f"idle: {idle(broker.bootstrap_servers):.1%} of a core", flush=True)
    try:
        with tempfile.TemporaryDirectory() as directory, ApacheKafka(Path(directory)) as kafka:
            peers = os.environ.get("EWMA_PEERS", sys.executable)
            for contender, python in {"ours": sys.executable, "bytewax_own": peers}.items():
                p50, p99 = latency(kafka.bootstrap_servers, contender, python)
                print(f"{A_SECOND:,}/s, {contender:12} p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    except KafkaUnavailableError as reason:
        print(f"latency: left out, {reason}")


if __name__ == "__main__":
    main()
