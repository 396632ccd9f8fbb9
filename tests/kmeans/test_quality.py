"""Figures to choose the number of clusters by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import davies_bouldin_score, pairwise_distances

import fastface
from fastface import KMeans
from fastface.errors import InvalidInputError
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


@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
def test_a_fit_judges_itself(faces: Callable, tmp_path: Path, metric: str, n_init: int) -> None:
    x = faces(2000, 12, 25)
    arguments: dict[str, Any] = {"init": "random", "n_init": n_init, "random_state": 3}
    arguments |= {"metric": metric, "checkpoint": tmp_path / "fit.npz"}
    plain = KMeans(15, **arguments).fit(x)
    expected = clustering_quality(plain, x)
    assert not hasattr(plain, "quality_")
    from_file = KMeans(15, **arguments, compute_quality=True).fit(x)
    (tmp_path / "fit.npz").unlink()
    anew = KMeans(15, **arguments, compute_quality=True).fit(x)
    for model in (from_file, anew):
        assert model.quality_ == expected
        assert model.quality_.inertia == model.inertia_ == plain.inertia_
        np.testing.assert_array_equal(model.labels_, plain.labels_)
    assert not hasattr(anew.set_params(compute_quality=False).fit(x), "quality_")


def test_an_interrupted_fit_is_not_judged(faces: Callable) -> None:
    x = faces(500, 12, 25)

    def stop(report: Any) -> None:
        if report.init == 1 and report.iteration == 4:
            raise KeyboardInterrupt

    starts = [np.tile(x[:1], (15, 1)) + np.arange(15)[:, None], x[:15]] * 2
    parameters: dict[str, Any] = {"init": lambda *_, random_state: starts.pop(0), "n_init": 2}
    model = KMeans(15, **parameters, max_iter=5, compute_quality=True).fit(x)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callback=stop).fit(x)
    assert model.n_iter_ == 4  # the second start is the better one
    assert not hasattr(model, "quality_")
    with pytest.raises(InvalidInputError, match="a single cluster cannot be judged"):
        KMeans(1, compute_quality=True).fit(x)


def test_bits(faces: Callable) -> None:
    x = faces(3000, 16, 40)
    found = set()
    for isa in fastface.available_isas():
        fastface.set_isa(isa)
        for n_threads in (1, 3):
            model = KMeans(20, random_state=0, n_threads=n_threads, memory_limit="3MiB").fit(x)
            found.add(clustering_quality(model, x))
    assert len(found) == 1
