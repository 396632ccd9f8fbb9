"""Lloyd's algorithm as pure steps over partitions of rows.

`partial_step` looks at some rows, `merge` adds what several partitions found, `next_centers` moves
the centers: whoever owns the rows (one process, chunks of a file, workers of a cluster) gets the
same bits, because labels are certified and sums are integers (`fastface.kmeans.fixed_point`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.backends.kmeans_protocol import KMeansKernels
from fastface.backends.reference_kmeans import squared_norms
from fastface.kmeans.fixed_point import FixedPoint, exact, grid_bits, power_of_two_below
from fastface.kmeans.rows import ColumnRange, RowBlocks, measure

__all__ = [
    "Assigner",
    "ClusterSums",
    "ExhaustiveAssigner",
    "InertiaSum",
    "Problem",
    "Watch",
    "inertia_of",
    "largest_magnitude",
    "move_rows",
    "next_centers",
    "partial_step",
    "shift_of",
]

_BLOCK_VALUES = 1 << 19

Matrix = NDArray[Any]
Watch = Callable[[slice, Matrix, NDArray[np.int32]], object]


@dataclass(frozen=True)
class Problem:
    """The rows of one partition, and how they count.

    Attributes
    ----------
    rows : RowBlocks
        The rows.
    kernels : KMeansKernels
        Where dense steps run.
    metric : {"sqeuclidean", "cosine"}
        What is minimised.
    columns : ColumnRange
        Of all partitions together.
    largest_weight : float
        Of all partitions together.
    weights : ndarray of float64 or None
        Weight of every row in the inertia; None is one each.
    factors : ndarray of float64 or None
        What every row is multiplied with in the sums: its weight, and for the cosine metric one
        over its norm.
    masses : ndarray of float64 or None
        What every row adds to the weight of its cluster: its weight, but nothing for a row without
        direction.
    n_threads : int
        Threads of a step.
    """

    rows: RowBlocks
    kernels: KMeansKernels
    metric: str
    columns: ColumnRange
    largest_weight: float
    weights: NDArray[np.float64] | None
    factors: NDArray[np.float64] | None
    masses: NDArray[np.float64] | None
    n_threads: int

    def grid(self) -> FixedPoint:
        """Return the grid of the cluster sums."""
        # Unit rows have no coordinate beyond one.
        largest = self.columns.largest if self.metric != "cosine" else np.ones(self.n_features)
        return FixedPoint.for_rows(self.columns.n_rows, largest, self.largest_weight)

    @property
    def n_features(self) -> int:
        """Return the number of features."""
        return len(self.columns.largest)

    @classmethod
    def over(
        cls,
        rows: RowBlocks,
        kernels: KMeansKernels,
        metric: str,
        weights: NDArray[np.float64] | None,
        *,
        n_threads: int,
        columns: ColumnRange | None = None,
        largest_weight: float | None = None,
    ) -> Problem:
        """Return the problem that is these rows, and no others if the last two are left out.

        Parameters
        ----------
        rows : RowBlocks
            All rows.
        kernels : KMeansKernels
            Where dense steps run.
        metric : {"sqeuclidean", "cosine"}
            What is minimised.
        weights : ndarray of float64 or None
            Weight of every row.
        n_threads : int
            Threads of a step.
        columns : ColumnRange, optional
            Of all partitions together.
        largest_weight : float, optional
            Likewise.
        """
        if columns is None:
            columns = measure(rows, kernels, n_threads)
        factors = masses = weights
        if metric == "cosine":
            factors = np.empty(len(rows))
            for part, chunk in rows:
                norms = kernels.row_norms(chunk, n_threads=n_threads)
                with np.errstate(divide="ignore"):
                    factors[part] = np.where(norms > 0.0, 1.0 / norms, 0.0)
            if (factors == 0.0).any():
                masses = np.where(factors > 0.0, 1.0 if weights is None else weights, 0.0)
            if weights is not None:
                factors *= weights
        if largest_weight is None:
            largest_weight = 1.0 if weights is None else float(weights.max())
        return cls(
            rows, kernels, metric, columns, largest_weight, weights, factors, masses, n_threads
        )

    def on(self, X: Matrix, weights: NDArray[np.float64] | None) -> Problem:
        """Return the same problem for other rows."""
        return Problem.over(
            RowBlocks(X), self.kernels, self.metric, weights, n_threads=self.n_threads
        )

    def part_of(self, values: NDArray[Any] | None, part: slice) -> NDArray[Any] | None:
        """Return the part of per-row values that belongs to a chunk."""
        return None if values is None else values[part]


@dataclass
class ClusterSums:
    """What a partition knows of every cluster, in integers.

    Attributes
    ----------
    sums : ndarray of int64, shape (2, n_clusters, n_features)
        High and low parts of the weighted sums.
    mass : ndarray of int64, shape (2, n_clusters)
        Of the weights.
    """

    sums: NDArray[np.int64]
    mass: NDArray[np.int64]

    @classmethod
    def zeros(cls, n_clusters: int, n_features: int) -> ClusterSums:
        """Return the sums of no rows."""
        return cls(
            np.zeros((2, n_clusters, n_features), np.int64), np.zeros((2, n_clusters), np.int64)
        )

    def merge(self, other: ClusterSums) -> ClusterSums:
        """Return the sums of both partitions."""
        return ClusterSums(self.sums + other.sums, self.mass + other.mass)


class Assigner(Protocol):
    """Finds the nearest center of every row; all of them return the same labels."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    def begin(self, centers: Matrix) -> None:
        """Take new centers."""
        ...

    def forget(self) -> None:
        """Start anew, with centers that have nothing to do with the last ones."""
        ...

    def assign(
        self, part: slice, chunk: Matrix, previous: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """Return the labels of a chunk; `previous` are those of the iteration before."""
        ...


class ExhaustiveAssigner:
    """Compares every row with every center."""

    name = "lloyd"

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def begin(self, centers: Matrix) -> None:
        """Take new centers."""
        self._centers = centers

    def forget(self) -> None:
        """Nothing is remembered."""

    def assign(
        self, part: slice, chunk: Matrix, previous: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """Return the labels of a chunk."""
        p = self._problem
        return p.kernels.nearest_center(chunk, self._centers, p.metric, n_threads=p.n_threads)


def partial_step(
    problem: Problem,
    centers: Matrix,
    assigner: Assigner,
    grid: FixedPoint,
    labels: NDArray[np.int32],
    previous: NDArray[np.int32] | None,
    totals: ClusterSums,
    watch: Watch | None = None,
) -> int:
    """Assign the rows of one partition and bring its sums up to date.

    Only rows that changed their cluster are added and taken off: integers make that exact.

    Parameters
    ----------
    problem : Problem
        The partition.
    centers : ndarray of shape (n_clusters, n_features)
        Centers.
    assigner : Assigner
        How to find the nearest.
    grid : FixedPoint
        Grid of the sums.
    labels : ndarray of int32, shape (n_samples,)
        Written.
    previous : ndarray of int32, shape (n_samples,), or None
        Labels that `totals` belongs to; None if it is still zero.
    totals : ClusterSums
        Updated in place.
    watch : callable, optional
        Told every chunk and its labels, while the rows are at hand.

    Returns
    -------
    int
        How many rows changed their cluster.
    """
    moved = 0
    assigner.begin(centers)
    for part, chunk in problem.rows:
        before = None if previous is None else previous[part]
        labels[part] = assigner.assign(part, chunk, before)
        moved += move_rows(problem, grid, part, chunk, labels, previous, totals)
        if watch is not None:
            watch(part, chunk, labels[part])
    return moved


def move_rows(
    problem: Problem,
    grid: FixedPoint,
    part: slice,
    chunk: Matrix,
    labels: NDArray[np.int32],
    previous: NDArray[np.int32] | None,
    totals: ClusterSums,
) -> int:
    """Bring `totals` from the labels before to those now, for a chunk; return how many moved."""
    return problem.kernels.accumulate(
        chunk,
        labels[part],
        None if previous is None else previous[part],
        problem.part_of(problem.factors, part),
        problem.part_of(problem.masses, part),
        grid.scales,
        grid.mass_scale,
        grid.low_scale,
        totals.sums,
        totals.mass,
        n_threads=problem.n_threads,
    )


def next_centers(totals: ClusterSums, grid: FixedPoint, centers: Matrix, metric: str) -> Matrix:
    """Return the mean of every cluster, of its unit rows scaled to one for the cosine metric.

    A cluster without weight keeps its center.
    """
    result = centers.copy()
    for part in _blocks_of(centers):  # float64 of all of them would double what a fit holds
        sums = grid.decode(totals.sums[:, part])
        mass = totals.mass[:, part]
        if metric == "cosine":
            # Far from one, the squares could leave float64.
            largest = np.abs(sums).max(axis=1)
            known = largest > 0.0
            sums[known] /= largest[known, None]
            lengths = np.sqrt(squared_norms(sums))
        else:
            lengths = grid.decode_mass(mass)
            known = (mass != 0).any(axis=0)
        result[part][known] = (sums[known] / lengths[known, None]).astype(centers.dtype)
    return result


def shift_of(centers: Matrix, moved: Matrix) -> float:
    """Return the sum over clusters of the squared way their center went."""
    squares: list[float] = []
    for part in _blocks_of(centers):
        difference = moved[part].astype(np.float64) - centers[part].astype(np.float64)
        squares += squared_norms(difference).tolist()
    return math.fsum(squares)


def _blocks_of(centers: Matrix) -> Iterator[slice]:
    """Yield parts of the clusters whose float64 values take some megabytes."""
    step = max(1, _BLOCK_VALUES // centers.shape[1])
    for start in range(0, len(centers), step):
        yield slice(start, start + step)


def largest_magnitude(values: Matrix) -> float:
    """Return the largest absolute value, without a copy of them all."""
    return max(float(values.max()), -float(values.min()))


class InertiaSum:
    """The sum of weighted distances (squared, for Euclidean) of one partition to its centers.

    A distance counts as the float64 of its definition; their sum is exact, so that it does not
    depend on chunks, and sums of partitions may be added.

    Parameters
    ----------
    problem : Problem
        The partition.
    centers : ndarray of shape (n_clusters, n_features)
        What its labels belong to.
    """

    def __init__(self, problem: Problem, centers: Matrix) -> None:
        if problem.metric == "cosine":
            largest = 2.0
        else:
            reach = max(float(problem.columns.largest.max()), largest_magnitude(centers))
            largest = 4.0 * centers.shape[1] * reach * reach
        self._problem, self._centers = problem, centers
        self._bits = grid_bits(problem.columns.n_rows)
        self._scale = float(power_of_two_below(largest * problem.largest_weight, self._bits))
        self._high, self._low = 0, 0

    def add(self, part: slice, chunk: Matrix, labels: NDArray[np.int32]) -> None:
        """Add a chunk of rows."""
        p = self._problem
        distances = p.kernels.own_distances(
            chunk, self._centers, labels, p.metric, n_threads=p.n_threads
        )
        if p.weights is not None:
            distances *= p.weights[part]
        distances *= self._scale
        whole = np.rint(distances)
        distances -= whole
        distances *= 2.0**self._bits
        self._high += int(whole.astype(np.int64).sum())
        self._low += int(np.rint(distances).astype(np.int64).sum())

    def value(self) -> Fraction:
        """Return the sum of the chunks so far."""
        return exact(self._high, self._low, self._scale, 2.0**self._bits)


def inertia_of(problem: Problem, centers: Matrix, labels: NDArray[np.int32]) -> Fraction:
    """Return the exact inertia of one partition, in one pass over its rows."""
    total = InertiaSum(problem, centers)
    for part, chunk in problem.rows:
        total.add(part, chunk, labels[part])
    return total.value()
