"""Exponentially weighted moving averages, bias-corrected, for streams of readings.

    from ewma_ops import Decay, Smoothing
    import ewma_ops.operators as ew

`ewma_ops.operators` holds the Bytewax operators; it is not imported here, so that the maths can
be used without an engine.
"""

from __future__ import annotations

from ewma_ops.decay import Decay
from ewma_ops.errors import EwmaError
from ewma_ops.readings import Reading, Readings, Smoothed, SmoothedReading
from ewma_ops.smoothing import Smoothing
from ewma_ops.table import SeriesTable

__all__ = [
    "Decay",
    "EwmaError",
    "Reading",
    "Readings",
    "SeriesTable",
    "Smoothed",
    "SmoothedReading",
    "Smoothing",
    "__version__",
]

__version__ = "0.1.0"
