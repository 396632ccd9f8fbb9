"""The weights of FC-ES for its links on a GPU.  Compiled on first use, cached on disk."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["neighbor_weights"]


@njit(cache=True, nogil=True)
def neighbor_weights(
    distances: NDArray[np.float32], k: int, sigma: float, farthest: float
) -> NDArray[np.float64]:
    """Return what every face gives itself and its `k` neighbours, which sums to one.

    On the CPU, by its library's exponential: that of a GPU rounds otherwise.

    Parameters
    ----------
    distances : ndarray of float32, shape (n, n_neighbors)
        Of the neighbours.
    k : int
        How many of them.
    sigma : float
        Weights are exp(-d^2 / sigma).
    farthest : float
        From this distance on they are zero.

    Returns
    -------
    ndarray of float64, shape (n, k + 1)
    """
    n = distances.shape[0]
    weights = np.ones((n, k + 1))
    for face in range(n):
        total = 1.0
        for place in range(k):
            distance = np.float64(distances[face, place])  # float() would keep float32
            near = distance < farthest
            weights[face, place + 1] = math.exp(-distance * distance / sigma) if near else 0.0
            total += weights[face, place + 1]
        scale = 1 / total
        for place in range(k + 1):
            weights[face, place] *= scale
    return weights
