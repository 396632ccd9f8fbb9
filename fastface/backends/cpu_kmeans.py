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

    def group_size(self) -> int:
        """Return how many centers make a group for `assign_pruned`."""
        return _kernels.group_size()

    def assign_pruned(
        self,
        X: Matrix,
        centers: Matrix,
        names: NDArray[np.int32],
        places: NDArray[np.int32],
        moves: NDArray[np.float32],
        metric: str,
        labels: NDArray[np.int32],
        lower: NDArray[np.float32],
        *,
        n_threads: int = 1,
    ) -> tuple[int, int]:
        """Bring `labels` up to date, leaving out groups of centers that cannot hold the nearest.

        `centers` are in the order of the groups; ``names[i]`` is the label of ``centers[i]``, and
        ``places`` the inverse.  ``lower[g, i]`` bounds the distance of row i to group g from below
        once ``moves[g]`` is taken off, and is brought up to date too.  Returns how many pairs of
        row and group were scored, and how many pairs of row and center the definition decided.
        """
        return _kernels.assign_pruned(
            X, centers, names, places, moves, metric, labels, lower, n_threads
        )

    def seeder(
        self, X: Matrix, weights: NDArray[np.float64] | None, metric: str, *, n_threads: int = 1
    ) -> _kernels.Seeder:
        """Return what k-means++ asks about the rows."""
        return _kernels.Seeder(X, weights, metric, n_threads)
