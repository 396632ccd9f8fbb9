"""Figures to choose the number of clusters by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import davies_bouldin_score, pairwise_distances

import fastface
from fastface import KMeans
from fastface.kmeans import clustering_quality, inertia_curve


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_definitions(metric: str, weighted: bool) -> None:
    x, _ = make_blobs(500, centers=6, n_features=4, random_state=0)
    weights = np.random.default_rng(0).integers(1, 4, 500) if weighted else None
    model = KMeans(6, metric=metric, random_state=0).fit(x, sample_weight=weights)
    found = clustering_quality(model, x, sample_weight=weights)
    name = "cosine" if metric == "cosine" else "euclidean"
    rows = x if weights is None else np.repeat(x, weights, axis=0)
    distances = np.sort(pairwise_distances(rows, model.cluster_centers_, name), axis=1)
    silhouette = np.mean(1.0 - distances[:, 0] / distances[:, 1])
    assert found.simplified_silhouette == pytest.approx(silhouette, rel=1e-5)
    assert found.inertia == pytest.approx(model.inertia_, rel=1e-14)
    assert found.n_clusters == 6
    if metric == "sqeuclidean":
        labels = model.predict(rows)
        assert found.davies_bouldin == pytest.approx(davies_bouldin_score(rows, labels), rel=1e-5)


def test_the_curve_bends_where_the_blobs_are() -> None:
    x, _ = make_blobs(2000, centers=7, n_features=8, random_state=3)
    curve = inertia_curve(x, [3, 5, 7, 9, 12], random_state=0, n_init=3)
    assert [q.n_clusters for q in curve] == [3, 5, 7, 9, 12]
    assert max(curve, key=lambda q: q.simplified_silhouette).n_clusters == 7
    assert min(curve, key=lambda q: q.davies_bouldin).n_clusters == 7
    inertia = [q.inertia for q in curve]
    assert inertia == sorted(inertia, reverse=True)


def test_bits(faces: Callable) -> None:
    x = faces(3000, 16, 40)
    found = set()
    for isa in fastface.available_isas():
        fastface.set_isa(isa)
        for n_threads in (1, 3):
            model = KMeans(20, random_state=0, n_threads=n_threads, memory_limit="3MiB").fit(x)
            found.add(clustering_quality(model, x))
    assert len(found) == 1
