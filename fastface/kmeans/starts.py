"""From an estimator's `init` to centers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.kmeans.hierarchical import hierarchical_start
from fastface.kmeans.lloyd import Problem
from fastface.kmeans.parallel_seeding import k_means_parallel
from fastface.kmeans.randomness import Draws, Purpose
from fastface.kmeans.seeding import SeedingRows, greedy_plus_plus, random_rows

__all__ = ["find_start"]


def find_start(
    init: str,
    problem: Problem,
    n_clusters: int,
    draws: Draws,
    dtype: np.dtype[Any],
    *,
    most_rows: int | None = None,
) -> NDArray[Any]:
    """Return initial centers.

    Parameters
    ----------
    init : {"k-means++", "k-means||", "random", "hierarchical"}
        How.
    problem : Problem
        All rows.
    n_clusters : int
        How many.
    draws : Draws
        Randomness.
    dtype : dtype
        Of the centers.
    most_rows : int, optional
        k-means++ chooses among so many rows at most, drawn at random: it reads them all for every
        center.  The sample depends on the seed and the numbers of rows alone.

    Returns
    -------
    ndarray of shape (n_clusters, n_features)
        Centers.
    """
    n, weights = len(problem.rows), problem.weights
    if init == "random":
        chosen = random_rows(weights, n, n_clusters, draws)
        return problem.rows.take(chosen).astype(dtype)
    if init == "k-means||":
        return k_means_parallel(problem, n_clusters, draws, dtype)
    if init == "hierarchical":
        return hierarchical_start(problem, n_clusters, draws, dtype)
    X = problem.rows.X
    if most_rows is not None and most_rows < n:
        sample = np.sort(draws.distinct(n, max(most_rows, n_clusters), Purpose.SAMPLE))
        X = problem.rows.take(sample)
        weights = None if weights is None else weights[sample]
        if weights is not None and not weights.any():
            weights = None
    rows = SeedingRows(X, weights, problem.metric, problem.kernels, problem.n_threads)
    return X[greedy_plus_plus(rows, n_clusters, draws)].astype(dtype)
