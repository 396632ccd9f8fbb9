"""How good a clustering is: to compare numbers of clusters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import ArrayLike

from fastface.backends.registry import get_backend
from fastface.kmeans.base import BaseKMeans
from fastface.kmeans.estimator import KMeans
from fastface.kmeans.judge import ClusteringQuality, Judge
from fastface.kmeans.lloyd import InertiaSum
from fastface.kmeans.owner import assign_all

__all__ = ["clustering_quality", "inertia_curve"]


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
    judge = Judge(problem, get_backend(model.device), len(centers))
    inertia = InertiaSum(problem, centers)
    assign_all(problem, centers, judge, None, inertia.add)
    return judge.quality(float(inertia.value()))


def inertia_curve(
    X: ArrayLike,
    n_clusters: Iterable[int],
    *,
    sample_weight: ArrayLike | None = None,
    **parameters: Any,
) -> list[ClusteringQuality]:
    """Fit a `KMeans` for each number of clusters, and judge it in the last pass over the rows.

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
        model = KMeans(count, **{**parameters, "compute_quality": True})
        curve.append(model.fit(X, sample_weight=sample_weight).quality_)
    return curve
