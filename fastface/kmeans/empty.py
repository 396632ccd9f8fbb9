"""Clusters that lost all their rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.kmeans.fixed_point import FixedPoint, to_integers
from fastface.kmeans.lloyd import ClusterSums, Problem

__all__ = ["farthest_rows", "relocate_empty"]


def farthest_rows(
    problem: Problem, centers: NDArray[Any], labels: NDArray[np.int32], count: int
) -> NDArray[np.int64]:
    """Return the rows with weight that are farthest from their center, farthest first.

    Equals are in order of index.  Rows at distance zero are no candidates: a center on top of
    another would win nothing.
    """
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
    return best


def relocate_empty(
    problem: Problem,
    totals: ClusterSums,
    grid: FixedPoint,
    centers: NDArray[Any],
    labels: NDArray[np.int32],
) -> ClusterSums:
    """Give every cluster without weight the farthest row there is, as scikit-learn does.

    `totals` stays as it is: the labels have not changed.  Where rows run out, clusters stay empty
    and keep their center.
    """
    empty = np.flatnonzero((totals.mass == 0).all(axis=0))
    if len(empty) == 0:
        return totals
    rows = farthest_rows(problem, centers, labels, len(empty))
    if len(rows) == 0:
        return totals
    result = totals.copy()
    ones = np.ones(len(rows))
    factors = ones if problem.factors is None else problem.factors[rows]
    masses = ones if problem.masses is None else problem.masses[rows]
    values = problem.rows.take(rows).astype(np.float64) * factors[:, None]
    old = labels[rows]
    for limb, (part, mass) in enumerate(
        zip(
            to_integers(values, grid.scales, grid.low_scale),
            to_integers(masses, grid.mass_scale, grid.low_scale),
            strict=True,
        )
    ):
        np.subtract.at(result.sums[limb], old, part)
        np.subtract.at(result.mass[limb], old, mass)
        result.sums[limb, empty[: len(rows)]] += part
        result.mass[limb, empty[: len(rows)]] += mass
    return result
