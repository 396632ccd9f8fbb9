"""The C++ SIMD implementation of what only k-means needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface import _kernels

__all__ = ["CpuKMeans"]

Matrix = NDArray[Any]


class CpuKMeans:
    """Kernels in C++, chosen for the machine's instruction set when they are called."""

    def nearest_center(
        self, X: Matrix, centers: Matrix, metric: str, *, n_threads: int = 1
    ) -> NDArray[np.int32]:
        """Return the label of every row: the lowest index among the nearest centers."""
        found = _kernels.nearest(X, centers, 1, metric, False, n_threads, 0)
        return found[1][:, 0]

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
        return _kernels.accumulate(
            X,
            labels,
            previous,
            factors,
            masses,
            scales,
            mass_scale,
            low_scale,
            sums,
            mass,
            n_threads,
        )

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
        return _kernels.own_distances(X, centers, labels, metric, n_threads)

    def column_range(self, X: Matrix, *, n_threads: int = 1) -> NDArray[np.float64]:
        """Return the largest magnitude of every feature; NaN where a value is no number."""
        return _kernels.column_range(X, n_threads)

    def column_moments(
        self, X: Matrix, scales: NDArray[np.float64], low_scale: float, *, n_threads: int = 1
    ) -> NDArray[np.int64]:
        """Return sums of values and of squares as integers, shape (2, 2, n_features)."""
        return _kernels.column_moments(X, scales, low_scale, n_threads)

    def row_norms(self, X: Matrix, *, n_threads: int = 1) -> NDArray[np.float64]:
        """Return the norm of every row."""
        return _kernels.row_norms(X, n_threads)

    def pruner_bytes(self, n_features: int, n_clusters: int, keep_rows: bool) -> int:
        """Return the bytes that a pruner takes for a row."""
        return _kernels.Pruner.bytes_per_row(n_features, n_clusters, keep_rows)

    def pruner(
        self, n_rows: int, n_clusters: int, metric: str, *, n_threads: int = 1, keep_rows: bool
    ) -> _kernels.Pruner:
        """Return what leaves out groups of centers that cannot hold a row's nearest.

        With `keep_rows` it holds the rows in the form in which they are scored, where that form is
        smaller than they are.
        """
        return _kernels.Pruner(n_rows, n_clusters, metric, n_threads, keep_rows)

    def seeder(
        self, X: Matrix, weights: NDArray[np.float64] | None, metric: str, *, n_threads: int = 1
    ) -> _kernels.Seeder:
        """Return what k-means++ asks about the rows."""
        return _kernels.Seeder(X, weights, metric, n_threads)
