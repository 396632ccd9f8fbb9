"""What every backend offers to k-means beyond the dense kernels of `Backend`.

Rows are C-contiguous float16, float32 or float64; centers are float32, or float64 where the rows
are.  Every method is *defined* by `fastface.backends.reference_kmeans`; other backends return the
same bits.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["KMeansKernels", "Pruner", "Seeder"]

Matrix = NDArray[Any]


class Seeder(Protocol):
    """Distances of rows to the nearest center chosen so far, and what more centers would win.

    The potential is the sum over rows of weight times distance, each rounded to a multiple of
    1 / scale: an integer, so that potentials of partitions add up exactly.
    """

    def begin(self, center: Matrix) -> float:
        """Take the first center; return the largest weighted distance to it."""
        ...

    def set_scale(self, scale: float) -> int:
        """Count in multiples of 1 / `scale` from now on; return the potential."""
        ...

    def locate(self, target: int) -> int:
        """Return the first row at which the running sum of the potential exceeds `target`."""
        ...

    def evaluate(self, candidates: Matrix) -> list[int]:
        """Return the potential after adding one candidate, for each of them."""
        ...

    def accept(self, which: int) -> None:
        """Add a candidate of the last `evaluate`."""
        ...


class Pruner(Protocol):
    """Finds the nearest center of every row, pass by pass, while centers move.

    It keeps an upper bound on the score of every row in every group of centers, and looks only at
    groups whose bound reaches what the row's own center scores.
    """

    @property
    def n_groups(self) -> int:
        """Return the number of groups."""
        ...

    def begin(self, centers: Matrix, names: NDArray[np.int32]) -> None:
        """Begin a pass: `centers` stand group by group, and ``names[i]`` is the label of the i-th.

        The order has to stay as it is until all rows are assigned anew.
        """
        ...

    def assign(
        self, x: Matrix, first_row: int, anew: bool, labels: NDArray[np.int32]
    ) -> tuple[int, int]:
        """Bring `labels`, those of the last pass, up to date for rows from `first_row` on.

        With `anew`, no bounds of these rows are known, and any labels will do, good ones best.
        Returns how many pairs of row and group were scored, and how many pairs of row and center
        the definition decided.
        """
        ...


class KMeansKernels(Protocol):
    """Dense steps of k-means."""

    def nearest_center(
        self, X: Matrix, centers: Matrix, metric: str, *, n_threads: int = 1
    ) -> NDArray[np.int32]:
        """Return the label of every row: the lowest index among the nearest centers."""
        ...

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
        ...

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
        ...

    def column_range(self, X: Matrix, *, n_threads: int = 1) -> NDArray[np.float64]:
        """Return the largest magnitude of every feature; NaN where a value is no number."""
        ...

    def column_moments(
        self, X: Matrix, scales: NDArray[np.float64], low_scale: float, *, n_threads: int = 1
    ) -> NDArray[np.int64]:
        """Return sums of values and of squares as integers, shape (2, 2, n_features)."""
        ...

    def row_norms(self, X: Matrix, *, n_threads: int = 1) -> NDArray[np.float64]:
        """Return the norm of every row."""
        ...

    def pruner_bytes(self, n_features: int, n_clusters: int, keep_rows: bool) -> int:
        """Return the bytes that a pruner takes for a row."""
        ...

    def pruner(
        self, n_rows: int, n_clusters: int, metric: str, *, n_threads: int = 1, keep_rows: bool
    ) -> Pruner:
        """Return what leaves out groups of centers that cannot hold a row's nearest.

        With `keep_rows` it holds the rows in the form in which they are scored, where that form is
        smaller than they are.
        """
        ...

    def seeder(
        self, X: Matrix, weights: NDArray[np.float64] | None, metric: str, *, n_threads: int = 1
    ) -> Seeder:
        """Return what k-means++ asks about the rows."""
        ...
