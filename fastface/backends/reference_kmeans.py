"""The NumPy definition of the kernels that only k-means needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.reference import (
    _dots,
    _fixed_order_sum,
    _norms,
    distance_keys,
)

__all__ = [
    "ReferenceKMeans",
    "ReferencePruner",
    "ReferenceSeeder",
    "own_keys",
    "row_norms",
    "squared_norms",
]

Matrix = NDArray[Any]


def squared_norms(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared norm of every row, summed in the fixed order."""
    return _fixed_order_sum(X * X)


def row_norms(X: Matrix) -> NDArray[np.float64]:
    """Return the norm of every row by which the cosine metric divides."""
    return _norms(X.astype(np.float64))


def own_keys(
    X: Matrix, centers: Matrix, labels: NDArray[np.int32], metric: str
) -> NDArray[np.float64]:
    """Return the key of every row and its own center."""
    x, y = X.astype(np.float64), centers.astype(np.float64)[labels]
    if metric == "cosine":
        scale = _norms(x) * _norms(y)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = 1.0 - _dots(x, y) / scale
        return np.where(scale == 0.0, 1.0, np.clip(cosine, 0.0, 2.0))
    return squared_norms(x - y)


def _integers(
    values: NDArray[np.float64], scale: NDArray[np.float64] | float, low_scale: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    scaled = values * scale
    high = np.rint(scaled)
    return high.astype(np.int64), np.rint((scaled - high) * low_scale).astype(np.int64)


class ReferenceSeeder:
    """Distances of rows to the nearest center chosen so far, and what more centers would win.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows of one partition.
    weights : ndarray of float64, shape (n_samples,), or None
        Their weights.
    metric : {"sqeuclidean", "cosine"}
        Distance.
    """

    def __init__(
        self, X: Matrix, weights: NDArray[np.float64] | None, metric: str, n_threads: int = 1
    ) -> None:
        self._X, self._weights, self._metric = X, weights, metric
        self.nearest = np.full(len(X), np.inf)
        self._tried: list[NDArray[np.float64]] = []
        self._scale = 1.0

    def _distances(self, center: Matrix) -> NDArray[np.float64]:
        keys: NDArray[np.float64] = distance_keys(np.atleast_2d(center), self._X, self._metric)[0]
        return keys

    def _shares(self, distances: NDArray[np.float64]) -> NDArray[np.int64]:
        weighted = distances if self._weights is None else distances * self._weights
        return np.rint(weighted * self._scale).astype(np.int64)

    def begin(self, center: Matrix) -> float:
        """Take the first center; return the largest weighted distance to it."""
        self.nearest = self._distances(center)
        weighted = self.nearest if self._weights is None else self.nearest * self._weights
        return float(weighted.max())

    def set_scale(self, scale: float) -> int:
        """Count in multiples of 1 / `scale` from now on; return the potential."""
        self._scale = scale
        return int(self._shares(self.nearest).sum())

    def locate(self, target: int) -> int:
        """Return the first row at which the running sum of the potential exceeds `target`."""
        running = np.cumsum(self._shares(self.nearest))
        return int(np.searchsorted(running, target, side="right"))

    def evaluate(self, candidates: Matrix) -> list[int]:
        """Return the potential after adding one candidate, for each of them."""
        self._tried = [np.minimum(self.nearest, self._distances(c)) for c in candidates]
        return [int(self._shares(distances).sum()) for distances in self._tried]

    def accept(self, which: int) -> None:
        """Add a candidate of the last `evaluate`."""
        self.nearest = self._tried[which]


class ReferencePruner:
    """Leaves nothing out: what labels a pruner has to come to.

    Parameters
    ----------
    kernels : ReferenceKMeans
        Finds the nearest of all.
    n_clusters : int
        Number of centers.
    metric : {"sqeuclidean", "cosine"}
        Distance.
    """

    n_groups = 1

    def __init__(self, kernels: ReferenceKMeans, n_clusters: int, metric: str) -> None:
        self._kernels = kernels
        self._n_clusters = n_clusters
        self._metric = metric

    def begin(self, centers: Matrix, names: NDArray[np.int32]) -> None:
        """Begin a pass: `centers` stand group by group, and ``names[i]`` is the label of the i-th.

        The order has to stay as it is until all rows are assigned anew.
        """
        self._centers = np.empty_like(centers)
        self._centers[names] = centers

    def assign(
        self, x: Matrix, first_row: int, anew: bool, labels: NDArray[np.int32]
    ) -> tuple[int, int]:
        """Bring `labels`, those of the last pass, up to date for rows from `first_row` on.

        With `anew`, no bounds of these rows are known, and any labels will do, good ones best.
        Returns how many pairs of row and group were scored, and how many pairs of row and center
        the definition decided.
        """
        labels[:] = self._kernels.nearest_center(x, self._centers, self._metric)
        return len(x), len(x) * self._n_clusters


class ReferenceKMeans:
    """Slow, plain and right."""

    def nearest_center(
        self, X: Matrix, centers: Matrix, metric: str, *, n_threads: int = 1
    ) -> NDArray[np.int32]:
        """Return the label of every row: the lowest index among the nearest centers."""
        labels: NDArray[np.int32] = (
            distance_keys(X, centers, metric).argmin(axis=1).astype(np.int32)
        )
        return labels

    def accumulate(
        self,
        X: Matrix,
        labels: NDArray[np.int32],
        previous: NDArray[np.int32] | None,
        factors: NDArray[np.float64] | None,
        masses: NDArray[np.float64] | None,
        scales: NDArray[np.float64],
        mass_scale: float,
        low_scale: float,
        sums: NDArray[np.int64],
        mass: NDArray[np.int64],
        *,
        n_threads: int = 1,
    ) -> int:
        """Add rows to the sums of their cluster; with `previous`, move only those that changed.

        A row enters `sums` multiplied with its factor, and `mass` as its mass, both as the two
        integers of `fastface.kmeans.fixed_point`.  Returns how many rows moved.
        """
        rows = np.arange(len(X)) if previous is None else np.flatnonzero(labels != previous)
        ones = np.ones(len(rows))
        weights = ones if masses is None else masses[rows]
        values = X[rows].astype(np.float64) * (ones if factors is None else factors[rows])[:, None]
        for limb, (shares, portion) in enumerate(
            zip(
                _integers(values, scales, low_scale),
                _integers(weights, mass_scale, low_scale),
                strict=True,
            )
        ):
            np.add.at(sums[limb], labels[rows], shares)
            np.add.at(mass[limb], labels[rows], portion)
            if previous is not None:
                np.subtract.at(sums[limb], previous[rows], shares)
                np.subtract.at(mass[limb], previous[rows], portion)
        return len(rows)

    def own_distances(
        self,
        X: Matrix,
        centers: Matrix,
        labels: NDArray[np.int32],
        metric: str,
        *,
        n_threads: int = 1,
    ) -> NDArray[np.float64]:
        """Return the distance of every row to its own center."""
        return own_keys(X, centers, labels, metric)

    def column_range(self, X: Matrix, *, n_threads: int = 1) -> NDArray[np.float64]:
        """Return the largest magnitude of every feature; NaN where a value is no number."""
        with np.errstate(invalid="ignore"):
            low, high = X.min(axis=0), X.max(axis=0)
            largest: NDArray[np.float64] = np.maximum(-low.astype(np.float64), high)
        return np.where(np.isfinite(largest), largest, np.nan)

    def column_moments(
        self, X: Matrix, scales: NDArray[np.float64], low_scale: float, *, n_threads: int = 1
    ) -> NDArray[np.int64]:
        """Return sums of values and of squares as integers, shape (2, 2, n_features)."""
        wide = X.astype(np.float64)
        return np.stack(
            [
                np.stack([part.sum(axis=0) for part in _integers(values, scale, low_scale)])
                for values, scale in zip((wide, wide * wide), scales, strict=True)
            ]
        )

    def row_norms(self, X: Matrix, *, n_threads: int = 1) -> NDArray[np.float64]:
        """Return the norm of every row."""
        return row_norms(X)

    def pruner_bytes(self, n_features: int, n_clusters: int, keep_rows: bool) -> int:
        """Return the bytes that a pruner takes for a row."""
        return 0

    def pruner(
        self, n_rows: int, n_clusters: int, metric: str, *, n_threads: int = 1, keep_rows: bool
    ) -> ReferencePruner:
        """Return what leaves out groups of centers that cannot hold a row's nearest.

        With `keep_rows` it holds the rows in the form in which they are scored, where that form is
        smaller than they are.
        """
        return ReferencePruner(self, n_clusters, metric)

    def seeder(
        self, X: Matrix, weights: NDArray[np.float64] | None, metric: str, *, n_threads: int = 1
    ) -> ReferenceSeeder:
        """Return what k-means++ asks about the rows."""
        return ReferenceSeeder(X, weights, metric, n_threads)
