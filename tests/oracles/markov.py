"""Run lengths of an EWMA chart by a Markov chain on cells (Brook and Evans 1972).

The second way to the numbers of `ewma_ops.monitor.run_lengths`, from which it imports nothing.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray


def average_run_length(limit: float, alpha: float, shift: float = 0.0) -> float:
    """Return the average run length between fixed limits.

    The error of a chain is in proportion to the square of its cells' width, so two chains tell it.
    """
    cells = 101, 201
    coarse, fine = (_of_chain(limit, alpha, shift, n) for n in cells)
    return fine + (fine - coarse) / ((cells[1] / cells[0]) ** 2 - 1.0)


def _of_chain(limit: float, alpha: float, shift: float, cells: int) -> float:
    """Return it for a chain of so many cells, an odd number: one is at the start."""
    half = limit * math.sqrt(alpha / (2.0 - alpha))
    edges = np.linspace(-half, half, cells + 1)
    middles = 0.5 * (edges[:-1] + edges[1:])
    cdf = np.vectorize(NormalDist(shift).cdf)
    moves = np.diff(cdf((edges[None, :] - (1.0 - alpha) * middles[:, None]) / alpha), axis=1)
    lengths = np.linalg.solve(np.eye(cells) - moves, np.ones(cells))
    return float(lengths[cells // 2])


def spread_run_length(limit: float, alpha: float, growth: float = 1.0, cells: int = 400) -> float:
    """Return the run length of an EWMA of squared readings, clipped at 25, with an upper limit.

    Its error is of second order in the width of a cell: two widths cancel it (Richardson).
    """
    coarse, fine = (_spread_on_cells(limit, alpha, growth, n) for n in (cells, 2 * cells))
    return fine + (fine - coarse) / 3.0


def _spread_on_cells(limit: float, alpha: float, growth: float, cells: int) -> float:
    top = 1.0 + limit * math.sqrt(2.0 * alpha / (2.0 - alpha))
    edges = np.linspace(0.0, top, cells + 1)
    middles = 0.5 * (edges[:-1] + edges[1:])
    below = _square_cdf((edges[None, :] - (1.0 - alpha) * middles[:, None]) / alpha, growth)
    lengths = np.linalg.solve(np.eye(cells) - np.diff(below, axis=1), np.ones(cells))
    first = np.diff(_square_cdf((edges - (1.0 - alpha)) / alpha, growth))
    return 1.0 + float(first @ lengths)


def _square_cdf(x: NDArray[np.float64], growth: float) -> NDArray[np.float64]:
    roots = np.sqrt(np.maximum(x, 0.0) / 2.0) / growth
    below = np.array([math.erf(root) for root in roots.ravel().tolist()]).reshape(x.shape)
    return np.where(x >= 25.0, 1.0, below)
