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
from fastface.kmeans.randomness import Draws, Purpose
from fastface.kmeans.seeding import SeedingRows, greedy_plus_plus, random_rows

__all__ = ["k_means_parallel", "weighted_k_means"]

_ROUNDS = 5
_OVERSAMPLING = 2  # candidates a round, in units of n_clusters
_POLISH = 10  # iterations over the candidates


class _Candidates:
    """Candidates so far, and which of them every row is nearest to."""

    def __init__(self, problem: Problem, first: Matrix) -> None:
        self._problem = problem
        n = len(problem.rows)
        self._nearest = np.full(n, np.inf)
        self._owner = np.zeros(n, np.int32)
        self.centers = first[:0]
        self._scale = 0.0
        self.add(first)

    def add(self, centers: Matrix) -> None:
        """Bring nearest distances up to date with more candidates, in one pass over the rows."""
        p, before = self._problem, len(self.centers)
        for part, chunk in p.rows:
            labels = p.kernels.nearest_center(chunk, centers, p.metric, n_threads=p.n_threads)
            distances = p.kernels.own_distances(
                chunk, centers, labels, p.metric, n_threads=p.n_threads
            )
            nearer = distances < self._nearest[part]
            self._nearest[part][nearer] = distances[nearer]
            self._owner[part][nearer] = labels[nearer] + before
        self.centers = np.concatenate([self.centers, centers])

    def shares(self) -> NDArray[np.int64]:
        """Return the part of every row in the potential, in integers of one scale."""
        weights = self._problem.weights
        weighted = self._nearest if weights is None else self._nearest * weights
        if not self._scale:
            bits = grid_bits(len(weighted))
            self._scale = float(power_of_two_below(float(weighted.max()), bits))
        return np.rint(weighted * self._scale).astype(np.int64)

    def masses(self) -> NDArray[np.float64]:
        """Return the weight of the rows nearest to each candidate, exact up to one rounding."""
        weights = self._problem.weights
        if weights is None:
            return np.bincount(self._owner, minlength=len(self.centers)).astype(np.float64)
        scale = float(power_of_two_below(float(weights.max()), grid_bits(len(weights))))
        sums = np.zeros(len(self.centers), np.int64)
        np.add.at(sums, self._owner, np.rint(weights * scale).astype(np.int64))
        result: NDArray[np.float64] = sums / scale
        return result


def k_means_parallel(
    problem: Problem, n_clusters: int, draws: Draws, dtype: np.dtype[Any]
) -> Matrix:
    """Choose about ten candidates a cluster in five rounds, then cluster those by their weight.

    Parameters
    ----------
    problem : Problem
        The rows; a mapped file is read once a round.
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
    n = len(problem.rows)
    first = random_rows(problem.weights, n, 1, draws)
    found = _Candidates(problem, problem.rows.take(first).astype(dtype))
    for round_ in range(_ROUNDS):
        shares = found.shares()
        potential = int(shares.sum())
        if potential == 0:
            break
        chance = shares * (_OVERSAMPLING * n_clusters / potential)
        drawn = np.flatnonzero(draws.uniform(Purpose.OVERSAMPLING, round_, 0, n) < chance)
        if len(drawn):
            found.add(problem.rows.take(drawn).astype(dtype))
    if len(found.centers) < n_clusters:  # rows lie on few points
        rows = draws.distinct(n, n_clusters, Purpose.RANDOM_ROWS, 1)
        return np.concatenate([found.centers, problem.rows.take(rows).astype(dtype)])[:n_clusters]
    return weighted_k_means(problem, found.centers, found.masses(), n_clusters, draws)


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
    return iterate(inner, start, max_iter=max_iter, tol=0.0).centers
