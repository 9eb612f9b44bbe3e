"""Run lengths of an EWMA chart by a Markov chain on cells (Brook and Evans 1972).

The second way to the numbers of `ewma_ops.monitor.run_lengths`, from which it imports nothing.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np


def average_run_length(limit: float, alpha: float, shift: float = 0.0, cells: int = 301) -> float:
    """Return the average run length between fixed limits; ``cells`` is odd: one is at the start."""
    half = limit * math.sqrt(alpha / (2.0 - alpha))
    edges = np.linspace(-half, half, cells + 1)
    middles = 0.5 * (edges[:-1] + edges[1:])
    cdf = np.vectorize(NormalDist(shift).cdf)
    moves = np.diff(cdf((edges[None, :] - (1.0 - alpha) * middles[:, None]) / alpha), axis=1)
    lengths = np.linalg.solve(np.eye(cells) - moves, np.ones(cells))
    return float(lengths[cells // 2])
