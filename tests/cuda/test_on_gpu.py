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
def gpu() -> str:
    from fastface.backends.registry import get_backend

    try:
        return get_backend("cuda").name
    except (BackendUnavailableError, MissingDependencyError) as error:
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


def test_arrays_on_the_gpu(gpu: str) -> None:
    """Read where they are, and results beside them, on a stream of the caller's."""
    import cupy

    x = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
    with cupy.cuda.Stream(non_blocking=True):
        there = cupy.asarray(x)
        found = assign(there, there[:500])
        distances, indices = nearest_neighbors(there, n_neighbors=5, exclude_self=True)
        near = radius_neighbors(there[:100], there, radius=0.8)
        whole = pairwise_distances(there[:100], there[:500])
        labels = KMeans(20, random_state=0, max_iter=3).fit_predict(there)
        results = [*found, distances, indices, near.data, near.indices, whole, labels]
        assert all(isinstance(result, cupy.ndarray) for result in results)
        results = [result.get() for result in results]
    within = radius_neighbors(x[:100], x, radius=0.8)
    expected = [
        *assign(x, x[:500]),
        *nearest_neighbors(x, n_neighbors=5, exclude_self=True),
        *(within.data, within.indices),
        pairwise_distances(x[:100], x[:500]),
        KMeans(20, random_state=0, max_iter=3).fit_predict(x),
    ]
    for one, other in zip(results, expected, strict=True):
        assert one.tobytes() == other.tobytes()


def test_tensors_on_the_gpu(gpu: str) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch was built without CUDA")
    x = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
    with torch.cuda.stream(torch.cuda.Stream()):
        there = torch.from_numpy(x).cuda() * 2.0
        labels, distances = assign(there, there[:500])
        near = radius_neighbors(there[:100], there, radius=0.8)
        assert labels.is_cuda
        doubled = (distances * 2.0).cpu().numpy()
    expected = assign(2.0 * x, 2.0 * x[:500])
    assert labels.cpu().numpy().tobytes() == expected[0].tobytes()
    assert doubled.tobytes() == (expected[1] * np.float32(2.0)).tobytes()
    within = radius_neighbors(2.0 * x[:100], 2.0 * x, radius=0.8)
    assert near.values().cpu().numpy().tobytes() == within.data.tobytes()


def test_rows_and_candidates_in_parts(gpu: str) -> None:
    """With little memory, as if the GPU were small."""
    x = np.random.default_rng(0).standard_normal((30_000, 128)).astype(np.float32)
    limited = nearest_neighbors(
        x, n_neighbors=20, exclude_self=True, device=gpu, memory_limit="24MiB"
    )
    for one, other in zip(
        limited, nearest_neighbors(x, n_neighbors=20, exclude_self=True), strict=True
    ):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("method", ["fc-es", "chinese-whispers", "components"])
def test_people(gpu: str, method: str) -> None:
    from fastface import IdentityClustering

    rng = np.random.default_rng(0)
    centers = rng.standard_normal((300, 64))
    x = (centers[rng.integers(0, 300, 5000)] + 0.3 * rng.standard_normal((5000, 64))).astype("f4")
    photos = rng.integers(0, 2000, 5000)
    ours = IdentityClustering(method, device=gpu).fit(x, photo_ids=photos)
    theirs = IdentityClustering(method).fit(x, photo_ids=photos)
    assert ours.labels_.tobytes() == theirs.labels_.tobytes()


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
