"""What one may choose of what is shown, and how much of it.

Knows names and numbers, and imports nothing: the command line reads them at each start.
"""

from __future__ import annotations

__all__ = ["MOST_OPEN", "MOST_ROWS", "SORTS"]

SORTS = ("name", "value", "average", "z", "change", "seen", "readings", "alarm")
"""What a table can be sorted by; a change by its size beside the spread, or the average."""

MOST_ROWS = 200
MOST_OPEN = 6
"""Series of a chart."""
