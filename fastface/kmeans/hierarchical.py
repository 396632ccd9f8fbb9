"""A start for very many clusters: groups first, then clusters inside each group.

Choosing K centers by k-means++ costs n K distances, and so does one exact iteration.  Two levels
cost n sqrt(K) instead.  What comes out is a start and nothing more: the iterations that follow
compare every row with every center, or prove that they need not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.kmeans.iterate import iterate
from fastface.kmeans.lloyd import Matrix, Problem
from fastface.kmeans.owner import LocalRows
from fastface.kmeans.parallel_seeding import weighted_k_means
from fastface.kmeans.randomness import Draws, Purpose
from fastface.kmeans.rows import RowBlocks
from fastface.kmeans.seeding import SeedingRows, greedy_plus_plus

__all__ = ["hierarchical_start", "share_out"]

_SAMPLE = 256  # rows a group that the groups are found on
_GROUP_ITERATIONS = 10
_CLUSTER_ITERATIONS = 4
_GATHERED_BYTES = 64 << 20  # of rows at most, to cluster inside their groups


def share_out(total: int, sizes: NDArray[np.int64], most: NDArray[np.int64]) -> NDArray[np.int64]:
    """Divide `total` seats in proportion to `sizes`, at most `most` to anybody.

    The largest remainders get what is left; equals in order of index.
    """
    seats = np.zeros(len(sizes), np.int64)
    while (rest := total - int(seats.sum())) > 0:
        open_ = np.flatnonzero(seats < most)
        weight = np.maximum(sizes[open_], 1)
        whole = [rest * int(w) // int(weight.sum()) for w in weight]
        remainder = [rest * int(w) % int(weight.sum()) for w in weight]
        short = rest - sum(whole)
        order = sorted(range(len(open_)), key=lambda i: (-remainder[i], i))
        for i in order[:short]:
            whole[i] += 1
        seats[open_] = np.minimum(seats[open_] + np.array(whole, np.int64), most[open_])
    return seats


def hierarchical_start(
    problem: Problem, n_clusters: int, draws: Draws, dtype: np.dtype[Any]
) -> Matrix:
    """Return centers from two levels of k-means.

    Parameters
    ----------
    problem : Problem
        The rows.
    n_clusters : int
        How many centers.
    draws : Draws
        Randomness.
    dtype : dtype
        Of the centers.

    Returns
    -------
    ndarray of shape (n_clusters, n_features)
        Centers.
    """
    n = len(problem.rows)
    n_groups = max(1, round(math.sqrt(n_clusters)))
    sample = np.sort(draws.distinct(n, min(n, _SAMPLE * n_groups), Purpose.SAMPLE))
    points = problem.rows.take(sample)
    weights = None if problem.weights is None else problem.weights[sample]
    if weights is not None and not weights.any():
        weights = None
    seeding = SeedingRows(points, weights, problem.metric, problem.kernels, problem.n_threads)
    start = points[greedy_plus_plus(seeding, n_groups, draws)].astype(dtype)
    groups = iterate(
        LocalRows(problem.on(points, weights)), start, max_iter=_GROUP_ITERATIONS, tol=0.0
    ).centers

    owner = np.empty(n, np.int32)
    for part, chunk in problem.rows:
        owner[part] = problem.kernels.nearest_center(
            chunk, groups, problem.metric, n_threads=problem.n_threads
        )
    order = np.argsort(owner, kind="stable")
    row_weights = problem.weights
    if row_weights is not None and np.count_nonzero(row_weights) >= n_clusters:
        order = order[row_weights[order] > 0.0]
    else:
        row_weights = None
    sizes = np.bincount(owner[order], minlength=n_groups).astype(np.int64)
    seats = share_out(n_clusters, sizes, sizes)
    centers = []
    for group, (places, inside) in enumerate(_gathered(problem.rows, order, sizes)):
        if seats[group] == 0:
            continue
        centers.append(
            weighted_k_means(
                problem,
                inside.astype(dtype),
                np.ones(len(places)) if row_weights is None else row_weights[places],
                int(seats[group]),
                draws.for_init(draws.init + 1 + group),
                max_iter=_CLUSTER_ITERATIONS,
                n_trials=1,
            )
        )
    return np.concatenate(centers)


def _gathered(
    rows: RowBlocks, order: NDArray[np.int64], sizes: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], Matrix]]:
    """Yield indices and values of each group's rows, reading as many groups at once as a chunk."""
    row_bytes = max(1, rows.X.shape[1] * rows.X.itemsize)
    most = min(rows.chunk_rows, max(1, _GATHERED_BYTES // row_bytes))
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    first = 0
    while first < len(sizes):
        end = int(np.searchsorted(bounds, bounds[first] + most, side="right")) - 1
        last = min(max(first + 1, end), len(sizes))
        places = order[bounds[first] : bounds[last]]
        values = rows.take(places)
        for group in range(first, last):
            own = slice(bounds[group] - bounds[first], bounds[group + 1] - bounds[first])
            yield places[own], values[own]
        first = last
