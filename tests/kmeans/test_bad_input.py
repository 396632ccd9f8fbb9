"""What k-means refuses, and what it puts up with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import sklearn.cluster

import fastface
from fastface import KMeans, MiniBatchKMeans, kmeans_plusplus
from fastface.errors import (
    BackendUnavailableError,
    InvalidInputError,
    MissingDependencyError,
)
from fastface.kmeans import clustering_quality

X = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)


@pytest.mark.parametrize("Estimator", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_clusters": 0}, "n_clusters must be at least 1"),
        ({"n_clusters": 2.5}, "n_clusters must be an integer"),
        ({"n_clusters": 61}, r"n_samples=60 should be >= n_clusters=61"),
        ({"n_init": 0}, "n_init must be at least 1"),
        ({"n_init": "many"}, "n_init must be an integer"),
        ({"max_iter": 0}, "max_iter must be at least 1"),
        ({"tol": -1e-3}, "tol must be a number of at least 0"),
        ({"tol": np.nan}, "tol must be a number"),
        ({"init": "k-means"}, "unknown init 'k-means'; choose one of k-means"),
        ({"init": 3}, "unknown init 3"),
        ({"init": X[:7]}, r"initial centers \(7, 5\) does not match the number of clusters 8"),
        ({"init": X[:8, :2]}, r"\(8, 2\) does not match the number of features of the data 5"),
        ({"init": np.full((8, 5), np.nan)}, "NaN"),
        ({"metric": "manhattan"}, "unknown metric 'manhattan'"),
        ({"memory_limit": "lots"}, "memory_limit must be bytes"),
        ({"memory_limit": -5}, "memory_limit must be bytes"),
        ({"memory_limit": 100}, "needs at least"),
        ({"n_threads": 0}, "n_threads must be"),
        ({"device": "tpu"}, "unknown device"),
    ],
)
def test_parameters(Estimator: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError if "NaN" not in message else ValueError, match=message):
        Estimator(**{"n_init": 1, **parameters}).fit(X)


def test_parameters_of_one_estimator() -> None:
    with pytest.raises(InvalidInputError, match="unknown algorithm 'full'"):
        KMeans(3, algorithm="full").fit(X)
    for name, value in (
        ("batch_size", 0),
        ("max_no_improvement", -1),
        ("init_size", 0),
        ("reassignment_ratio", -1.0),
    ):
        with pytest.raises(InvalidInputError, match=f"{name} must be"):
            MiniBatchKMeans(3, **{name: value}).fit(X)
    with pytest.raises((BackendUnavailableError, MissingDependencyError)):
        KMeans(3, device="cuda:99").fit(X)


def test_plusplus_parameters() -> None:
    with pytest.raises(InvalidInputError, match="n_local_trials must be at least 1"):
        kmeans_plusplus(X, 3, n_local_trials=0)
    with pytest.raises(InvalidInputError, match="The length of x_squared_norms"):
        kmeans_plusplus(X, 3, x_squared_norms=np.ones(2))
    with pytest.raises(InvalidInputError, match="should be >= n_clusters"):
        kmeans_plusplus(X, 61)
    bad = X.copy()
    bad[4, 2] = np.nan
    with pytest.raises(InvalidInputError, match=r"X\[4, 2\] is nan"):
        kmeans_plusplus(bad, 3)


@pytest.mark.parametrize("Estimator", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values(Estimator: Any, dtype: type, bad: float) -> None:
    x = X.astype(dtype)
    x[41, 3] = bad
    with pytest.raises(InvalidInputError, match=r"X\[41, 3\] is -?(nan|inf)"):
        Estimator(3).fit(x)
    model = Estimator(3).fit(X.astype(dtype))
    with pytest.raises(InvalidInputError, match=r"X\[41, 3\]"):
        model.predict(x)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-np.ones(60), "negative"),
        (np.zeros(60), "zero"),
        (np.full(60, np.nan), "NaN"),
        (np.ones(59), "sample_weight.shape"),
        (np.full(60, 1e200), "at most 1e150"),
    ],
)
def test_weights(weights: np.ndarray, message: str) -> None:
    for call in (
        lambda: KMeans(3).fit(X, sample_weight=weights),
        lambda: MiniBatchKMeans(3).fit(X, sample_weight=weights),
        lambda: kmeans_plusplus(X, 3, sample_weight=weights),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_shapes() -> None:
    model = KMeans(3, random_state=0).fit(X)
    with pytest.raises(ValueError, match="4 features, but KMeans is expecting 5"):
        model.predict(X[:, :4])
    with pytest.raises(ValueError, match="Expected 2D array"):
        KMeans(3).fit(X[0])
    with pytest.raises(ValueError, match="0 sample"):
        KMeans(3).fit(X[:0])
    with pytest.raises(InvalidInputError, match="sparse data is not supported"):
        KMeans(3).fit(scipy.sparse.csr_matrix(X))
    with pytest.raises(InvalidInputError, match="a single cluster cannot be judged"):
        clustering_quality(KMeans(1).fit(X), X)


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")  # one feature, two directions
def test_what_is_put_up_with(metric: str) -> None:
    for x in (
        X[:, :1],
        X[:, ::-1],
        X[::2],
        np.asfortranarray(X),
        X.astype(np.float64) * 1e140,
        X.astype(np.float64) * 1e-140,
        np.ascontiguousarray(X.astype(">f4")),
        np.vstack([X, np.zeros((3, 5), np.float32)]),
    ):
        model = KMeans(3, metric=metric, random_state=0).fit(x)
        assert np.isfinite(model.inertia_)
        assert set(model.labels_) <= {0, 1, 2}
        np.testing.assert_array_equal(model.predict(x), model.labels_)
    one = KMeans(1, metric=metric).fit(X)
    assert (one.labels_ == 0).all()
    everybody = KMeans(len(X), random_state=0).fit(X)
    assert everybody.inertia_ == 0.0


SAME, BOTH_REFUSE, WE_REFUSE = "same", "both refuse", "only we refuse"
TIES = "same but for equals"
READ_ONLY = X.copy()
READ_ONLY.flags.writeable = False
WITH_NAN = np.where(np.arange(5) == 2, np.nan, X)
SOME_ZERO = np.arange(60) % 3 > 0


@pytest.mark.parametrize(
    ("rows", "n_clusters", "weights", "expected"),
    [
        (X, 61, None, BOTH_REFUSE),
        (X, 0, None, BOTH_REFUSE),
        (X, -1, None, BOTH_REFUSE),
        (WITH_NAN, 4, None, BOTH_REFUSE),
        (np.where(np.isnan(WITH_NAN), np.inf, X), 4, None, BOTH_REFUSE),
        (np.ones((20, 3)), 4, None, SAME),
        (np.tile(X[:3], (20, 1)), 4, None, TIES),
        (X, 4, np.zeros(60), WE_REFUSE),  # scikit-learn divides by their sum, and gives NaN
        (X, 4, SOME_ZERO.astype(float), SAME),
        (X, 4, np.where(SOME_ZERO, 1.0, -1.0), WE_REFUSE),  # there a cluster may weigh nothing
        (X, 4, np.ones(59), BOTH_REFUSE),
        (X, 4, np.full(60, np.inf), BOTH_REFUSE),
        (X[:, :1], 4, None, SAME),
        (X[::2], 4, None, SAME),
        (X[:, ::-1], 4, None, SAME),
        (np.asfortranarray(X), 4, None, SAME),
        (READ_ONLY, 4, None, SAME),
        (X.tolist(), 4, None, SAME),
        (X > 0, 4, None, TIES),
        ((X * 10).astype(np.int8), 4, None, SAME),
        (X.astype(object), 4, None, SAME),
        (X.astype(complex) + 1j, 4, None, BOTH_REFUSE),
        (np.full((20, 2), "a"), 4, None, BOTH_REFUSE),
        (X[:, 0], 4, None, BOTH_REFUSE),
        (X[None], 4, None, BOTH_REFUSE),
        (X[:0], 4, None, BOTH_REFUSE),
        (X[:, :0], 4, None, BOTH_REFUSE),
        (X[:1], 1, None, SAME),
    ],
)
@pytest.mark.parametrize("name", ["KMeans", "MiniBatchKMeans"])
@pytest.mark.filterwarnings("ignore")
def test_as_scikit_learn(
    name: str, rows: Any, n_clusters: int, weights: np.ndarray | None, expected: str
) -> None:
    """What it refuses is refused, and what it accepts gives the same from the same start."""
    found = []
    for package in (fastface, sklearn.cluster):
        init: Any = "random"
        if expected in (SAME, TIES):
            init = np.asarray(rows, float)[:n_clusters]
        model = getattr(package, name)(n_clusters, init=init, n_init=1, random_state=0)
        if package is fastface and expected in (BOTH_REFUSE, WE_REFUSE):
            with pytest.raises(ValueError, match=r"\w") as caught:
                model.fit(rows, sample_weight=weights)
            assert len(str(caught.value)) > 20
        elif expected == BOTH_REFUSE:
            with pytest.raises((ValueError, TypeError)):
                model.fit(rows, sample_weight=weights)
        elif expected != WE_REFUSE:
            found.append(model.fit(rows, sample_weight=weights))
    if expected == TIES:
        assert found[0].inertia_ == pytest.approx(found[1].inertia_, rel=0.1, abs=1e-9)
    if expected == SAME and name == "KMeans":
        ours, theirs = found
        np.testing.assert_array_equal(ours.labels_, theirs.labels_)
        np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(
            ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-5, atol=1e-6
        )
        assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("Estimator", [KMeans, MiniBatchKMeans])
def test_other_features_than_fitted(Estimator: Any) -> None:
    model = Estimator(3, random_state=0).fit(X)
    calls = [model.predict, model.transform, model.score]
    calls += [model.partial_fit] if Estimator is MiniBatchKMeans else []
    for call in calls:
        with pytest.raises(ValueError, match=r"X has 4 features, but \w+ is expecting 5"):
            call(X[:, :4])


@pytest.mark.parametrize("Estimator", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random", "hierarchical"])
@pytest.mark.parametrize("n_weighted", [3, 20])
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_zero_weights(Estimator: Any, init: str, n_weighted: int) -> None:
    """Rows without weight start no cluster while there are others, and break nothing."""
    weights = np.zeros(60)
    weights[-n_weighted:] = 1.0
    model = Estimator(3, init=init, n_init=1, max_iter=1, random_state=0)
    model.fit(X, sample_weight=weights)
    if n_weighted == 3:
        assert model.inertia_ == 0.0
        rows = {row.tobytes() for row in X[-3:]}
        assert {row.tobytes() for row in model.cluster_centers_} == rows
    if Estimator is KMeans and init != "random":
        many = Estimator(8, init=init, random_state=0).fit(X, sample_weight=weights)
        assert np.isfinite(many.cluster_centers_).all()


@pytest.mark.parametrize(
    ("Estimator", "init", "expected"),
    [
        (KMeans, "k-means++", 1),
        (KMeans, "k-means||", 1),
        (KMeans, "hierarchical", 1),
        (KMeans, "random", 10),
        (KMeans, lambda x, k, random_state: x[:k], 10),
        (KMeans, X[:3], 1),
        (MiniBatchKMeans, lambda x, k, random_state: x[:k], 3),
    ],
)
def test_how_often_auto_starts(Estimator: Any, init: Any, expected: int) -> None:
    starts: list[int] = []
    chosen = init
    if callable(init):

        def chosen(x: np.ndarray, k: int, random_state: Any) -> np.ndarray:
            starts.append(len(starts))
            return x[:k]

    model = Estimator(3, init=chosen, random_state=0)
    if not callable(init):
        model.set_params(callback=lambda report: starts.append(report.init))
    model.fit(X)
    assert len(set(starts)) == expected


@pytest.mark.parametrize("Estimator", [KMeans, MiniBatchKMeans])
def test_names_and_output(Estimator: Any) -> None:
    model = Estimator(3, random_state=0).fit(X)
    prefix = Estimator.__name__.lower()
    assert list(model.get_feature_names_out()) == [f"{prefix}{i}" for i in range(3)]
    with pytest.raises(ValueError, match="output config must be"):
        Estimator(3).set_output(transform="no such library").fit(X).transform(X)
    absent = (BackendUnavailableError, MissingDependencyError)  # by what is installed
    for device, error in (("cuda:99", absent), (3, InvalidInputError)):
        with pytest.raises(error, match=r"fastface\[cuda\]|use device='cpu'|choose one of 'auto'"):
            Estimator(3, device=device).fit(X)
