"""The state of millions of series as columns: rows, admission, snapshots. No streams, no clock."""

from typing import TYPE_CHECKING

from ewma_ops.lazy import lazy_names

if TYPE_CHECKING:
    from ewma_ops.table.snapshots import TableSnapshot
    from ewma_ops.table.table import SeriesTable
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ewma_ops.table.snapshots": ["TableSnapshot"],
            "ewma_ops.table.table": ["SeriesTable"],
        },
    )

__all__ = ["SeriesTable", "TableSnapshot"]
