"""Put readings onto a topic at a given pace, as a device or an exchange would.

Knows the payload of a reading and kafka-python's producer; must not know of flows or screens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from ewma_ops.demo.data import RecordedReading, recorded_readings, synthetic_ticks
from ewma_ops.errors import BrokerError, DeliveryError

__all__ = [
    "LABEL_HEADER",
    "MALFORMED",
    "MALFORMED_EVERY",
    "READINGS_PER_S",
    "STAMPED_PER_S",
    "SYNTHETIC_PER_S",
    "Feeder",
    "Malformed",
    "feed",
    "now_ms",
]

LABEL_HEADER = "malformed-on-purpose"
"""Header of a malformed message; its value says what is wrong with it."""

READINGS_PER_S = 2800.0
"""Pace of the recorded readings: all are sent within a quarter of a minute."""

STAMPED_PER_S = READINGS_PER_S
"""Pace that the timestamps of the demo's records tell, however fast they are sent: by it the series
that is silent is so for some seconds."""

SYNTHETIC_PER_S = 200.0
"""Pace of the synthetic ticks."""

_ROUND_S = 0.02
_TIMEOUT_S = 20


class Malformed(NamedTuple):
    """A message that is no reading, and what is wrong with it."""

    label: str
    key: bytes
    payload: bytes | None


_TOO_DEEP = b"[" * 50_000 + b"]" * 50_000

MALFORMED = (
    Malformed("null payload", b"AAPL", None),
    Malformed("empty payload", b"AAPL", b""),
    Malformed("truncated JSON", b"IBM", b'{"series_id": "IBM", "ts": 951944'),
    Malformed("not UTF-8", b"FB", b'{"series_id": "caf\xe9", "ts": 951944400000, "value": 1}'),
    Malformed("a list", b"MSFT", b'["MSFT", 951944400000, 90.8]'),
    Malformed("text for a number", b"GOOG", b'{"series_id": "GOOG", "ts": 1, "value": "9.5"}'),
    Malformed("NaN literal", b"GOOG", b'{"series_id": "GOOG", "ts": 1, "value": NaN}'),
    Malformed("number too large", b"FB", b'{"series_id": "FB", "ts": 1, "value": 1e400}'),
    Malformed("no series id", b"", b'{"ts": 951944400000, "value": 21.5}'),
    Malformed("empty series id", b"", b'{"series_id": "", "ts": 951944400000, "value": 21.5}'),
    Malformed("year 33658", b"IBM", b'{"series_id": "IBM", "ts": 1000000000000000, "value": 9.5}'),
    Malformed(
        "nested 50,000 deep",
        b"sea-surface",
        b'{"series_id": "sea-surface", "ts": 951944400000, "value": ' + _TOO_DEEP + b"}",
    ),
)
"""A dozen messages for the dead letters."""

MALFORMED_EVERY = 3000
"""Readings between two malformed messages."""


class Feeder:
    """Send readings to a topic, each as JSON keyed by its series id.

    Parameters
    ----------
    bootstrap_servers
        Kafka's address, ``host:port``.
    topic
        Where the readings go; it exists.
    stopping
        Ends the sending once it is set.

    Raises
    ------
    BrokerError
        If Kafka cannot be reached.
    """

    def __init__(
        self, bootstrap_servers: str, topic: str, stopping: threading.Event | None = None
    ) -> None:
        self.sent = 0
        """Readings sent so far."""
        self.malformed = 0
        """Malformed messages sent so far."""
        self._topic = topic
        self._stopping = threading.Event() if stopping is None else stopping
        self._failure: BaseException | None = None
        self._timestamp_ms: int | None = None
        try:
            self._producer = KafkaProducer(
                bootstrap_servers=bootstrap_servers,
                linger_ms=5,
                acks="all",
                bootstrap_timeout_ms=_TIMEOUT_S * 1000,
            )
        except KafkaError as error:
            raise BrokerError(f"no Kafka answers at {bootstrap_servers}: {error}") from error

    def send(
        self,
        readings: Iterable[RecordedReading],
        readings_per_s: float,
        malformed: Sequence[Malformed] = (),
        stamped_per_s: float | None = None,
    ) -> None:
        """Send ``readings`` until they end or ``stopping`` is set, and wait for every delivery.

        Parameters
        ----------
        readings_per_s
            Pace, > 0.
        malformed
            Messages to put between the readings, one after every ``MALFORMED_EVERY``.
        stamped_per_s
            Pace that the timestamps of the records are to tell; ``None`` for when they are sent.

        Raises
        ------
        DeliveryError
            If Kafka did not take a message.
        """
        due_s, began_ms = time.perf_counter(), now_ms()
        for k, reading in enumerate(readings, start=1):
            if stamped_per_s is not None:
                self._timestamp_ms = began_ms + int(k / stamped_per_s * 1_000)
            self._send_reading(reading)
            if k % MALFORMED_EVERY == 0 and self.malformed < len(malformed):
                self._send_malformed(malformed[self.malformed])
            due_s += 1 / readings_per_s
            ahead_s = due_s - time.perf_counter()
            if (ahead_s > _ROUND_S and self._stopping.wait(ahead_s)) or self._stopping.is_set():
                break
        self._timestamp_ms = None
        self._wait_for_acks()

    def close(self) -> None:
        """Let go of the producer; what was not delivered by then is given up."""
        self._producer.close(timeout=1)

    def _send_reading(self, reading: RecordedReading) -> None:
        payload: dict[str, object] = {
            "series_id": reading.series_id,
            "ts": reading.time_ms,
            "value": reading.value,
        }
        if reading.volume is not None:
            payload["volume"] = reading.volume
        self._hand_over(reading.series_id.encode(), msgspec.json.encode(payload), [])
        self.sent += 1

    def _send_malformed(self, message: Malformed) -> None:
        label = (LABEL_HEADER, message.label.encode())
        self._hand_over(message.key, message.payload, [label])
        self.malformed += 1

    def _hand_over(
        self, key: bytes, payload: bytes | None, headers: list[tuple[str, bytes]]
    ) -> None:
        self._check()
        future = self._producer.send(
            self._topic,
            key=key,
            value=payload,
            headers=headers,
            timestamp_ms=self._timestamp_ms,
        )
        future.add_errback(self._failed)

    def _failed(self, error: BaseException) -> None:
        self._failure = error

    def _wait_for_acks(self) -> None:
        try:
            self._producer.flush(timeout=_TIMEOUT_S)
        except KafkaError as error:
            self._failure = self._failure or error
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise DeliveryError(
                f"Kafka did not take a reading for topic {self._topic!r}: {self._failure!r}"
            ) from self._failure


def feed(
    bootstrap_servers: str,
    topic: str,
    *,
    readings_per_s: float = READINGS_PER_S,
    forever: bool = False,
    stopping: threading.Event | None = None,
) -> int:
    """Replay the recorded readings onto a topic and return how many readings were sent.

    Parameters
    ----------
    readings_per_s
        Pace of the recorded readings, > 0.
    forever
        Go on with synthetic ticks, ``SYNTHETIC_PER_S`` a second, until ``stopping`` is set.
    stopping
        Ends the feed once it is set.

    Raises
    ------
    BrokerError
        If Kafka cannot be reached or did not take a reading.
    """
    stopping = threading.Event() if stopping is None else stopping
    feeder = Feeder(bootstrap_servers, topic, stopping)
    try:
        feeder.send(recorded_readings(), readings_per_s, MALFORMED)
        if forever and not stopping.is_set():
            feeder.send(synthetic_ticks(now_ms), SYNTHETIC_PER_S)
    finally:
        feeder.close()
    return feeder.sent


def now_ms() -> int:
    """Return the time now, milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000
