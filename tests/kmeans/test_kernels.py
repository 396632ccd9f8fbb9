"""The kernels of k-means against their NumPy definition, comparing bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import fastface
from fastface.backends.cpu_kmeans import CpuKMeans
from fastface.backends.reference_kmeans import ReferenceKMeans
from fastface.kmeans.fixed_point import FixedPoint

REFERENCE, CPU = ReferenceKMeans(), CpuKMeans()
DTYPES = [np.float16, np.float32, np.float64]


@pytest.fixture(params=fastface.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = fastface.get_isa()
    fastface.set_isa(request.param)
    yield request.param
    fastface.set_isa(before)


def rows(n: int, d: int, dtype: type, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, d)) * 10.0 ** np.arange(d).clip(0, 3)
    x[::7] = 0.0
    return x.astype(dtype)


def centers_of(x: np.ndarray, k: int) -> np.ndarray:
    return x[:: len(x) // k][:k].astype(np.float64 if x.dtype == np.float64 else np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 7, 8, 16, 33])
@pytest.mark.parametrize("weighted", [False, True])
def test_sums(isa: str, dtype: type, d: int, weighted: bool) -> None:
    x = rows(203, d, dtype)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 9, (2, len(x)), dtype=np.int32)
    factors = rng.uniform(0, 3, len(x)) if weighted else None
    masses = np.round(factors, 1) if weighted else None
    grid = FixedPoint.for_rows(len(x), np.abs(x.astype(np.float64)).max(axis=0), 3.0)
    results = []
    for kernels, n_threads in ((REFERENCE, 1), (CPU, 1), (CPU, 3)):
        sums, mass = np.zeros((2, 9, d), np.int64), np.zeros((2, 9), np.int64)
        moved = [
            kernels.accumulate(
                x,
                labels[step],
                None if step == 0 else labels[step - 1],
                factors,
                masses,
                grid.scales,
                grid.mass_scale,
                grid.low_scale,
                sums,
                mass,
                n_threads=n_threads,
            )
            for step in (0, 1)
        ]
        results.append((moved, sums.tobytes(), mass.tobytes()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_and_distances(isa: str, dtype: type, metric: str) -> None:
    x = rows(1301, 19, dtype)
    centers = centers_of(x, 40)
    expected = REFERENCE.nearest_center(x, centers, metric)
    labels = CPU.nearest_center(x, centers, metric, n_threads=2)
    np.testing.assert_array_equal(labels, expected)
    assert (
        CPU.own_distances(x, centers, labels, metric, n_threads=2).tobytes()
        == REFERENCE.own_distances(x, centers, labels, metric).tobytes()
    )
    assert CPU.row_norms(x, n_threads=2).tobytes() == REFERENCE.row_norms(x).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns(isa: str, dtype: type) -> None:
    x = rows(2100, 13, dtype)
    largest = REFERENCE.column_range(x)
    assert CPU.column_range(x, n_threads=2).tobytes() == largest.tobytes()
    scales = np.stack([FixedPoint.for_rows(len(x), largest**power).scales for power in (1, 2)])
    np.testing.assert_array_equal(
        CPU.column_moments(x, scales, 2.0**40, n_threads=3),
        REFERENCE.column_moments(x, scales, 2.0**40),
    )
    for bad in (np.nan, np.inf, -np.inf):
        x[17, 5] = bad
        np.testing.assert_array_equal(
            np.isnan(CPU.column_range(x, n_threads=2)), np.arange(13) == 5
        )


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["spread", "clustered", "far from the origin"])
def test_seeder(isa: str, dtype: type, metric: str, kind: str) -> None:
    """Past the size at which rows are screened, with rows that lie on each other."""
    rng = np.random.default_rng(3)
    n, d = 4700, 21
    x = rng.standard_normal((n, d))
    if kind == "clustered":
        x = np.repeat(x[:47], 100, axis=0) + 0.01 * x
        x[::3] = x[0]
    elif kind == "far from the origin":
        x = x * 0.1 + 50.0
    x[5::50] = 0.0
    x = x.astype(dtype)
    weights = rng.uniform(0, 2, n)
    seeders = [
        REFERENCE.seeder(x, weights, metric),
        CPU.seeder(x, weights, metric, n_threads=1),
        CPU.seeder(x, weights, metric, n_threads=3),
    ]
    farthest = [s.begin(x[11:12]) for s in seeders]
    assert len(set(farthest)) == 1
    potentials = [s.set_scale(2.0**30) for s in seeders]
    assert len(set(potentials)) == 1
    for step in range(6):
        target = potentials[0] * step // 6
        assert len({s.locate(target) for s in seeders}) == 1
        candidates = x[rng.integers(0, n, 1 + 4 * step)]
        evaluated = [s.evaluate(candidates) for s in seeders]
        assert evaluated[0] == evaluated[1] == evaluated[2]
        which = int(np.argmin(evaluated[0]))
        potentials = [evaluated[0][which]]
        for s in seeders:
            s.accept(which)
        assert len({s.nearest.tobytes() for s in seeders}) == 1
