"""The stages of the flow beside source, table and sink: a batch in, a batch out.

Know records, readings, events and letters by the column; must not know settings, nor Bytewax.
"""

from __future__ import annotations

import logging
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge

from ewma_ops.columns.byte_columns import lean_pair
from ewma_ops.columns.murmur2 import murmur2_column, ordered_by_partition
from ewma_ops.columns.readings import Original, Readings, Rejected, Smoothed, grouped
from ewma_ops.columns.rejections import Rejection, Rejections
from ewma_ops.columns.ticks import Tick
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.parts import Addressed, part_key
from ewma_ops.job.dead_letters import build_dead_letters
from ewma_ops.job.decoding import RunDecoder, origins_of_records
from ewma_ops.job.report import Report
from ewma_ops.job.showing import shown_bytes, shown_text
from ewma_ops.metrics.families import EVENTS, LAST_RECORD, STAGES, written
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.encoder import Encoder
from ewma_ops.serde.format import CAUSES as DECODE_CAUSES
from ewma_ops.stats.policies import CAUSES, Policies
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

__all__ = ["DeadLetters", "Decode", "Encode", "RouteRejected"]

_log = logging.getLogger(__name__)

_SKIPPED = Counter("ewma_ops_skipped", "Messages left out by input.where or as tombstones.")
_DEAD_LETTERS = Counter("ewma_ops_dead_letters", "Messages put aside, by cause.", ["cause"])
_POLICIES = Counter(
    "ewma_ops_policies",
    "Readings out of the ordinary, by cause and by what was done with them.",
    ["cause", "policy"],
)

_DECODE, _ENCODE = STAGES["decode"], STAGES["encode"]


class DeadLetters:
    """Records that were rejected, to addressed dead letters; ``report`` counts them."""

    def __init__(
        self,
        inputs: InputTopics,
        partitions: int,
        max_bytes: int,
        report: Report | None = None,
    ) -> None:
        self.inputs = inputs
        self._partitions = partitions
        self._max_bytes = max_bytes
        self.report = Report() if report is None else report
        for cause in (*DECODE_CAUSES, *CAUSES):  # 0 from the start: the first is then a change
            _DEAD_LETTERS.labels(cause)

    def of(self, records: ConsumerRecords, rejections: Rejections) -> Addressed:
        """Return the letters of some of a run's records, counted by cause."""
        causes = Tally(rejections.causes)
        self.report.add_letters(causes, lambda: _example(records, rejections[0]))
        for cause, n in causes.items():
            _DEAD_LETTERS.labels(cause).inc(n)
            if cause in CAUSES or cause == "ahead":
                _POLICIES.labels(cause, "dead-letter").inc(n)
        made = build_dead_letters(records, rejections, self._max_bytes)
        part = part_key(records.partition % self._partitions)
        origins = origins_of_records(self.inputs, [records], rejections.places, rejections.ordinals)
        return part, replace(made, origins=origins)

    def of_readings(self, rejected: Rejected) -> Iterable[Addressed]:
        """Yield the letters of readings that kept their original records."""
        origins, originals = rejected.readings.origins, rejected.readings.originals
        assert origins is not None
        assert originals is not None
        for number, places in origins.by_partition():
            own = [originals[i] for i in places.tolist()]
            topic, partition = self.inputs.place(number)
            records = ConsumerRecords(
                topic,
                partition,
                origins.offsets[places],
                np.array([original.timestamp_ms for original in own]),
                [original.key for original in own],
                [original.value for original in own],
                [original.headers for original in own],
            )
            why = [rejected.rejections[i] for i in places.tolist()]
            causes, details = [one.cause for one in why], [one.detail for one in why]
            ordinals = None if origins.ordinals is None else origins.ordinals[places]
            yield self.of(records, Rejections(np.arange(len(why)), causes, details, ordinals))


def _example(records: ConsumerRecords, why: Rejection) -> str:
    """Show a rejected record, whose content may be hostile, or long."""
    at, cause, detail = why
    place = f"offset {records.offsets[at]} of {records.topic}/{records.partition}"
    content = shown_bytes(records.values[at])
    return f"{place}: {cause}: {shown_text(detail, 200)}: {content}"


class Decode:
    """Runs of records to readings, and what is unreadable to addressed dead letters.

    With ``keeps`` the readings have their original records; with ``measured`` the timestamps of
    these, for latencies.
    """

    def __init__(
        self,
        decoder: RunDecoder,
        letters: DeadLetters,
        *,
        keeps: bool,
        measured: bool = False,
    ) -> None:
        self._decoder, self._letters = decoder, letters
        self._keeps, self._measured = keeps, measured
        self._newest: dict[tuple[str, int], Gauge] = {}

    def __call__(self, batch: list[ConsumerRecords]) -> Iterable[Readings | Addressed]:
        """Return the readings of each run, and dead letters for the other records."""
        began = time.perf_counter()
        out = [one for runs in grouped(batch) for one in self._decode(runs)]
        for run in batch if self._measured else ():
            self._note_newest(run)
        _DECODE.add(time.perf_counter() - began)
        return out

    def _note_newest(self, run: ConsumerRecords) -> None:
        if not len(run):
            return
        place = run.topic, run.partition
        newest = self._newest.get(place)
        if newest is None:
            newest = self._newest[place] = LAST_RECORD.labels(run.topic, str(run.partition))
        if (timestamp_ms := int(run.timestamps_ms[-1])) >= 0:
            newest.set(timestamp_ms / 1000)

    def state(self, number: int) -> Any:
        """Return what is kept of a partition's clocks; ``None`` where there are none."""
        return self._decoder.state(number)

    def resume(self, number: int, state: Any) -> None:
        """Set the clocks of a partition to what they were."""
        self._decoder.resume(number, state)

    def _decode(self, runs: list[ConsumerRecords]) -> Iterator[Readings | Addressed]:
        decoded = self._decoder.decode(runs)
        n, taken, skipped = sum(map(len, runs)), decoded.n_readings, decoded.skipped
        self._letters.report.add(read=n, readings=taken, skipped=skipped)
        if decoded.skipped:
            _SKIPPED.inc(decoded.skipped)
        if decoded.clipped:
            _POLICIES.labels("ahead", "clip").inc(decoded.clipped)
        if (notice := self._decoder.decoder.pop_notice()) is not None:
            _log.warning("%s", notice)
        readings = decoded.readings
        if len(readings) > 0 or readings.heartbeats is not None:
            if self._keeps:
                readings = replace(readings, originals=_originals(runs, decoded))
            if self._measured:
                readings = replace(readings, appended_ms=_timestamps(runs, decoded))
            yield readings
        start, rejected = 0, decoded.rejected
        for run in runs if len(rejected) else ():
            end = start + len(run)
            own = rejected.within(start, end)
            if len(own):
                yield self._letters.of(run, own)
            start = end


class RouteRejected:
    """Count unusual readings, and turn those that a policy rejects into dead letters."""

    def __init__(self, policies: Policies, letters: DeadLetters) -> None:
        self._policy = policies.by_cause
        self._letters = letters

    def __call__(self, batch: list[Smoothed]) -> Iterable[Addressed]:
        """Yield the letters of what did not enter."""
        for smoothed in batch:
            for cause, n in smoothed.tally.items():
                if self._policy[cause] != "dead-letter":
                    _POLICIES.labels(cause, self._policy[cause]).inc(n)
            if smoothed.rejected is not None:
                yield from self._letters.of_readings(smoothed.rejected)


def _timestamps(runs: Sequence[ConsumerRecords], decoded: Decoded) -> NDArray[np.int64]:
    every = np.concatenate([run.timestamps_ms for run in runs])
    whole = decoded.ordinals is None and len(decoded.kept) == len(every)
    return every if whole else every[decoded.kept]


def _originals(runs: Sequence[ConsumerRecords], decoded: Decoded) -> list[Original]:
    every: list[Original] = []
    for run in runs:
        headers = repeat(()) if run.headers is None else run.headers
        every += map(Original, run.keys, run.values, headers, run.timestamps_ms.tolist())
    if decoded.ordinals is None and len(decoded.kept) == len(every):
        return every
    return [every[i] for i in decoded.kept.tolist()]


class Encode:
    """Smoothed columns to addressed events, one run for each output partition.

    With ``measured``, the unit of event times, the lag of the events is measured.
    """

    def __init__(
        self,
        encoder: Encoder,
        partitions: int,
        report: Report | None = None,
        measured: Tick | None = None,
    ) -> None:
        self._encoder = encoder
        self._partitions = partitions
        self._report = Report() if report is None else report
        self._measured = measured

    def __call__(self, batch: list[Smoothed]) -> Iterable[Addressed]:
        """Return the events."""
        began = time.perf_counter()
        out = [addressed for smoothed in batch for addressed in self._address(smoothed)]
        _ENCODE.add(time.perf_counter() - began)
        return out

    def _address(self, smoothed: Smoothed) -> Iterator[Addressed]:
        self._report.add(events=len(smoothed))
        EVENTS.inc(len(smoothed))
        times = smoothed.readings.times_ms
        if self._measured is not None and times is not None and len(times):
            written(times, self._measured.per_ms)
        ids, hashes = smoothed.readings.series_ids, smoothed.readings.hashes
        if hashes is None:
            hashes = murmur2_column(ids)
        order: NDArray[np.intp] | None
        order, ends = ordered_by_partition(hashes, self._partitions)
        if self._partitions == 1:
            order = None
        keys, values = self._encoder.encode_in(order, smoothed)
        origins, appended = smoothed.readings.origins, smoothed.readings.appended_ms
        if order is not None:
            origins = None if origins is None else origins.take(order)
            appended = None if appended is None else appended[order]
        for partition, (start, end) in enumerate(pairwise(ends)):
            if start < end:
                own = slice(start, end)
                # Otherwise a few unsent records would keep all buffers of their run alive.
                lean = lean_pair(keys[own], values[own])
                of = None if origins is None else origins.take(own)
                yield (
                    part_key(partition),
                    ProducerRecords(
                        *lean, origins=of, appended_ms=None if appended is None else appended[own]
                    ),
                )
