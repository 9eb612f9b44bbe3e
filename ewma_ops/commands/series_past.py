"""The readings of one series before a message: read backwards, window by window.

Knows a partition and a decoder; must not know what the readings are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from kafka import TopicPartition

from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Readings
from ewma_ops.connectors.client.connect import (
    TopicView,
    close_consumer,
    connect_input_reader,
    positions,
    translating_errors,
)
from ewma_ops.connectors.client.exchange import poll
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.errors import ConfigError
from ewma_ops.job.builders import build_decoder
from ewma_ops.job.decoding import RunDecoder
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["SeriesPast"]

_FIRST_WINDOW = 20_000
_LARGEST_WINDOW = 500_000
_POLL_MS = 100
_LOOK_UP_MS = 10_000
_IDLE_POLLS = 100
_CLOSE_S = 5.0


class SeriesPast:
    """Read what a series had in one partition, up to a message.

    Parameters
    ----------
    settings
        Of the job.
    topic, partition, offset
        Where the message is.

    Raises
    ------
    ConfigError
        If the topic no longer has the message.
    BrokerError
        If no broker answers.
    """

    def __init__(self, settings: Settings, topic: str, partition: int, offset: int) -> None:
        tp = TopicPartition(topic, partition)
        self._settings, self._tp, self._offset = settings, tp, offset
        inputs = InputTopics.alone(topic, TopicView(None, partition + 1))
        self._decoder = RunDecoder(build_decoder(settings), inputs)
        self._consumer = connect_input_reader(settings.kafka)
        self.whole = False
        """Whether all that the partition still has was read."""
        try:
            with translating_errors(settings.kafka, f"reading topic {tp.topic!r}"):
                self._consumer.assign([tp])
                self._begin = int(self._consumer.beginning_offsets([tp], _LOOK_UP_MS)[tp])
        except BaseException:
            self.close()
            raise
        if offset < self._begin:
            self.close()
            raise ConfigError(
                f"{tp.topic}/{tp.partition} now begins at offset {self._begin:,}: retention has "
                f"removed the reading at {offset:,}; keep the input for longer than alarms matter"
            )

    def close(self) -> None:
        """Close the connection; never raises."""
        close_consumer(self._consumer, _CLOSE_S)

    def message(self) -> Readings:
        """Return the readings of the message itself."""
        return self._read(self._offset, self._offset + 1, lambda readings: readings)

    def of_series(self, series_id: str, enough: Callable[[Readings], bool]) -> Readings:
        """Return readings of the series up to the message: as many as are enough, or all."""

        def own(readings: Readings) -> Readings:
            at = [i for i, one in enumerate(readings.series_ids) if one == series_id]
            return readings.take(np.array(at, np.intp))

        found = self._read(self._offset, self._offset + 1, own)
        first, window = self._offset, _FIRST_WINDOW
        while first > self._begin and not enough(found):
            stop, first = first, max(self._begin, first - window)
            found = Readings.concat([self._read(first, stop, own), found])
            window = min(2 * window, _LARGEST_WINDOW)
        self.whole = first <= self._begin
        return found

    def _read(self, first: int, stop: int, own: Callable[[Readings], Readings]) -> Readings:
        parts = [own(readings) for readings in self._decoded(first, stop)]
        if parts:
            return Readings.concat(parts)
        empty = np.empty(0, np.int64)
        return Readings([], np.empty(0), empty, Origins(empty, empty), appended_ms=empty)

    def _decoded(self, first: int, stop: int) -> Iterator[Readings]:
        idle = 0
        with translating_errors(self._settings.kafka, f"reading topic {self._tp.topic!r}"):
            self._consumer.seek(self._tp, first)
            while (at := positions(self._consumer)[self._tp]) < stop and idle < _IDLE_POLLS:
                polled = poll(self._consumer, _POLL_MS)
                idle = 0 if polled else idle + 1
                end = self._consumer.highwater(self._tp)
                if not polled and end is not None and at >= end:
                    return
                for run in polled.get(self._tp, ()):
                    kept = int(np.searchsorted(run.offsets, stop))
                    columns = run.cut(slice(0, kept), run.next_offset)[:5]
                    records = ConsumerRecords(self._tp.topic, self._tp.partition, *columns)
                    decoded = self._decoder.decode([records])
                    appended_ms = records.timestamps_ms[decoded.kept]
                    yield replace(decoded.readings, appended_ms=appended_ms)
