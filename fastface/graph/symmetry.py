"""Which edges of a neighbour graph are returned.  Compiled on first use, cached on disk."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["MUTUAL", "ONE_WAY", "direction_of", "directions"]

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

    Plain, so that it can be compiled for a CPU and for a GPU.

    Parameters
    ----------
    indices, distances, below
        See `directions`.
    row, place : int
        Where the edge stands.
    """
    if distances[row, place] >= below:
        return 0
    neighbor = indices[row, place]
    for back in range(indices.shape[1]):
        if indices[neighbor, back] == row:
            return MUTUAL
    return ONE_WAY


_direction_of = njit(cache=True, nogil=True)(direction_of)


@njit(cache=True, nogil=True)
def directions(
    indices: NDArray[np.int32], distances: NDArray[np.float32], below: float
) -> NDArray[np.uint8]:
    """Tell for every edge whether it is too long (0), `ONE_WAY` or `MUTUAL`.

    Parameters
    ----------
    indices : ndarray of int32, shape (n_samples, n_neighbors)
        Neighbours.
    distances : ndarray of float32, shape (n_samples, n_neighbors)
        Their distances.
    below : float
        Edges from this length on are too long.

    Returns
    -------
    ndarray of uint8, shape (n_samples, n_neighbors)
    """
    n_samples, n_neighbors = indices.shape
    kinds = np.zeros((n_samples, n_neighbors), np.uint8)
    for row in range(n_samples):
        for place in range(n_neighbors):
            kinds[row, place] = _direction_of(indices, distances, row, place, below)
    return kinds
