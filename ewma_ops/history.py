"""Public import path of `History`: readings from a Parquet file or a data frame."""

from ewma_ops.serde.parquet import History

__all__ = ["History"]
