"""Plain k-means: the method of the paper, kept beside the project's own.

`fastface.KMeans` takes the place of the loop here as soon as it is part of the package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.moments import blocks
from fastface.distances import assign

__all__ = ["plain_k_means"]

_MAX_ROUNDS = 100
_N_INIT = 10
_FEW_ROWS = 10_000
_MOST_ROWS = 50_000


def plain_k_means(X: NDArray[Any], n_clusters: int, *, seed: int) -> NDArray[np.int32]:
    """Return the cluster of each row by Lloyd's iteration from k-means++ seeds.

    Up to 10,000 rows the best of ten runs counts, beyond there is one.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; of more than 50,000 a random part is clustered and the others join the nearest
        center.
    n_clusters : int
        How many.
    seed : int
        Of the first centers.

    Returns
    -------
    ndarray of int32, shape (n_samples,)
        Clusters, numbered from 0.
    """
    rng = np.random.default_rng([seed, n_clusters])
    rows = np.asarray(X, np.float64)
    if len(rows) > _MOST_ROWS:
        rows = rows[np.sort(rng.choice(len(rows), _MOST_ROWS, replace=False))]
    best, best_inertia = rows[:n_clusters], np.inf
    for _ in range(_N_INIT if len(rows) <= _FEW_ROWS else 1):
        centers, inertia = _lloyd(rows, _plus_plus(rows, n_clusters, rng))
        if inertia < best_inertia:
            best, best_inertia = centers, inertia
    return assign(X, best)[0]


def _plus_plus(
    X: NDArray[np.float64], n_clusters: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    chosen = [int(rng.integers(len(X)))]
    nearest = np.full(len(X), np.inf)
    for _ in range(n_clusters - 1):
        nearest = np.minimum(nearest, ((X - X[chosen[-1]]) ** 2).sum(axis=1))
        total = nearest.sum()
        weights = nearest / total if total > 0 else None
        chosen.append(int(rng.choice(len(X), p=weights)))
    return X[chosen]


def _lloyd(
    X: NDArray[np.float64], centers: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    labels, distances = assign(X, centers)
    for _ in range(_MAX_ROUNDS):
        sums = np.zeros_like(centers)
        counts = np.bincount(labels, minlength=len(centers))
        for part in blocks(len(X), len(centers)):
            members = labels[part] == np.arange(len(centers))[:, None]
            sums += members.astype(np.float64) @ X[part]
        # A center without rows stays where it was.
        centers = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centers)
        before = labels
        labels, distances = assign(X, centers)
        if np.array_equal(labels, before):
            break
    return centers, float(distances.sum(dtype=np.float64))
