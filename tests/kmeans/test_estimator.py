"""`KMeans` behaves as scikit-learn's does.

The cases follow what scikit-learn's own tests of its k-means say about public behaviour.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances, v_measure_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastface import KMeans, MiniBatchKMeans
from fastface.errors import InvalidInputError

CENTERS = np.array(
    [[0.0, 5.0, 0.0, 0.0, 0.0], [1.0, 1.0, 4.0, 0.0, 0.0], [1.0, 0.0, 0.0, 5.0, 1.0]]
)
X, TRUE_LABELS = make_blobs(n_samples=100, centers=CENTERS, cluster_std=1.0, random_state=42)
BOTH = pytest.mark.parametrize("Estimator", [KMeans, MiniBatchKMeans])

KNOWN = {
    "check_sample_weight_equivalence_on_dense_data": "the start is random, as in scikit-learn,"
    " where this check is known to fail too"
}


@parametrize_with_checks(
    [KMeans(), MiniBatchKMeans()], expected_failed_checks=lambda estimator: KNOWN
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_estimator(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ["auto", "lloyd", "pruned", "elkan"])
def test_results(dtype: type, algorithm: str) -> None:
    x = np.array([[0, 0], [0.5, 0], [0.5, 1], [1, 1]], dtype=dtype)
    weights = [3, 1, 1, 3]
    init = np.array([[0, 0], [1, 1]], dtype=dtype)
    model = KMeans(2, n_init=1, init=init, algorithm=algorithm).fit(x, sample_weight=weights)
    np.testing.assert_array_equal(model.labels_, [0, 0, 1, 1])
    np.testing.assert_allclose(model.inertia_, 0.375)
    expected = np.array([[0.125, 0], [0.875, 1]], dtype=dtype)
    np.testing.assert_array_equal(model.cluster_centers_, expected)
    assert model.cluster_centers_.dtype == dtype
    assert model.n_iter_ == 2


@pytest.mark.parametrize("tol", [1e-2, 1e-8, 0])
@pytest.mark.parametrize("weighted", [False, True])
def test_same_path_as_scikit_learn(tol: float, weighted: bool) -> None:
    """From the same start: labels, centers, inertia and number of iterations."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(700, 8))
        weights = rng.uniform(0.1, 3, len(x)) if weighted else None
        arguments: dict[str, Any] = {"n_clusters": 12, "init": x[:12], "n_init": 1, "tol": tol}
        ours = KMeans(**arguments).fit(x, sample_weight=weights)
        theirs = sklearn.cluster.KMeans(**arguments).fit(x, sample_weight=weights)
        np.testing.assert_array_equal(ours.labels_, theirs.labels_)
        np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-9)
        np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-11)
        assert ours.n_iter_ == theirs.n_iter_


def test_empty_clusters_take_the_farthest_rows() -> None:
    x = np.array([[0, 0], [0.5, 0], [0.5, 1], [1, 1]], dtype=np.float64)
    init = np.array([[0.5, 0.5], [3, 3]])
    ours = KMeans(2, n_init=1, init=init).fit(x)
    theirs = sklearn.cluster.KMeans(2, n_init=1, init=init).fit(x)
    assert ours.inertia_ == pytest.approx(theirs.inertia_)
    assert len(set(ours.labels_)) == 2
    far = np.vstack([X[:1], np.full((3, 5), 1e3), np.full((2, 5), -1e3)])
    model = KMeans(6, n_init=1, init=far).fit(X)
    assert sorted(set(model.labels_)) == list(range(6))
    theirs = sklearn.cluster.KMeans(6, n_init=1, init=far).fit(X)
    assert model.inertia_ < 1.2 * theirs.inertia_


def test_rows_without_weight_seat_nobody() -> None:
    x = np.array([[0.0], [1.0], [2.0], [50.0]])
    model = KMeans(2, n_init=1, init=[[1.0], [99.0]], max_iter=1)
    model.fit(x, sample_weight=[1, 1, 1, 0])
    assert 50.0 not in model.cluster_centers_


@pytest.mark.parametrize("init", ["random", "k-means++", "k-means||", "hierarchical", CENTERS])
@BOTH
def test_every_init_finds_the_blobs(Estimator: Any, init: Any) -> None:
    model = Estimator(3, init=init, random_state=42, n_init=1 if init is CENTERS else 10).fit(X)
    assert model.cluster_centers_.shape == (3, 5)
    assert v_measure_score(TRUE_LABELS, model.labels_) == 1.0
    assert model.inertia_ > 0.0


@BOTH
def test_callable_init(Estimator: Any) -> None:
    seen = []

    def choose(x: np.ndarray, k: int, random_state: Any) -> np.ndarray:
        seen.append(random_state.randint(10**6))
        return x[random_state.permutation(len(x))[:k]]

    first = Estimator(3, init=choose, random_state=0, n_init=4).fit(X)
    again = Estimator(3, init=choose, random_state=0, n_init=4).fit(X)
    assert seen[:4] == seen[4:]
    assert len(set(seen)) == 4
    assert first.inertia_ == again.inertia_
    with pytest.raises(InvalidInputError, match="does not match the number of clusters"):
        Estimator(3, init=lambda x, k, random_state: x[:2]).fit(X)


@BOTH
def test_given_centers_are_taken_once(Estimator: Any) -> None:
    init = CENTERS.copy()
    with pytest.warns(RuntimeWarning, match="Explicit initial center position passed"):
        Estimator(3, init=init, n_init=10).fit(X)
    model = Estimator(3, init=init.tolist(), n_init=1).fit(X)
    np.testing.assert_array_equal(init, CENTERS)
    assert not np.shares_memory(model.cluster_centers_, init)
    again = Estimator(3, init=model.cluster_centers_, n_init=1).fit(X)
    if Estimator is KMeans:
        assert again.n_iter_ == 1


@BOTH
@pytest.mark.parametrize("max_iter", [2, 100])
def test_predict_agrees_with_labels(Estimator: Any, max_iter: int) -> None:
    x, _ = make_blobs(n_samples=400, n_features=10, centers=10, random_state=1)
    for dtype in (np.float16, np.float32, np.float64):
        model = Estimator(10, init="random", n_init=1, max_iter=max_iter, random_state=0)
        model.fit(x.astype(dtype))
        np.testing.assert_array_equal(model.predict(x.astype(dtype)), model.labels_)
        assert model.labels_.dtype == np.int32
        np.testing.assert_array_equal(
            model.fit_predict(x.astype(dtype)), model.predict(x.astype(dtype))
        )


@BOTH
def test_transform(Estimator: Any) -> None:
    model = Estimator(3, random_state=0).fit(X)
    distances = model.transform(X)
    np.testing.assert_allclose(distances, pairwise_distances(X, model.cluster_centers_))
    np.testing.assert_array_equal(distances.argmin(axis=1), model.labels_)
    np.testing.assert_array_equal(Estimator(3, random_state=0).fit_transform(X), distances)
    for dtype in (np.float32, np.float64):
        assert model.fit(X.astype(dtype)).transform(X.astype(dtype)).dtype == dtype
    cosine = Estimator(3, metric="cosine", random_state=0).fit(X)
    np.testing.assert_allclose(
        cosine.transform(X), pairwise_distances(X, cosine.cluster_centers_, "cosine"), atol=1e-12
    )


def test_score_grows_with_iterations() -> None:
    scores = [
        KMeans(4, init="random", n_init=1, max_iter=m, random_state=3).fit(X).score(X)
        for m in (1, 2, 20)
    ]
    assert scores == sorted(scores)
    model = KMeans(4, random_state=0).fit(X)
    assert model.score(X) == -model.inertia_
    weights = np.arange(len(X)) + 1.0
    weighted = KMeans(4, random_state=0).fit(X, sample_weight=weights)
    assert weighted.score(X, sample_weight=weights) == -weighted.inertia_


def test_more_starts_are_no_worse() -> None:
    inertia = [
        KMeans(8, init="random", n_init=n, max_iter=2, random_state=1).fit(X).inertia_
        for n in (1, 5, 20)
    ]
    assert inertia == sorted(inertia, reverse=True)


def test_weights_are_repetitions() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 5, len(X))
    repeated = np.repeat(X, weights, axis=0)
    for metric in ("sqeuclidean", "cosine"):
        arguments: dict[str, Any] = {"init": CENTERS, "n_init": 1, "metric": metric}
        weighted = KMeans(3, **arguments).fit(X, sample_weight=weights)
        plain = KMeans(3, **arguments).fit(repeated)
        np.testing.assert_array_equal(np.repeat(weighted.labels_, weights), plain.labels_)
        np.testing.assert_allclose(weighted.inertia_, plain.inertia_, rtol=1e-12)
        np.testing.assert_allclose(weighted.cluster_centers_, plain.cluster_centers_, rtol=1e-12)


@BOTH
def test_scaled_weights_and_unit_weights(Estimator: Any) -> None:
    plain = Estimator(3, random_state=7).fit(X)
    ones = Estimator(3, random_state=7).fit(X, sample_weight=np.ones(len(X)))
    assert plain.cluster_centers_.tobytes() == ones.cluster_centers_.tobytes()
    weights = np.random.default_rng(0).uniform(size=len(X))
    one, half = (Estimator(3, random_state=7).fit(X, sample_weight=weights * f) for f in (1.0, 0.5))
    np.testing.assert_array_equal(one.labels_, half.labels_)
    np.testing.assert_allclose(one.cluster_centers_, half.cluster_centers_)
    before = weights.copy()
    Estimator(3).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(weights, before)


@pytest.mark.parametrize("tol", [1e-2, 0])
def test_verbose(capsys: pytest.CaptureFixture[str], tol: float) -> None:
    x = np.random.default_rng(0).normal(size=(5000, 10))
    KMeans(8, init="random", n_init=1, tol=tol, random_state=1, verbose=1).fit(x)
    printed = capsys.readouterr().out
    assert re.search(r"Initialization complete", printed)
    assert re.search(r"Iteration [0-9]+, inertia", printed)
    if tol == 0:
        assert re.search(r"strict convergence", printed)
    else:
        assert re.search(r"center shift .* within tolerance", printed)


def test_fewer_points_than_clusters_is_warned_about() -> None:
    x = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    init = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1.0]])
    x = np.vstack([x, x])
    with pytest.warns(ConvergenceWarning, match=r"Number of distinct clusters \(4\)"):
        model = KMeans(5, init=init, n_init=1).fit(x)
    assert set(model.labels_) == {0, 1, 2, 3}


def test_feature_names_output_and_pickle(tmp_path: Any) -> None:
    model = KMeans(3, random_state=0).fit(X)
    assert list(model.get_feature_names_out()) == ["kmeans0", "kmeans1", "kmeans2"]
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.labels_)
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    assert not hasattr(fresh, "cluster_centers_")
    pipeline = make_pipeline(StandardScaler(), KMeans(3, random_state=0))
    assert pipeline.fit_predict(X).shape == (100,)
    assert hasattr(KMeans(3).set_output(transform="default"), "fit")


@BOTH
def test_integers_and_lists(Estimator: Any) -> None:
    x = (X * 10).astype(np.int64)
    for rows in (x, x.tolist(), x.astype(np.int8)):
        model = Estimator(3, random_state=0).fit(rows)
        assert model.cluster_centers_.dtype == np.float64
        assert v_measure_score(TRUE_LABELS, model.labels_) == 1.0


def test_callback(faces: Callable) -> None:
    reports: list[Any] = []
    model = KMeans(20, random_state=0, tol=0, callback=reports.append).fit(faces(2000, 16, 30))
    assert [r.iteration for r in reports] == list(range(1, model.n_iter_ + 1))
    inertia = [r.inertia for r in reports]
    assert inertia == sorted(inertia, reverse=True)
    assert inertia[-1] == model.inertia_
    assert reports[0].moved == 2000
    assert reports[-1].moved == 0
    assert reports[-1].shift == 0.0
    assert all(r.seconds > 0 for r in reports)


def test_quality_of_full_fits(faces: Callable) -> None:
    """Mean inertia over seeds as good as scikit-learn's with default parameters."""
    x = faces(3000, 16, 60)
    ours = [KMeans(50, random_state=s).fit(x).inertia_ for s in range(10)]
    theirs = [sklearn.cluster.KMeans(50, random_state=s).fit(x).inertia_ for s in range(10)]
    assert np.mean(ours) < 1.01 * np.mean(theirs)
