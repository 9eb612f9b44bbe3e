"""How long to leave payloads to a slower way, after a quicker one read few of them.

Knows how many were read; must not know which way that is, nor what a payload holds.
"""

from __future__ import annotations

import numpy as np

from ewma_ops.serde.spans import Mask

__all__ = ["Patience"]

_MOST_RUNS = 64


class Patience:
    """Tell whether to try the quicker way again: after each failure twice as many runs later.

    Examples
    --------
    >>> patience, unusual = Patience(), np.array([True, False, False])
    >>> [run for run in range(12) if patience.is_over() and not patience.is_worth(unusual)]
    [0, 1, 3, 7]
    """

    def __init__(self) -> None:
        self._left = self._next = 0

    def is_over(self) -> bool:
        """Tell whether to try; ask once a run."""
        self._left -= 1
        return self._left < 0

    def is_worth(self, read: Mask | None) -> bool:
        """Note which payloads of a run were read (bool[n]), if any; tell whether most were."""
        is_worth = read is not None and bool(2 * np.count_nonzero(read) >= len(read))
        self._left = 0 if is_worth else self._next
        self._next = 0 if is_worth else min(2 * self._next + 1, _MOST_RUNS)
        return is_worth
