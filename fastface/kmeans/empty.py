"""Clusters that lost all their rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.kmeans.fixed_point import FixedPoint, to_integers
from fastface.kmeans.lloyd import ClusterSums, Problem

__all__ = ["Farthest", "farthest_rows", "relocate_empty"]


@dataclass(frozen=True)
class Farthest:
    """The rows with weight that are farthest from their center, farthest first.

    Equals are in order of index.  Rows at distance zero are not among them: a center on top of
    another would win nothing.

    Attributes
    ----------
    distances : ndarray of float64, shape (count,)
        To the own center.
    rows : ndarray of int64, shape (count,)
        Their index among the rows of all partitions.
    labels : ndarray of int32, shape (count,)
        Their clusters.
    sums : ndarray of int64, shape (2, count, n_features)
        What each of them adds to the sums of its cluster.
    masses : ndarray of int64, shape (2, count)
        And to its weight.
    """

    distances: NDArray[np.float64]
    rows: NDArray[np.int64]
    labels: NDArray[np.int32]
    sums: NDArray[np.int64]
    masses: NDArray[np.int64]

    def merge(self, other: Farthest, count: int) -> Farthest:
        """Return the farthest of both partitions, `count` at most."""
        distances = np.concatenate([self.distances, other.distances])
        rows = np.concatenate([self.rows, other.rows])
        order = np.lexsort((rows, -distances))[:count]
        return Farthest(
            distances[order],
            rows[order],
            np.concatenate([self.labels, other.labels])[order],
            np.concatenate([self.sums, other.sums], axis=1)[:, order],
            np.concatenate([self.masses, other.masses], axis=1)[:, order],
        )


def farthest_rows(
    problem: Problem,
    grid: FixedPoint,
    centers: NDArray[Any],
    labels: NDArray[np.int32],
    count: int,
) -> Farthest:
    """Return the rows of one partition that are farthest from their center, `count` at most."""
    best = np.empty(0, np.int64)
    best_distances = np.empty(0)
    for part, chunk in problem.rows:
        distances = problem.kernels.own_distances(
            chunk, centers, labels[part], problem.metric, n_threads=problem.n_threads
        )
        usable = distances > 0.0
        if problem.masses is not None:
            usable &= problem.masses[part] > 0.0
        rows = np.flatnonzero(usable)
        if len(rows) > count:
            bar = np.partition(distances[rows], len(rows) - count)[len(rows) - count]
            rows = rows[distances[rows] >= bar]
        best = np.concatenate([best, rows + part.start])
        best_distances = np.concatenate([best_distances, distances[rows]])
        order = np.lexsort((best, -best_distances))[:count]
        best, best_distances = best[order], best_distances[order]
    ones = np.ones(len(best))
    factors = ones if problem.factors is None else problem.factors[best]
    masses = ones if problem.masses is None else problem.masses[best]
    values = problem.rows.take(best).astype(np.float64) * factors[:, None]
    return Farthest(
        best_distances,
        best + problem.rows.first_row,
        labels[best],
        np.stack(to_integers(values, grid.scales, grid.low_scale)),
        np.stack(to_integers(masses, grid.mass_scale, grid.low_scale)),
    )


def relocate_empty(
    totals: ClusterSums, farthest: Callable[[int], Farthest]
) -> tuple[NDArray[np.int64], ClusterSums]:
    """Give every cluster without weight the farthest row there is, as scikit-learn does.

    `totals` stays as it is: the labels have not changed.  Where rows run out, clusters stay empty
    and keep their center.

    Parameters
    ----------
    totals : ClusterSums
        Of all partitions.
    farthest : callable
        Returns so many of the farthest rows of all partitions.

    Returns
    -------
    clusters : ndarray of int64
        Those that won or lost a row.
    sums : ClusterSums
        Theirs after that.
    """
    empty = np.flatnonzero((totals.mass == 0).all(axis=0))
    if len(empty) == 0:
        return empty, ClusterSums(totals.sums[:, empty], totals.mass[:, empty])
    seats = farthest(len(empty))
    taken = empty[: len(seats.rows)]
    clusters = np.union1d(taken, seats.labels)
    result = ClusterSums(totals.sums[:, clusters], totals.mass[:, clusters])
    winners, losers = np.searchsorted(clusters, taken), np.searchsorted(clusters, seats.labels)
    for limb in range(2):
        np.subtract.at(result.sums[limb], losers, seats.sums[limb])
        np.subtract.at(result.mass[limb], losers, seats.masses[limb])
        result.sums[limb, winners] += seats.sums[limb]
        result.mass[limb, winners] += seats.masses[limb]
    return clusters, result
