"""Exponentially weighted moving averages, bias-corrected, for streams of readings.

    from ewma_ops import Decay, Smoothing
    import ewma_ops.operators as ew

`ewma_ops.operators` holds the Bytewax operators; it is not imported here, so that the statistics
can be used without Bytewax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ewma_ops.lazy import lazy_names

if TYPE_CHECKING:
    from ewma_ops.columns.readings import Reading, Readings, Smoothed, SmoothedReading
    from ewma_ops.errors import EwmaError
    from ewma_ops.serde.parquet import History
    from ewma_ops.stats.composites import Composite, bollinger, dema, macd, risk_metrics, tema
    from ewma_ops.stats.decay import Decay
    from ewma_ops.stats.smoothing import Smoothing
    from ewma_ops.table.table import SeriesTable
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ewma_ops.columns.readings": ["Reading", "Readings", "Smoothed", "SmoothedReading"],
            "ewma_ops.errors": ["EwmaError"],
            "ewma_ops.serde.parquet": ["History"],
            "ewma_ops.stats.composites": [
                "Composite",
                "bollinger",
                "dema",
                "macd",
                "risk_metrics",
                "tema",
            ],
            "ewma_ops.stats.decay": ["Decay"],
            "ewma_ops.stats.smoothing": ["Smoothing"],
            "ewma_ops.table.table": ["SeriesTable"],
        },
    )

__all__ = [
    "Composite",
    "Decay",
    "EwmaError",
    "History",
    "Reading",
    "Readings",
    "SeriesTable",
    "Smoothed",
    "SmoothedReading",
    "Smoothing",
    "__version__",
    "bollinger",
    "dema",
    "macd",
    "risk_metrics",
    "tema",
]

__version__ = "0.1.0"
