"""Bytewax operators: `smooth` for keyed streams of values, `smooth_batches` for columns."""

from ewma_ops.operators.smooth import smooth, smooth_batches

__all__ = ["smooth", "smooth_batches"]
