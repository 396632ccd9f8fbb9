"""How sure a face's place is, without any label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fastface.graph import NeighborGraph

__all__ = ["face_confidence"]

_BLOCK = 4096


def face_confidence(
    X: NDArray[np.float32],
    labels: NDArray[np.int64],
    graph: NeighborGraph,
    *,
    cutoff: float,
) -> NDArray[np.float32]:
    """Compare each face's distance to its own person with that to the next best.

    With the distance `a` to the mean of the other faces of its person (`cutoff` for a person of
    one face) and `b` to the nearest mean among other people met in its neighbour list (twice the
    cutoff where there is none), the confidence is ``1/2 + (b - a) / (2 max(a, b))``: 1/2 when the
    two are as near, towards 1 when the own person is much nearer.

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
    n = len(X)
    counts = np.bincount(labels).astype(np.float64)
    groups = csr_matrix((np.ones(n), labels, np.arange(n + 1)), shape=(n, len(counts)))
    sums = np.asarray(groups.T @ X.astype(np.float64))
    means = sums / counts[:, None]

    own = np.full(n, float(cutoff))
    company = counts[labels] > 1
    rest = (sums[labels[company]] - X[company]) / (counts[labels[company], None] - 1)
    own[company] = np.linalg.norm(X[company] - rest, axis=1)

    other = np.full(n, 2.0 * cutoff)
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(n, start + _BLOCK))
        people = labels[graph.indices[rows]]
        foreign = people != labels[rows, None]
        pairs = np.unique(np.repeat(rows, foreign.sum(axis=1)) * len(counts) + people[foreign])
        face, person = np.divmod(pairs, len(counts))
        distance = np.linalg.norm(X[face] - means[person], axis=1)
        np.minimum.at(other, face, distance)

    larger = np.maximum(own, other)
    ratio = np.divide(other - own, larger, out=np.zeros(n), where=larger > 0)
    confidence: NDArray[np.float32] = (0.5 + 0.5 * ratio).astype(np.float32)
    return confidence
