"""k-means‖: seeding that reads all rows a few times instead of once a center.

Bahmani et al., "Scalable k-means++", VLDB 2012, algorithm 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.kmeans.fixed_point import grid_bits, power_of_two_below
from fastface.kmeans.iterate import iterate
from fastface.kmeans.lloyd import Matrix, Problem
from fastface.kmeans.owner import LocalRows, RowOwner
from fastface.kmeans.randomness import Draws, Purpose
from fastface.kmeans.seeding import SeedingRows, greedy_plus_plus, random_rows

__all__ = ["k_means_parallel", "weighted_k_means"]

_ROUNDS = 5
_OVERSAMPLING = 2  # candidates a round, in units of n_clusters
_POLISH = 10  # iterations over the candidates


def k_means_parallel(rows: RowOwner, n_clusters: int, draws: Draws, dtype: np.dtype[Any]) -> Matrix:
    """Choose about ten candidates a cluster in five rounds, then cluster those by their weight.

    Parameters
    ----------
    rows : RowOwner
        The rows, which are read once a round.
    n_clusters : int
        How many centers.
    draws : Draws
        Randomness: every row has a number of its own in every round.
    dtype : dtype
        Of the centers.

    Returns
    -------
    ndarray of shape (n_clusters, n_features)
        Centers.
    """
    n = rows.shape[0]
    points = rows.take(random_rows(rows.weights(), n, 1, draws)).astype(dtype)
    pool = rows.candidates(points)
    scale = float(power_of_two_below(pool.largest(), grid_bits(n)))
    for round_ in range(_ROUNDS):
        potential = pool.potential(scale)
        if potential == 0:
            break
        rate = _OVERSAMPLING * n_clusters / potential
        drawn = pool.draw(draws, round_, scale, rate).astype(dtype)
        if len(drawn):
            pool.add(drawn)
            points = np.concatenate([points, drawn])
    if len(points) < n_clusters:  # rows lie on few points
        more = draws.distinct(n, n_clusters, Purpose.RANDOM_ROWS, 1)
        return np.concatenate([points, rows.take(more).astype(dtype)])[:n_clusters]
    return weighted_k_means(rows.local_problem(), points, pool.masses(), n_clusters, draws)


def weighted_k_means(
    problem: Problem,
    points: Matrix,
    weights: NDArray[np.float64],
    n_clusters: int,
    draws: Draws,
    *,
    max_iter: int = _POLISH,
    n_trials: int | None = None,
) -> Matrix:
    """Return the centers of a few weighted points, clustered as `problem` says."""
    inner = problem.on(points, weights)
    rows = SeedingRows(points, weights, problem.metric, problem.kernels, problem.n_threads)
    start = points[greedy_plus_plus(rows, n_clusters, draws, n_trials=n_trials)]
    return iterate(LocalRows(inner), start, max_iter=max_iter, tol=0.0).centers
