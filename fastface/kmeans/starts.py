"""From an estimator's `init` to centers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InvalidInputError
from fastface.kmeans.hierarchical import hierarchical_start
from fastface.kmeans.owner import LocalRows, RowOwner
from fastface.kmeans.parallel_seeding import k_means_parallel
from fastface.kmeans.randomness import Draws, Purpose
from fastface.kmeans.seeding import SeedingPool, SeedingRows, greedy_plus_plus, random_rows

__all__ = ["find_start"]


def find_start(
    init: str,
    rows: RowOwner,
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
    rows : RowOwner
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
    n = rows.shape[0]
    if init == "random":
        return rows.take(random_rows(rows.weights(), n, n_clusters, draws)).astype(dtype)
    if init == "k-means||":
        return k_means_parallel(rows, n_clusters, draws, dtype)
    if init == "hierarchical":
        if not isinstance(rows, LocalRows):
            raise InvalidInputError(
                "init='hierarchical' gathers rows group by group and works on one machine only;"
                " choose 'k-means||', 'k-means++', 'random' or centers of your own"
            )
        return hierarchical_start(rows.problem, n_clusters, draws, dtype)
    pool = rows.seeding_pool()
    if most_rows is not None and most_rows < n:
        pool = _sample(rows, max(most_rows, n_clusters), draws)
    return pool.take(greedy_plus_plus(pool, n_clusters, draws)).astype(dtype)


def _sample(rows: RowOwner, count: int, draws: Draws) -> SeedingPool:
    chosen = np.sort(draws.distinct(rows.shape[0], count, Purpose.SAMPLE))
    weights = rows.weights()
    weights = None if weights is None else weights[chosen]
    if weights is not None and not weights.any():
        weights = None
    local = rows.local_problem()
    return SeedingRows(rows.take(chosen), weights, local.metric, local.kernels, local.n_threads)
