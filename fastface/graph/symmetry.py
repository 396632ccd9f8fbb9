"""Which edges of a neighbour graph are returned, as kernels for a GPU ask it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MUTUAL", "ONE_WAY", "direction_of"]

ONE_WAY = 1
MUTUAL = 2


def direction_of(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    row: int,
    place: int,
    below: float,
) -> int:
    """Tell of one edge whether it is too long (0), `ONE_WAY` or `MUTUAL`.

    Parameters
    ----------
    indices : ndarray of int32, shape (n_samples, n_neighbors)
        Neighbours.
    distances : ndarray of float32, shape (n_samples, n_neighbors)
        Their distances.
    row, place : int
        Where the edge stands.
    below : float
        Edges from this length on are too long.
    """
    if distances[row, place] >= below:
        return 0
    neighbor = indices[row, place]
    for back in range(indices.shape[1]):
        if indices[neighbor, back] == row:
            return MUTUAL
    return ONE_WAY
