"""How good a clustering is, in one pass over the rows: to compare numbers of clusters.

All sums are integers (`fastface.kmeans.fixed_point`), so that these figures have the same bits for
any number of threads and any chunks too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.backends.protocol import Backend
from fastface.backends.registry import get_backend
from fastface.errors import InvalidInputError
from fastface.kmeans.base import BaseKMeans
from fastface.kmeans.estimator import KMeans
from fastface.kmeans.fixed_point import exact, grid_bits, power_of_two_below, to_integers

__all__ = ["ClusteringQuality", "clustering_quality", "inertia_curve"]

_BLOCK = 4096


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


def clustering_quality(
    model: BaseKMeans, X: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> ClusteringQuality:
    """Judge a fitted `KMeans` or `MiniBatchKMeans` on rows.

    Parameters
    ----------
    model : KMeans or MiniBatchKMeans
        Fitted.
    X : array-like of shape (n_samples, n_features)
        Rows; a memory-mapped array is read once, in order.
    sample_weight : array-like of shape (n_samples,), optional
        Weights.

    Returns
    -------
    ClusteringQuality
        The figures.

    Raises
    ------
    InvalidInputError
        If the model has a single cluster, or the rows cannot be used.
    """
    problem = model._problem(X, sample_weight)
    centers = model.cluster_centers_
    n_clusters, n = len(centers), len(problem.rows)
    if n_clusters < 2:
        raise InvalidInputError("a single cluster cannot be judged: there is no next center")
    backend = get_backend(model.device)
    metric = "cosine" if problem.metric == "cosine" else "euclidean"
    reach = max(float(problem.columns.largest.max()), float(np.abs(centers).max()))
    largest = 2.0 if metric == "cosine" else 2.0 * reach * float(np.sqrt(centers.shape[1]))
    weight = problem.largest_weight
    silhouette, total = _Sum(n, weight), _Sum(n, weight)
    inertia = _Sum(n, weight * (largest if metric == "cosine" else largest * largest))
    spread = _Sum(n, weight * largest, n_clusters)
    mass = _Sum(n, weight, n_clusters)
    for part, chunk in problem.rows:
        found = backend.topk(chunk, centers, 2, metric, n_threads=problem.n_threads)
        labels = np.ascontiguousarray(found.indices[:, 0])
        own, other = found.distances.astype(np.float64).T
        exactly = problem.kernels.own_distances(
            chunk, centers, labels, problem.metric, n_threads=problem.n_threads
        )
        weights = np.ones(len(chunk)) if problem.weights is None else problem.weights[part]
        score = np.divide(other - own, other, out=np.zeros(len(own)), where=other > 0.0)
        silhouette.add(weights * score)
        total.add(weights)
        inertia.add(weights * exactly)
        spread.add(weights * own, labels)
        mass.add(weights, labels)
    masses = mass.values()
    spreads = np.divide(spread.values(), masses, out=np.zeros(n_clusters), where=masses > 0.0)
    return ClusteringQuality(
        n_clusters,
        float(inertia.values()[0]),
        float(silhouette.values()[0] / total.values()[0]),
        _davies_bouldin(backend, centers, metric, spreads, masses > 0.0, problem.n_threads),
    )


def _davies_bouldin(
    backend: Backend,
    centers: NDArray[Any],
    metric: str,
    spreads: NDArray[np.float64],
    known: NDArray[np.bool_],
    n_threads: int,
) -> float:
    centers = np.ascontiguousarray(centers[known], dtype=np.float32)
    spreads = spreads[known]
    worst = np.zeros(len(centers))
    for start in range(0, len(centers), _BLOCK):
        block = slice(start, start + _BLOCK)
        apart = np.empty((len(centers[block]), len(centers)), np.float32)
        backend.pairwise(centers[block], centers, metric, out=apart, n_threads=n_threads)
        sums = spreads[block, None] + spreads[None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(sums > 0.0, sums / apart, 0.0)
        own = np.arange(len(apart))
        ratios[own, own + start] = 0.0
        worst[block] = ratios.max(axis=1)
    return float(np.sum(worst) / max(len(worst), 1))


def inertia_curve(
    X: ArrayLike,
    n_clusters: Iterable[int],
    *,
    sample_weight: ArrayLike | None = None,
    **parameters: Any,
) -> list[ClusteringQuality]:
    """Fit a `KMeans` for each number of clusters, and judge it.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows.
    n_clusters : iterable of int
        Numbers to try, at least 2 each.
    sample_weight : array-like of shape (n_samples,), optional
        Weights.
    **parameters
        Of `KMeans`.

    Returns
    -------
    list of ClusteringQuality
        In the order of `n_clusters`.
    """
    curve = []
    for count in n_clusters:
        model = KMeans(count, **parameters).fit(X, sample_weight=sample_weight)
        curve.append(clustering_quality(model, X, sample_weight=sample_weight))
    return curve
