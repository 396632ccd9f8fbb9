"""What only a GPU can show: the same bits from real tensor cores and real streams.

Skipped without one; ``pytest --require-gpu`` turns that into a failure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastface import KMeans, assign, nearest_neighbors, pairwise_distances, radius_neighbors
from fastface.errors import BackendUnavailableError, MissingDependencyError

pytestmark = pytest.mark.gpu

METRICS = ("sqeuclidean", "euclidean", "cosine", "inner_product")


@pytest.fixture(scope="module")
def gpu(request: pytest.FixtureRequest) -> str:
    from fastface.backends.registry import get_backend

    try:
        return get_backend("cuda").name
    except (BackendUnavailableError, MissingDependencyError) as error:
        if request.config.getoption("--require-gpu"):
            pytest.fail(f"--require-gpu, but {error}")
        pytest.skip(str(error))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("n", "m", "dim"), [(1, 1, 1), (97, 1000, 65), (20_000, 3000, 128)])
def test_dense_kernels(gpu: str, metric: str, dtype: Any, n: int, m: int, dim: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, dim)).astype(dtype)
    y = rng.standard_normal((m, dim)).astype(dtype)
    x[: min(n, m) // 2] = y[: min(n, m) // 2]
    k = min(m, 20)
    for call in (
        lambda device: assign(x, y, metric=metric, device=device),
        lambda device: nearest_neighbors(x, y, n_neighbors=k, metric=metric, device=device),
        lambda device: [pairwise_distances(x[:2000], y, metric=metric, device=device)],
    ):
        for one, other in zip(call(gpu), call("cpu"), strict=True):
            assert one.tobytes() == other.tobytes()
    near = float(nearest_neighbors(x[:500], y, n_neighbors=k, metric=metric)[0].max())
    ours = radius_neighbors(x[:500], y, radius=near, metric=metric, device=gpu)
    theirs = radius_neighbors(x[:500], y, radius=near, metric=metric)
    assert ours.indices.tobytes() == theirs.indices.tobytes()
    assert ours.data.tobytes() == theirs.data.tobytes()


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("n_clusters", [20, 500])
def test_k_means(gpu: str, metric: str, n_clusters: int) -> None:
    x = np.random.default_rng(0).standard_normal((50_000, 64)).astype(np.float32)
    options: dict[str, Any] = {"metric": metric, "random_state": 0, "max_iter": 10}
    ours = KMeans(n_clusters, device=gpu, **options).fit(x)
    theirs = KMeans(n_clusters, **options).fit(x)
    assert ours.labels_.tobytes() == theirs.labels_.tobytes()
    assert ours.cluster_centers_.tobytes() == theirs.cluster_centers_.tobytes()
    assert ours.inertia_ == theirs.inertia_
