"""Where k-means starts: greedy k-means++ and random rows.

Choices are made by integers: potentials are sums of rounded distances, and a random integer below
the potential falls on one row.  Like everything else here they do not depend on threads, blocks or
partitions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.backends.kmeans_protocol import KMeansKernels, Seeder
from fastface.errors import InvalidInputError
from fastface.kmeans.fixed_point import grid_bits, power_of_two_below
from fastface.kmeans.randomness import Draws, Purpose

__all__ = ["SeedingPool", "SeedingRows", "default_trials", "greedy_plus_plus", "random_rows"]

Matrix = NDArray[Any]


class SeedingPool(Protocol):
    """Rows to choose centers from."""

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """Return the weight of every row; None is one each."""
        ...

    def __len__(self) -> int: ...

    def take(self, rows: NDArray[np.int64]) -> Matrix:
        """Return some rows, in that order."""
        ...

    def seeder(self) -> Seeder:
        """Return what k-means++ asks about the rows."""
        ...

    def locate(self, seeder: Seeder, targets: list[int]) -> NDArray[np.int64]:
        """Return `Seeder.locate` of every target, in one go."""
        ...


@dataclass(frozen=True)
class SeedingRows:
    """Rows of this process, in memory.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    weights : ndarray of float64, shape (n_samples,), or None
        Their weights.
    metric : {"sqeuclidean", "cosine"}
        Distance.
    kernels : KMeansKernels
        Where dense steps run.
    n_threads : int
        Threads of a step.
    """

    X: Matrix
    weights: NDArray[np.float64] | None
    metric: str
    kernels: KMeansKernels
    n_threads: int

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: NDArray[np.int64]) -> Matrix:
        """Return some rows, in that order."""
        return self.X[rows]

    def seeder(self) -> Seeder:
        """Return what k-means++ asks about the rows."""
        return self.kernels.seeder(self.X, self.weights, self.metric, n_threads=self.n_threads)

    def locate(self, seeder: Seeder, targets: list[int]) -> NDArray[np.int64]:
        """Return `Seeder.locate` of every target, in one go."""
        return np.array([seeder.locate(target) for target in targets], np.int64)


def default_trials(n_clusters: int) -> int:
    """Return how many candidates greedy k-means++ compares in each step, as in scikit-learn."""
    return 2 + int(math.log(n_clusters))


def _integer_weights(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    scale = float(power_of_two_below(float(weights.max()), grid_bits(len(weights))))
    return np.rint(weights * scale).astype(np.int64)


def _pick_by_weight(
    weights: NDArray[np.float64] | None, n: int, draws: Draws, purpose: Purpose, count: int
) -> list[int]:
    if weights is None:
        return draws.below(n, purpose, 0, count)
    running = np.cumsum(_integer_weights(weights))
    targets = draws.below(int(running[-1]), purpose, 0, count)
    return [int(np.searchsorted(running, target, side="right")) for target in targets]


def greedy_plus_plus(
    rows: SeedingPool, n_clusters: int, draws: Draws, *, n_trials: int | None = None
) -> NDArray[np.int64]:
    """Choose rows far from each other.

    Every step draws `n_trials` rows with probability proportional to weight times distance to the
    nearest center so far, and keeps the one that lowers the potential most (Arthur and
    Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007, with the greedy step
    of its authors' implementation).

    Parameters
    ----------
    rows : SeedingPool
        Rows to choose from.
    n_clusters : int
        How many.
    draws : Draws
        Randomness.
    n_trials : int, optional
        Candidates a step; by default `default_trials`.

    Returns
    -------
    ndarray of int64, shape (n_clusters,)
        Rows, in the order in which they were chosen.
    """
    trials = default_trials(n_clusters) if n_trials is None else n_trials
    n = len(rows)
    chosen = np.empty(n_clusters, np.int64)
    chosen[0] = _pick_by_weight(rows.weights, n, draws, Purpose.FIRST_CENTER, 1)[0]
    if n_clusters == 1:
        return chosen
    seeder = rows.seeder()
    farthest = seeder.begin(rows.take(chosen[:1]))
    potential = seeder.set_scale(float(power_of_two_below(farthest, grid_bits(n))))
    for step in range(1, n_clusters):
        if potential == 0:  # every row lies on a center: the rest are copies
            chosen[step:] = _pick_by_weight(
                rows.weights, n, draws, Purpose.CANDIDATES, n_clusters - step
            )
            break
        targets = draws.below(potential, Purpose.CANDIDATES, step, trials)
        candidates = rows.locate(seeder, targets)
        potentials = seeder.evaluate(rows.take(candidates))
        best = min(range(trials), key=potentials.__getitem__)
        seeder.accept(best)
        chosen[step] = candidates[best]
        potential = potentials[best]
    return chosen


def random_rows(
    weights: NDArray[np.float64] | None, n: int, n_clusters: int, draws: Draws
) -> NDArray[np.int64]:
    """Choose different rows at random, with probability proportional to their weight.

    Raises
    ------
    InvalidInputError
        If fewer rows have a weight than there are clusters.
    """
    if weights is None:
        return draws.distinct(n, n_clusters, Purpose.RANDOM_ROWS)
    shares = _integer_weights(weights)
    if np.count_nonzero(shares) < n_clusters:
        raise InvalidInputError(
            f"init='random' needs at least n_clusters={n_clusters} rows with a positive weight,"
            f" got {np.count_nonzero(shares)}"
        )
    chosen: list[int] = []
    for round_ in range(n * 64):
        running = np.cumsum(shares)
        targets = draws.below(int(running[-1]), Purpose.RANDOM_ROWS, round_, n_clusters)
        for row in np.searchsorted(running, np.array(targets, np.int64), side="right"):
            if shares[row] and len(chosen) < n_clusters:
                chosen.append(int(row))
                shares[row] = 0
        if len(chosen) == n_clusters:
            break
    return np.array(chosen, np.int64)
