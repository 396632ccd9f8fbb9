"""How sure a face's place is, without any label."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fastface.graph import NeighborGraph

__all__ = ["face_confidence"]


@njit(cache=True, nogil=True)
def _sums(X: NDArray[np.float32], labels: NDArray[np.int64], n_people: int) -> NDArray[np.float32]:
    sums = np.zeros((n_people, X.shape[1]), np.float32)
    for face in range(len(X)):
        for feature in range(X.shape[1]):
            sums[labels[face], feature] += X[face, feature]
    return sums


@njit(cache=True, nogil=True)
def _product(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    total = 0.0
    for feature in range(a.size):
        total += float(a[feature]) * float(b[feature])
    return total


@njit(cache=True, nogil=True)
def _nearness(
    X: NDArray[np.float32],
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
    sums: NDArray[np.float32],
    neighbors: NDArray[np.int32],
    alone: float,
    nobody: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared distance of each face to its own person's others and to the next best person."""
    n = len(X)
    own = np.full(n, alone)
    other = np.full(n, nobody)
    met = np.full(len(counts), -1, np.int64)
    for face in range(n):
        person = labels[face]
        met[person] = face
        if counts[person] > 1:
            rest = _product(X[face], sums[person]) - _product(X[face], X[face])
            own[face] = max(0.0, 2.0 - 2.0 * rest / (counts[person] - 1))
        for place in range(neighbors.shape[1]):
            candidate = labels[neighbors[face, place]]
            if met[candidate] == face:
                continue
            met[candidate] = face
            mean = _product(X[face], sums[candidate]) / counts[candidate]
            other[face] = min(other[face], max(0.0, 2.0 - 2.0 * mean))
    return own, other


def face_confidence(
    X: NDArray[np.float32],
    labels: NDArray[np.int64],
    graph: NeighborGraph,
    *,
    cutoff: float,
) -> NDArray[np.float32]:
    """Compare each face's distance to its own person with that to the next best.

    With the root mean square distance `a` to the other faces of its person (`cutoff` for a person
    of one face) and `b` to the faces of the nearest other person met in its neighbour list (twice
    the cutoff where there is none nearer), the confidence is ``1/2 + (b - a) / (2 max(a, b))``: 1/2
    when the two are as near, towards 1 when the own person is much nearer.  It orders faces by
    doubt; it is not a probability.

    Parameters
    ----------
    X : ndarray of float32, shape (n_samples, n_features)
        Unit rows.
    labels : ndarray of int64, shape (n_samples,)
        People, numbered from 0.
    graph : NeighborGraph
        Neighbours of the rows.
    cutoff : float
        Distance beyond which two faces are hardly ever one person.

    Returns
    -------
    ndarray of float32, shape (n_samples,)
        In [0, 1].
    """
    counts = np.bincount(labels)
    sums = _sums(X, labels, len(counts))
    squares = _nearness(X, labels, counts, sums, graph.indices, cutoff**2, (2 * cutoff) ** 2)
    own, other = np.sqrt(squares[0]), np.sqrt(squares[1])
    larger = np.maximum(own, other)
    ratio = np.divide(other - own, larger, out=np.zeros(len(X)), where=larger > 0)
    confidence: NDArray[np.float32] = (0.5 + 0.5 * ratio).astype(np.float32)
    return confidence
