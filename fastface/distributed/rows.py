"""The rows of a fit on a Dask cluster, as `fastface.kmeans.owner` wants them asked about."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.registry import get_backend
from fastface.distributed.cluster import Partitions, Shared
from fastface.distributed.partition import Recipe
from fastface.distributed.seeding import DistributedCandidates, DistributedSeeding
from fastface.kmeans.candidates import CandidatePool
from fastface.kmeans.checkpoint import fingerprint_of
from fastface.kmeans.empty import Farthest
from fastface.kmeans.fixed_point import FixedPoint
from fastface.kmeans.lloyd import ClusterSums, Matrix, Problem
from fastface.kmeans.rows import RowBlocks, variance_of
from fastface.kmeans.seeding import SeedingPool

__all__ = ["DistributedRows"]


class DistributedRows:
    """Rows on the workers of a cluster.

    Only centers, sums of clusters and single rows travel.

    Parameters
    ----------
    partitions : Partitions
        The rows.
    recipe : Recipe
        How they are treated.
    dtype : dtype
        Of the rows.
    all_weights : ndarray of float64 or None
        The weights of all rows, for starts that draw by weight; None is one each.
    """

    def __init__(
        self,
        partitions: Partitions,
        recipe: Recipe,
        dtype: np.dtype[Any],
        all_weights: NDArray[np.float64] | None,
    ) -> None:
        self._partitions = partitions
        self._recipe = recipe
        self._dtype = dtype
        self._all_weights = all_weights
        self._grid = self.local_problem().grid()
        self._number = 0
        self.begin()

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of rows and of features."""
        return self._recipe.columns.n_rows, len(self._recipe.columns.largest)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the rows."""
        return self._dtype

    @property
    def metric(self) -> str:
        """Return what is minimised."""
        return self._recipe.metric

    @property
    def algorithm(self) -> str:
        """Return how rows find their center."""
        return self._recipe.algorithm

    @property
    def labels(self) -> list[Any]:
        """Return futures of the labels, one a partition."""
        return self._partitions.keep(self._recipe, "labels", *self._position())

    def begin(self) -> None:
        """Forget labels."""
        self._at: tuple[int, Shared] | None = None
        self._totals: ClusterSums | None = None

    def step(self, centers: Matrix) -> tuple[ClusterSums, int]:
        """Assign all rows; return the sums of the clusters, not to be written to, and the moves."""
        to = self._next(centers)
        since = (None, None) if self._totals is None or self._at is None else self._at
        change, moved = self._partitions.ask_merged(_merge_steps, self._recipe, "step", *to, *since)
        self._totals = change if self._totals is None else self._totals.merge(change)
        self._at = to
        return self._totals, moved

    def settle(self, centers: Matrix) -> None:
        """See to it that labels belong to `centers`."""
        if self._at is None or not np.array_equal(self._at[1].value, centers):
            self._at, self._totals = self._next(centers), None

    def grid(self) -> FixedPoint:
        """Return the grid of the sums."""
        return self._grid

    def farthest(self, count: int) -> Farthest:
        """Return the rows farthest from their center in the last step."""
        answers: list[Farthest] = self._partitions.ask(
            self._recipe, "farthest", *self._position(), count
        )
        return reduce(lambda one, other: one.merge(other, count), answers)

    def inertia(self) -> Fraction:
        """Return the inertia of the labels."""
        answers = self._partitions.ask(self._recipe, "inertia", *self._position())
        return sum(answers, Fraction(0))

    def mean_variance(self) -> float:
        """Return the mean over features of their variance."""
        sums = sum(self._partitions.ask(self._recipe, "moments"))
        return variance_of(self._recipe.columns, sums)

    def fingerprint(self) -> int:
        """Return the number that the same rows have in one process."""
        return fingerprint_of(self.take, self.shape[0], self._all_weights)

    def take(self, rows: NDArray[np.int64]) -> Matrix:
        """Return copies of some rows, in that order."""
        starts = np.array(self._partitions.first_rows)
        owners = np.searchsorted(starts, rows, side="right") - 1
        result = np.empty((len(rows), self.shape[1]), self._dtype)
        for owner in np.unique(owners):
            wanted = np.flatnonzero(owners == owner)
            result[wanted] = self._partitions.ask_one(
                int(owner), self._recipe, "take", rows[wanted] - starts[owner]
            )
        return result

    def weights(self) -> NDArray[np.float64] | None:
        """Return the weight of every row; None is one each."""
        return self._all_weights

    def seeding_pool(self) -> SeedingPool:
        """Return the rows as k-means++ sees them."""
        return DistributedSeeding(self._partitions, self._recipe, self)

    def candidates(self, first: Matrix) -> CandidatePool:
        """Return what k-means‖ asks, with its first candidate."""
        return DistributedCandidates(self._partitions, self._recipe, first)

    def local_problem(self) -> Problem:
        """Return a problem with the same metric, kernels and threads, in this process."""
        r = self._recipe
        nobody = RowBlocks(np.empty((0, len(r.columns.largest)), self._dtype))
        kernels = get_backend(r.device).kmeans
        return Problem(
            nobody, kernels, r.metric, r.columns, r.largest_weight, None, None, None, r.n_threads
        )

    def _next(self, centers: Matrix) -> tuple[int, Shared]:
        self._number += 1
        return self._number, self._partitions.share(centers)

    def _position(self) -> tuple[int, Shared]:
        assert self._at is not None  # noqa: S101
        return self._at


def _merge_steps(
    one: tuple[ClusterSums, int], other: tuple[ClusterSums, int]
) -> tuple[ClusterSums, int]:
    return one[0].merge(other[0]), one[1] + other[1]
