"""Who holds the rows: this process, or the workers of a cluster.

Everything an owner answers is an integer, exact, or a row, so that it does not depend on who the
owner is, nor into how many partitions the rows are divided.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.kmeans.candidates import CandidatePool, Candidates
from fastface.kmeans.checkpoint import fingerprint
from fastface.kmeans.empty import Farthest, farthest_rows
from fastface.kmeans.fixed_point import FixedPoint
from fastface.kmeans.lloyd import (
    Assigner,
    ClusterSums,
    ExhaustiveAssigner,
    InertiaSum,
    Matrix,
    Problem,
    Watch,
    inertia_of,
    partial_step,
)
from fastface.kmeans.rows import moment_sums, variance_of
from fastface.kmeans.seeding import SeedingPool, SeedingRows

__all__ = ["LocalRows", "RowOwner", "assign_all"]


class RowOwner(Protocol):
    """The rows of a fit, and what Lloyd's algorithm and its starts ask about them."""

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of rows and of features."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the rows."""
        ...

    @property
    def metric(self) -> str:
        """Return what is minimised."""
        ...

    @property
    def algorithm(self) -> str:
        """Return how rows find their center."""
        ...

    @property
    def labels(self) -> Any:
        """Return the label of every row: an array, or where it is to be found."""
        ...

    def begin(self) -> None:
        """Forget labels, for a start that has nothing to do with the last one."""
        ...

    def step(self, centers: Matrix) -> tuple[ClusterSums, int]:
        """Assign all rows; return the sums of the clusters, not to be written to, and the moves."""
        ...

    def settle(self, centers: Matrix) -> None:
        """See to it that labels belong to `centers`."""
        ...

    def grid(self) -> FixedPoint:
        """Return the grid of the sums."""
        ...

    def farthest(self, count: int) -> Farthest:
        """Return the rows farthest from their center in the last step."""
        ...

    def inertia(self) -> Fraction:
        """Return the inertia of the labels."""
        ...

    def mean_variance(self) -> float:
        """Return the mean over features of their variance."""
        ...

    def fingerprint(self) -> int:
        """Return a number that other rows would hardly share."""
        ...

    def take(self, rows: NDArray[np.int64]) -> Matrix:
        """Return copies of some rows, in that order."""
        ...

    def weights(self) -> NDArray[np.float64] | None:
        """Return the weight of every row; None is one each."""
        ...

    def seeding_pool(self) -> SeedingPool:
        """Return the rows as k-means++ sees them."""
        ...

    def candidates(self, first: Matrix) -> CandidatePool:
        """Return what k-means‖ asks, with its first candidate."""
        ...

    def local_problem(self) -> Problem:
        """Return a problem with the same metric, kernels and threads, in this process."""
        ...


class LocalRows:
    """Rows of this process.

    Parameters
    ----------
    problem : Problem
        The rows.
    assigner : Assigner, optional
        How they find their center; by default every row is compared with every center.
    last : Assigner, optional
        How they find it when labels have to be settled.
    observe : bool
        Find the inertia in every step, while the rows are at hand, because it will be asked for.
    """

    def __init__(
        self,
        problem: Problem,
        assigner: Assigner | None = None,
        *,
        last: Assigner | None = None,
        observe: bool = False,
    ) -> None:
        self.problem = problem
        self._assigner = assigner or ExhaustiveAssigner(problem)
        self._last = last or self._assigner
        self._observe = observe
        self._grid = problem.grid()
        self._spare: NDArray[np.int32] | None = None
        self.begin()

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of rows and of features."""
        return len(self.problem.rows), self.problem.n_features

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the rows."""
        dtype: np.dtype[Any] = self.problem.rows.X.dtype
        return dtype

    @property
    def metric(self) -> str:
        """Return what is minimised."""
        return self.problem.metric

    @property
    def algorithm(self) -> str:
        """Return how rows find their center."""
        return self._assigner.name

    @property
    def labels(self) -> NDArray[np.int32]:
        """Return the label of every row; the step after the next writes over it."""
        assert self._at is not None  # noqa: S101
        return self._at[1]

    def begin(self) -> None:
        """Forget labels."""
        self._assigner.forget()
        self._at: tuple[Matrix, NDArray[np.int32]] | None = None  # centers, labels
        self._totals: ClusterSums | None = None
        self._inertia: Fraction | None = None

    def step(self, centers: Matrix) -> tuple[ClusterSums, int]:
        """Assign all rows; return the sums of the clusters, not to be written to, and the moves."""
        if self._totals is None:
            self._totals = ClusterSums.zeros(*centers.shape)
        labels = self._spare if self._spare is not None else self._new_labels()
        previous = None if self._at is None else self._at[1]
        inertia = InertiaSum(self.problem, centers) if self._observe else None
        moved = partial_step(
            self.problem,
            centers,
            self._assigner,
            self._grid,
            labels,
            previous,
            self._totals,
            None if inertia is None else inertia.add,
        )
        self._at, self._spare = (centers, labels), previous
        self._inertia = None if inertia is None else inertia.value()
        return self._totals, moved

    def settle(self, centers: Matrix) -> None:
        """See to it that labels belong to `centers`."""
        if self._at is not None and np.array_equal(self._at[0], centers):
            return
        previous = None if self._at is None else self._at[1]
        inertia = InertiaSum(self.problem, centers)
        self._totals = None  # they belong to the labels before
        labels = assign_all(self.problem, centers, self._last, previous, inertia.add)
        self._at, self._inertia = (centers, labels), inertia.value()

    def grid(self) -> FixedPoint:
        """Return the grid of the sums."""
        return self._grid

    def farthest(self, count: int) -> Farthest:
        """Return the rows farthest from their center in the last step."""
        assert self._at is not None  # noqa: S101
        return farthest_rows(self.problem, self._grid, *self._at, count)

    def inertia(self) -> Fraction:
        """Return the inertia of the labels."""
        assert self._at is not None  # noqa: S101
        if self._inertia is None:
            self._inertia = inertia_of(self.problem, *self._at)
        return self._inertia

    def mean_variance(self) -> float:
        """Return the mean over features of their variance."""
        p = self.problem
        return variance_of(p.columns, moment_sums(p.rows, p.columns, p.kernels, p.n_threads))

    def fingerprint(self) -> int:
        """Return a number that other rows would hardly share."""
        return fingerprint(self.problem.rows.X, self.problem.weights)

    def take(self, rows: NDArray[np.int64]) -> Matrix:
        """Return copies of some rows, in that order."""
        return self.problem.rows.take(rows)

    def weights(self) -> NDArray[np.float64] | None:
        """Return the weight of every row; None is one each."""
        return self.problem.weights

    def seeding_pool(self) -> SeedingPool:
        """Return the rows as k-means++ sees them."""
        p = self.problem
        return SeedingRows(p.rows.X, p.weights, p.metric, p.kernels, p.n_threads)

    def candidates(self, first: Matrix) -> CandidatePool:
        """Return what k-means‖ asks, with its first candidate."""
        return Candidates(self.problem, first)

    def local_problem(self) -> Problem:
        """Return a problem with the same metric, kernels and threads, in this process."""
        return self.problem

    def _new_labels(self) -> NDArray[np.int32]:
        return np.empty(len(self.problem.rows), np.int32)


def assign_all(
    problem: Problem,
    centers: Matrix,
    assigner: Assigner,
    previous: NDArray[np.int32] | None = None,
    watch: Watch | None = None,
) -> NDArray[np.int32]:
    """Return the labels of all rows; `previous` may help the assigner, `watch` is told of each."""
    labels = np.empty(len(problem.rows), np.int32)
    assigner.begin(centers)
    for part, chunk in problem.rows:
        before = None if previous is None else previous[part]
        labels[part] = assigner.assign(part, chunk, before)
        if watch is not None:
            watch(part, chunk, labels[part])
    return labels
