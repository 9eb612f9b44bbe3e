"""Bytewax operators: `smooth` and `smooth_batches` for keyed values and columns, `watch`."""

from ewma_ops.operators.smooth import smooth, smooth_batches, watch

__all__ = ["smooth", "smooth_batches", "watch"]
