"""Runs of a job's input to readings, with their origins and clocks.

Knows decoders, places and clocks; must not know dead letters or metrics. The flow uses it, and
every command that reads a job's input again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import joined
from ewma_ops.columns.log_clocks import Log, LogClocks
from ewma_ops.columns.origins import Origins
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.job.builders import build_decoder, build_log_clocks
from ewma_ops.job.clocks import Clocks
from ewma_ops.serde.decoder import Decoded, Decoder
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["RunDecoder", "build_run_decoder", "decode_runs", "origins_of_records"]


class RunDecoder:
    """Decode runs of records, those of a partition in their order.

    Parameters
    ----------
    decoder
        The decoder of payloads.
    inputs
        The topics of the records.
    clocks
        Clocks of event times; ``None`` if nothing uses them.
    log
        Clocks of records' timestamps; ``None`` likewise.
    """

    def __init__(
        self,
        decoder: Decoder,
        inputs: InputTopics,
        clocks: Clocks | None = None,
        log: LogClocks | None = None,
    ) -> None:
        self.decoder, self._inputs = decoder, inputs
        self._clocks, self._log = clocks, log

    @property
    def has_clocks(self) -> bool:
        """Whether partitions have a state here, which must match their offsets."""
        return self._clocks is not None or self._log is not None

    def decode(self, runs: Sequence[ConsumerRecords]) -> Decoded:
        """Decode runs as one; the readings have origins, and the values of clocks."""
        decoded = decode_runs(self.decoder, runs)
        readings = decoded.readings
        if self._log is not None:
            number = self._inputs.number
            logs = [Log(number(r.topic, r.partition), r.offsets, r.timestamps_ms) for r in runs]
            readings = self._log.mark(readings, decoded.kept, logs)
        origins = origins_of_records(self._inputs, runs, decoded.kept, decoded.ordinals)
        readings = replace(readings, origins=origins)
        if self._clocks is not None:
            readings = self._clocks.stamp(readings)
        return decoded._replace(readings=readings)

    def state(self, number: int) -> Any:
        """Return where the clocks of a partition are; ``None`` where there are none."""
        newest = None if self._clocks is None else self._clocks.state(number)
        log = None if self._log is None else self._log.state(number)
        return newest if log is None else {"newest": newest, "log": log}

    def resume(self, number: int, state: Any) -> None:
        """Restore the clocks of a partition."""
        newest, log = state, None
        if isinstance(state, dict):
            newest, log = state["newest"], state["log"]
        if self._clocks is not None:
            self._clocks.resume(number, newest)
        if self._log is not None:
            self._log.resume(number, log)


def build_run_decoder(
    settings: Settings, inputs: InputTopics, stopping: threading.Event | None = None
) -> RunDecoder:
    """Build the decoding of a job's input; errors and ``stopping`` as for `build_decoder`."""
    clocks = None if settings.smoothing_set.forget_after is None else Clocks()
    return RunDecoder(build_decoder(settings, stopping), inputs, clocks, build_log_clocks(settings))


def decode_runs(decoder: Decoder, runs: Sequence[ConsumerRecords]) -> Decoded:
    """Decode runs of records as one; besides payloads, only requested columns."""
    sizes, beside = [len(run) for run in runs], decoder.beside
    headers = partitions = topics = None
    if "header" in beside and any(run.headers is not None for run in runs):
        headers = joined([[()] * len(run) if run.headers is None else run.headers for run in runs])
    if "partition" in beside:
        partitions = np.array([run.partition for run in runs], np.int32).repeat(sizes)
    if "topic" in beside:
        topics = [run.topic for run in runs for _ in range(len(run))]
    return decoder.decode(
        joined([run.keys for run in runs]),
        joined([run.values for run in runs]),
        np.concatenate([run.timestamps_ms for run in runs]),
        headers,
        partitions,
        topics,
    )


def origins_of_records(
    inputs: InputTopics,
    runs: Sequence[ConsumerRecords],
    at: NDArray[np.intp],
    ordinals: NDArray[np.uint64] | None,
) -> Origins:
    """Return the origins of the records at ``at``; a record with several readings repeats."""
    partitions = np.array([inputs.number(run.topic, run.partition) for run in runs], np.int64)
    every = Origins(
        partitions.repeat([len(run) for run in runs]),
        np.concatenate([run.offsets for run in runs]),
    )
    if ordinals is None and len(at) == len(every.offsets):
        return every
    return every.take(at)._replace(ordinals=ordinals)
