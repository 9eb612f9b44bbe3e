"""The state of millions of series as columns: rows, admission, snapshots. No streams, no clock."""

from ewma_ops.table.snapshots import TableSnapshot
from ewma_ops.table.table import SeriesTable

__all__ = ["SeriesTable", "TableSnapshot"]
