"""What k-means‖ keeps of the rows: the nearest candidate of each, and how far it is."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.kmeans.fixed_point import grid_bits, power_of_two_below
from fastface.kmeans.lloyd import Matrix, Problem
from fastface.kmeans.randomness import Draws, Purpose

__all__ = ["CandidatePool", "Candidates", "mass_scale"]


def mass_scale(largest_weight: float, n_rows: int) -> float:
    """Return what weights are multiplied with before they are rounded to integers."""
    return float(power_of_two_below(largest_weight, grid_bits(n_rows)))


class CandidatePool(Protocol):
    """Rows, and the candidates so far; over partitions, numbers add up and rows are joined."""

    def add(self, centers: Matrix) -> None:
        """Bring nearest distances up to date with more candidates, in one pass over the rows."""
        ...

    def largest(self) -> float:
        """Return the largest weighted distance to the nearest candidate."""
        ...

    def potential(self, scale: float) -> int:
        """Return the sum of the weighted distances, each rounded to a multiple of 1 / `scale`."""
        ...

    def draw(self, draws: Draws, round_: int, scale: float, rate: float) -> Matrix:
        """Return rows, each drawn with the probability `rate` times its part of the potential."""
        ...

    def masses(self) -> NDArray[np.float64]:
        """Return the weight of the rows nearest to each candidate, exact up to one rounding."""
        ...


class Candidates:
    """The candidate pool of one partition.

    Parameters
    ----------
    problem : Problem
        The rows.
    first : ndarray of shape (1, n_features)
        First candidate.
    """

    def __init__(self, problem: Problem, first: Matrix) -> None:
        self._problem = problem
        n = len(problem.rows)
        self._nearest = np.full(n, np.inf)
        self._owner = np.zeros(n, np.int32)
        self._n_candidates = 0
        self.add(first)

    def add(self, centers: Matrix) -> None:
        """Bring nearest distances up to date with more candidates, in one pass over the rows."""
        p = self._problem
        for part, chunk in p.rows:
            labels = p.kernels.nearest_center(chunk, centers, p.metric, n_threads=p.n_threads)
            distances = p.kernels.own_distances(
                chunk, centers, labels, p.metric, n_threads=p.n_threads
            )
            nearer = distances < self._nearest[part]
            self._nearest[part][nearer] = distances[nearer]
            self._owner[part][nearer] = labels[nearer] + self._n_candidates
        self._n_candidates += len(centers)

    def largest(self) -> float:
        """Return the largest weighted distance to the nearest candidate."""
        return float(self._weighted().max())

    def potential(self, scale: float) -> int:
        """Return the sum of the weighted distances, each rounded to a multiple of 1 / `scale`."""
        return int(self._shares(scale).sum())

    def draw(self, draws: Draws, round_: int, scale: float, rate: float) -> Matrix:
        """Return rows, each drawn with the probability `rate` times its part of the potential."""
        rows = self._problem.rows
        numbers = draws.uniform(Purpose.OVERSAMPLING, round_, rows.first_row, len(rows))
        return rows.take(np.flatnonzero(numbers < self._shares(scale) * rate))

    def mass_sums(self) -> NDArray[np.int64]:
        """Return the masses as integers, which add up over partitions: see `mass_scale`."""
        weights = self._problem.weights
        if weights is None:
            return np.bincount(self._owner, minlength=self._n_candidates).astype(np.int64)
        sums = np.zeros(self._n_candidates, np.int64)
        np.add.at(sums, self._owner, np.rint(weights * self._mass_scale()).astype(np.int64))
        return sums

    def masses(self) -> NDArray[np.float64]:
        """Return the weight of the rows nearest to each candidate, exact up to one rounding."""
        result: NDArray[np.float64] = self.mass_sums() / self._mass_scale()
        return result

    def _mass_scale(self) -> float:
        p = self._problem
        return 1.0 if p.weights is None else mass_scale(p.largest_weight, p.columns.n_rows)

    def _weighted(self) -> NDArray[Any]:
        weights = self._problem.weights
        return self._nearest if weights is None else self._nearest * weights

    def _shares(self, scale: float) -> NDArray[np.int64]:
        return np.rint(self._weighted() * scale).astype(np.int64)
