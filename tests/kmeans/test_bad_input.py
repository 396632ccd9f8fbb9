"""What k-means refuses, and what it puts up with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

from fastface import KMeans, MiniBatchKMeans, kmeans_plusplus
from fastface.errors import BackendUnavailableError, InvalidInputError
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
    with pytest.raises(BackendUnavailableError):
        KMeans(3, device="cuda").fit(X)


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
