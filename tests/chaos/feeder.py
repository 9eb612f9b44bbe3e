"""What the job is fed: readings at a steady rate, and records that are made to break it.

A record that must become a dead letter says so in a header, for the judge; the flow ignores it.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from tests.chaos.plan import Plan
from tests.helpers.patience import PATIENCE_S

__all__ = ["BAD_EVERY", "MUST_BE_REJECTED", "PARTITIONS_IN", "Feeder"]

PARTITIONS_IN = 3
SERIES = 50
SERIES_OF_NEW_PARTITION = 10
_TURNS, _SILENCE_S = 10, 2
"""One series in so many is silent for so many seconds, and then the next one of each."""
BAD_EVERY = 97
MUST_BE_REJECTED = ("judge", b"dead letter")
BOMB_BYTES = 150_000_000

_Header = tuple[str, bytes]


class Feeder:
    """Writes readings at a steady rate; a series stays in one partition for good."""

    def __init__(self, bootstrap: str, topic: str, plan: Plan) -> None:
        self._rng = random.Random(f"{plan.seed} feed")
        self._rate, self._topic, self._bootstrap = plan.rate, topic, bootstrap
        self._series = [(f"s{i}", i % PARTITIONS_IN) for i in range(SERIES)]
        self._enough = threading.Event()
        self._paused = threading.Event()
        self._idle = threading.Event()
        self._failed: list[BaseException] = []
        self._producer = self._connect()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop; everything that was sent is acknowledged, or this fails."""
        self._enough.set()
        self._thread.join()
        self._producer.flush(90)
        self._producer.close(timeout=10)
        self.check()

    def abandon(self) -> None:
        """Stop at once, where the run has failed."""
        self._enough.set()
        with contextlib.suppress(KafkaError):
            self._producer.close(timeout=0)

    def check(self) -> None:
        """Raise what a send failed with: the truth would not be what the plan says."""
        if self._failed:
            raise self._failed[0]

    def pause(self) -> None:
        """Send nothing until ``resume``; what was sent is acknowledged."""
        self._paused.set()
        self._idle.wait(30)
        self._producer.flush(90)

    def resume(self) -> None:
        self._idle.clear()
        self._paused.clear()

    def use_new_partition(self, partition: int) -> None:
        """Send new series to a partition that the topic has gained."""
        until = time.monotonic() + PATIENCE_S
        while partition not in self._producer.partitions_for(self._topic):
            assert time.monotonic() < until, f"partition {partition} does not show"
            time.sleep(0.1)
        named = [(f"p{partition}-{i}", partition) for i in range(SERIES_OF_NEW_PARTITION)]
        self._series = [*self._series, *named]

    def send_garbage(self, rng: random.Random, records: int = 200) -> None:
        """Send what is not a reading, in many ways, into every partition."""
        for _ in range(records):
            self._put(_garbage(rng), rng.randrange(PARTITIONS_IN), [MUST_BE_REJECTED])

    def send_bomb(self, rng: random.Random) -> None:
        """Send one gzip record of blanks: small on the wire, 150 MB in memory."""
        producer = self._connect(compression_type="gzip", max_request_size=2 * BOMB_BYTES)
        try:
            partition = rng.randrange(PARTITIONS_IN)
            sent = producer.send(
                self._topic,
                value=b" " * BOMB_BYTES,
                key=b"bomb",
                headers=[MUST_BE_REJECTED],
                partition=partition,
            )
            sent.get(90)
        finally:
            producer.close(timeout=10)

    def send_long_ids(self, rng: random.Random, bytes_of_id: int, records: int = 3) -> None:
        """Send readings whose events, with the id in them twice, are too large for the output."""
        for i in range(records):
            series = f"long-{i}-".ljust(bytes_of_id, "x")
            payload = json.dumps({"id": series, "value": 1.0}).encode()
            self._put(payload, rng.randrange(PARTITIONS_IN), [MUST_BE_REJECTED])

    def send_wide_ids(self, bytes_of_id: int) -> None:
        """Send readings with ids that are long, and allowed: their events are large."""
        for partition in range(PARTITIONS_IN):
            series = f"wide-{partition}-".ljust(bytes_of_id, "x")
            payload = json.dumps({"id": series, "value": 1.0}).encode()
            self._put(payload, partition, [], series.encode())

    def _connect(self, **options: Any) -> Any:
        patient = {"acks": "all", "delivery_timeout_ms": 300_000, "metadata_max_age_ms": 1000}
        return KafkaProducer(bootstrap_servers=self._bootstrap, linger_ms=5, **patient, **options)

    def _run(self) -> None:
        try:
            self._feed()
        except Exception as error:  # noqa: BLE001  # raised by `check`, in the thread that asks
            self._failed.append(error)

    def _feed(self) -> None:
        began, n = time.monotonic(), 0
        while not self._enough.is_set():
            if self._paused.is_set():
                self._idle.set()
                began = time.monotonic() - n / self._rate
                time.sleep(0.01)
                continue
            while n < (time.monotonic() - began) * self._rate and not self._paused.is_set():
                self._send(n)
                n += 1
            time.sleep(0.01)

    def _send(self, n: int) -> None:
        at = self._rng.randrange(len(self._series))
        if at % _TURNS == n // (_SILENCE_S * self._rate) % _TURNS:
            at = (at + 1) % len(self._series)
        series, partition = self._series[at]
        reading = {"id": series, "value": round(self._rng.gauss(20, 5), 3)}
        if n % BAD_EVERY == 0:
            self._put(b"not json", partition, [MUST_BE_REJECTED])
        else:
            self._put(json.dumps(reading).encode(), partition, [], series.encode())

    def _put(
        self, payload: bytes, partition: int, headers: list[_Header], key: bytes = b"bad"
    ) -> None:
        sent = self._producer.send(
            self._topic, key=key, value=payload, partition=partition, headers=headers
        )
        sent.add_errback(self._failed.append)


def _garbage(rng: random.Random) -> bytes:
    """Return a payload that is no reading, whatever the decoder is lenient with."""
    return rng.choice(
        [
            rng.randbytes(rng.randint(1, 300)) + b"\x00",
            b'{"id": "s1", "value": 1',
            b'{"id": "s1", "value": true}',
            b'{"id": "s1", "value": "high"}',
            b'{"id": "s1", "value": [1]}',
            b'{"id": {"a": 1}, "value": 1}',
            b'{"value": 1}',
            b'{"id": "s1", "value": 1e999}',
            b'{"id": "s1", "value": ' + b"9" * 4000 + b"}",
            b"[" * 2000,
            b"",
            b"null",
        ]
    )
