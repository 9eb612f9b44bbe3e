"""Events of a job's output topic, read back as columns.

Knows how events are written; must not know topics, nor what is done with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.columns.ticks import MILLISECOND
from ewma_ops.errors import ConfigError
from ewma_ops.job.builders import build_schemas
from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.settings.model import Settings
from ewma_ops.watch.measures import event_numbers

__all__ = ["EventReader"]

_LONGEST_EVENT = 8 << 20


class EventReader:
    """Read the values of records as events.

    Parameters
    ----------
    settings
        Of the job that wrote them.

    Raises
    ------
    ConfigError
        If events are Avro, and what reads it is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        tick = settings.input.tick
        scores = settings.event_statistics[len(settings.smoothing_set.names) :]
        self.keys = event_numbers(settings.smoothing_set, scores)
        self._per_s = 1000.0 * tick.per_ms
        options = DecoderOptions(
            value=[json.dumps(key) for key in self.keys],
            series_id='"series_id"',
            time='"time"',
            lowest=-np.inf,
            highest=np.inf,
            infinite=True,
            max_id_bytes=settings.input.max_id_bytes,
            max_value_bytes=_LONGEST_EVENT,
            time_unit=None if tick is MILLISECOND else tick.unit,  # type: ignore[arg-type]  # a unit's name
            tick=tick,
        )
        if all(key.isidentifier() for key in self.keys):  # then it is read by columns
            plain: dict[str, Any] = {"value": self.keys, "series_id": "series_id", "time": "time"}
            options = replace(options, **plain)
        self._decoder = _decoder(settings, options)
        self.unreadable = 0
        self.example = ""

    def read(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        times_ms: NDArray[np.int64],
    ) -> tuple[NDArray[np.intp], Readings]:
        """Return which records are events, and those: values float64[n, k], times in ticks.

        Others are counted in ``unreadable``, with an ``example`` of what is wrong.
        """
        decoded = self._decoder.decode(keys, values, times_ms)
        if len(decoded.rejected):
            self.unreadable += len(decoded.rejected)
            first = next(iter(decoded.rejected))
            self.example = f"{first.cause}: {first.detail}"
        return decoded.kept, decoded.readings

    def seconds(self, readings: Readings) -> NDArray[np.float64]:
        """Return event times in seconds since the epoch."""
        assert readings.times_ms is not None
        return readings.times_ms / self._per_s


def _decoder(settings: Settings, options: DecoderOptions) -> Decoder:
    if settings.output.format == "json":
        return JsonDecoder(options)
    try:
        from ewma_ops.serde.avro.format import AvroFormat
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'output.format = "avro" cannot be read without {error.name}: '
            "pip install 'ewma-ops[avro]'"
        ) from None
    schemas = build_schemas(settings)
    assert schemas is not None
    return Decoder(AvroFormat(schemas, options.time_unit, None), options)
