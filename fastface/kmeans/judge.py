"""Judging a clustering while its labels are found.

All sums are integers (`fastface.kmeans.fixed_point`), so that these figures have the same bits for
any number of threads and any chunks too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastface.backends.protocol import Backend
from fastface.errors import InvalidInputError
from fastface.kmeans.fixed_point import exact, grid_bits, power_of_two_below, to_integers
from fastface.kmeans.lloyd import Matrix, Problem, largest_magnitude

__all__ = ["ClusteringQuality", "Judge"]

_BLOCK_VALUES = 1 << 22  # distances between centers held at a time


@dataclass(frozen=True)
class ClusteringQuality:
    """Figures of one clustering.

    Attributes
    ----------
    n_clusters : int
        Number of clusters.
    inertia : float
        Weighted sum of squared (or cosine) distances to the own center.  Falls with every cluster
        added: look for the bend.
    simplified_silhouette : float
        Weighted mean of (b - a) / max(a, b), where a and b are a row's distances to its own and to
        the next center (Hruschka, de Castro and Campello, 2004).  In [0, 1], higher is better.
        The silhouette of all pairs of rows is quadratic; this one is not.
    davies_bouldin : float
        Mean over clusters of the worst ratio of within-cluster spread to distance between centers
        (Davies and Bouldin, 1979).  Lower is better.
    """

    n_clusters: int
    inertia: float
    simplified_silhouette: float
    davies_bouldin: float


class Judge:
    """An assigner that compares every row with every center, and judges what comes out.

    Parameters
    ----------
    problem : Problem
        The rows.
    backend : Backend
        Where the two nearest centers are found.
    n_clusters : int
        How many centers there will be.

    Raises
    ------
    InvalidInputError
        If there is a single one.
    """

    name = "lloyd"

    def __init__(self, problem: Problem, backend: Backend, n_clusters: int) -> None:
        if n_clusters < 2:
            raise InvalidInputError("a single cluster cannot be judged: there is no next center")
        self._problem, self._backend = problem, backend
        self._metric = "cosine" if problem.metric == "cosine" else "euclidean"
        self._centers: Matrix = np.empty((0, problem.n_features))

    def forget(self) -> None:
        """Nothing is remembered from one set of centers to the next."""

    def has_seen(self, centers: Matrix) -> bool:
        """Return whether these are the centers it was given last."""
        return np.array_equal(self._centers, centers)

    def begin(self, centers: Matrix) -> None:
        """Take new centers, and start to count."""
        self._centers, p = centers, self._problem
        n, n_clusters, weight = len(p.rows), len(centers), p.largest_weight
        largest = 2.0
        if self._metric != "cosine":
            reach = max(float(p.columns.largest.max()), largest_magnitude(centers))
            largest = 2.0 * reach * float(np.sqrt(centers.shape[1]))
        self._silhouette, self._total = _Sum(n, weight), _Sum(n, weight)
        self._spread = _Sum(n, weight * largest, n_clusters)
        self._mass = _Sum(n, weight, n_clusters)

    def assign(
        self, part: slice, chunk: Matrix, previous: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """Return the labels of a chunk."""
        p = self._problem
        found = self._backend.topk(chunk, self._centers, 2, self._metric, n_threads=p.n_threads)
        indices, distances = map(self._backend.to_host, (found.indices, found.distances))
        labels = np.ascontiguousarray(indices[:, 0])
        own, other = distances.astype(np.float64).T
        weights = np.ones(len(chunk)) if p.weights is None else p.weights[part]
        score = np.divide(other - own, other, out=np.zeros(len(own)), where=other > 0.0)
        self._silhouette.add(weights * score)
        self._total.add(weights)
        self._spread.add(weights * own, labels)
        self._mass.add(weights, labels)
        return labels

    def quality(self, inertia: float) -> ClusteringQuality:
        """Return the figures of the rows seen since `begin`, whose inertia the caller knows."""
        masses, spreads = self._mass.values(), self._spread.values()
        spreads = np.divide(spreads, masses, out=np.zeros(len(masses)), where=masses > 0.0)
        silhouette = float(self._silhouette.values()[0] / self._total.values()[0])
        return ClusteringQuality(
            len(masses), inertia, silhouette, self._davies_bouldin(spreads, masses > 0.0)
        )

    def _davies_bouldin(self, spreads: NDArray[np.float64], known: NDArray[np.bool_]) -> float:
        centers = np.ascontiguousarray(self._centers[known], dtype=np.float32)
        spreads = spreads[known]
        worst = np.zeros(len(centers))
        step = max(1, _BLOCK_VALUES // len(centers))
        for start in range(0, len(centers), step):
            block = slice(start, start + step)
            apart = np.empty((len(centers[block]), len(centers)), np.float32)
            self._backend.pairwise(
                centers[block],
                centers,
                self._metric,
                out=apart,
                n_threads=self._problem.n_threads,
            )
            sums = spreads[block, None] + spreads[None, :]
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = np.where(sums > 0.0, sums / apart, 0.0)
            own = np.arange(len(apart))
            ratios[own, own + start] = 0.0
            worst[block] = ratios.max(axis=1)
        return float(np.sum(worst) / max(len(worst), 1))


class _Sum:
    """A sum of bounded values, or one a cluster, in integers."""

    def __init__(self, n_rows: int, largest: float, size: int = 1) -> None:
        bits = grid_bits(n_rows)
        self._scale = float(power_of_two_below(largest, bits))
        self._low_scale = 2.0**bits
        self._parts = np.zeros((2, size), np.int64)

    def add(self, values: NDArray[np.float64], index: NDArray[np.int32] | None = None) -> None:
        for part, integers in zip(
            self._parts, to_integers(values, self._scale, self._low_scale), strict=True
        ):
            if index is None:
                part[0] += integers.sum()
            else:
                np.add.at(part, index, integers)

    def values(self) -> NDArray[np.float64]:
        return np.array(
            [
                float(exact(int(high), int(low), self._scale, self._low_scale))
                for high, low in self._parts.T
            ]
        )
