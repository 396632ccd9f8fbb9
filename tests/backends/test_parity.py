"""One suite over backend x instruction set x dtype x metric x awkward size, comparing bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import fastface
from fastface.backends.cpu import CpuBackend
from fastface.backends.reference import ReferenceBackend
from fastface.validation import METRICS

REFERENCE = ReferenceBackend()
CPU = CpuBackend()
DTYPES = [np.float16, np.float32, np.float64]
SIZES = [1, 2, 3, 5, 7, 8, 11, 13, 16, 17, 31, 32, 33, 47, 61, 64, 83, 97]


@pytest.fixture(params=fastface.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = fastface.get_isa()
    fastface.set_isa(request.param)
    yield request.param
    fastface.set_isa(before)


def assert_same_neighbors(x, y, k, metric, *, exclude_self=False, n_threads=2) -> None:
    expected = REFERENCE.topk(x, y, k, metric, exclude_self=exclude_self)
    found = CPU.topk(x, y, k, metric, exclude_self=exclude_self, n_threads=n_threads)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.distances.tobytes() == expected.distances.tobytes()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_awkward_sizes(isa: str, dtype: type, metric: str) -> None:
    rng = np.random.default_rng(0)
    for size in SIZES:
        for n, m, d in [(size, 19, 13), (19, size, 13), (19, 23, size)]:
            x = rng.standard_normal((n, d)).astype(dtype)
            y = rng.standard_normal((m, d)).astype(dtype)
            for k in {1, (m + 1) // 2, m}:
                assert_same_neighbors(x, y, k, metric)


def awkward_matrices() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((50, 24)).astype(np.float32)
    y = rng.standard_normal((40, 24)).astype(np.float32)
    duplicated = np.repeat(y[:5], 8, axis=0)
    near = np.repeat(y[:1], 40, axis=0)
    near[np.arange(20), np.arange(20)] = np.nextafter(near[np.arange(20), np.arange(20)], np.inf)
    spread = (10.0 ** rng.uniform(-20, 18, (40, 1)) * y).astype(np.float32)
    offset = (y + 1e4).astype(np.float32)
    return {
        "zeros": (np.zeros_like(x), np.zeros_like(y)),
        "zero queries": (np.zeros_like(x), y),
        "zero candidates": (x, np.zeros_like(y)),
        "duplicated candidates": (x, duplicated),
        "one ulp apart": (np.repeat(y[:1], 50, axis=0), near),
        "norms from 1e-20 to 1e18": (x, spread),
        "the same, turned round": (spread, x),
        "denormals": (x * np.float32(1e-39), y * np.float32(1e-39)),
        "norms near overflow": (x * np.float32(1e37), y * np.float32(1e37)),
        "cancellation": ((x + 1e4).astype(np.float32), offset),
        "far queries": ((x + 1e9).astype(np.float32), y),
    }


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", awkward_matrices())
def test_awkward_values(isa: str, case: str, metric: str) -> None:
    x, y = awkward_matrices()[case]
    for k in (1, 3, 33, 40):
        assert_same_neighbors(x, y, k, metric)
    assert_same_neighbors(x.astype(np.float64), y.astype(np.float64), 3, metric)


def test_float64_beyond_float32(isa: str) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((30, 9)) * 1e100, rng.standard_normal((25, 9)) * 1e100
    assert_same_neighbors(x, y, 4, "euclidean")
    near = 1.0 + rng.standard_normal((60, 9)) * 1e-12  # one float32 value, many float64 values
    assert_same_neighbors(near, near, 4, "euclidean", exclude_self=True)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_threads_and_blocks(isa: str, n_threads: int, exclude_self: bool) -> None:
    x = np.random.default_rng(3).standard_normal((1201, 32)).astype(np.float32)
    x[600:] = x[:601]  # every row has a twin: ties everywhere
    assert_same_neighbors(x, x, 5, "sqeuclidean", exclude_self=exclude_self, n_threads=n_threads)


def test_panels_packed_block_by_block(isa: str) -> None:
    """Candidates too large to be packed at once take another path to the same bits."""
    rng = np.random.default_rng(4)
    y = rng.standard_normal((6200, 2048)).astype(np.float32)
    x = rng.standard_normal((25, 2048)).astype(np.float32)
    assert y.nbytes > 48 << 20
    expected = REFERENCE.topk(x[:3], y, 3, "cosine")
    found = CPU.topk(x, y, 3, "cosine", n_threads=2)
    np.testing.assert_array_equal(found.indices[:3], expected.indices)
    assert found.distances[:3].tobytes() == expected.distances.tobytes()


def people(n: int, dim: int, seed: int) -> np.ndarray:
    """Return rows in clusters, so that 8-bit integers can tell most candidates apart."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((max(1, n // 8), dim))
    rows = centers[rng.integers(0, len(centers), n)] + 0.3 * rng.standard_normal((n, dim))
    return (rows + 2.0).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [1, 3, 4, 15, 16, 17, 50, 64, 67, 128, 131])
def test_enough_rows_for_every_screen(isa: str, dim: int, metric: str) -> None:
    """Some screens are only worth their while with many rows and candidates."""
    x, y = people(333, dim, 10), people(257, dim, 11)
    for k in (1, 2, 9):
        assert_same_neighbors(x, y, k, metric)
    assert_same_neighbors(x[:257], x[:257], 4, metric, exclude_self=True)
    assert_same_neighbors(x[:257], x[:257], 1, metric, exclude_self=True)
    assert_same_neighbors(x.astype(np.float64), y.astype(np.float16), 3, metric)


def hard_to_round() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(12)
    rows = people(400, 48, 13)
    one_huge = rows.copy()
    one_huge[:, 7] *= 1e4
    heavy = (rng.standard_cauchy((400, 48)) ** 3).astype(np.float32)
    mixed = rows.copy()
    mixed[::7] *= np.float32(1e-12)
    mixed[::11] *= np.float32(1e12)
    same = np.repeat(rows[:2], 200, axis=0)
    near = np.repeat(rows[:1], 400, axis=0)
    near[np.arange(400), np.arange(400) % 48] += np.float32(1e-6)
    return {
        "one huge coordinate": one_huge,
        "heavy tails": heavy,
        "norms of many sizes": mixed,
        "two values": same,
        "closer than integers see": near,
        "tiny": rows * np.float32(1e-38),
    }


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", hard_to_round())
def test_rows_that_are_hard_to_round(isa: str, case: str, metric: str) -> None:
    rows = hard_to_round()[case]
    for k in (1, 5):
        assert_same_neighbors(rows[:200], rows, k, metric)
        assert_same_neighbors(rows, rows, k, metric, exclude_self=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_strides(isa: str, dtype: type, metric: str) -> None:
    wide = people(700, 40, 14).astype(dtype)
    for x in (wide[::2, ::3], np.asfortranarray(wide), wide[::-1, ::-1], wide[:, 5:21]):
        y = np.ascontiguousarray(x)[::2]
        expected = REFERENCE.topk(np.ascontiguousarray(x), np.ascontiguousarray(y), 3, metric)
        found = CPU.topk(x, y, 3, metric, n_threads=2)
        assert found.indices.tobytes() == expected.indices.tobytes()
        assert found.distances.tobytes() == expected.distances.tobytes()


def test_prepared_candidates(isa: str) -> None:
    x, y = people(300, 33, 15), people(200, 33, 16)
    for metric in METRICS:
        prepared = fastface.prepare(y, metric=metric)
        for n in (1, 2, 5, 300):
            expected = REFERENCE.topk(x[:n], y, 4, metric)
            distances, indices = fastface.nearest_neighbors(
                x[:n], prepared, n_neighbors=4, metric=metric
            )
            assert indices.tobytes() == expected.indices.tobytes()
            assert distances.tobytes() == expected.distances.tobytes()
            labels, _ = fastface.assign(x[:n], prepared, metric=metric)
            assert labels.tobytes() == expected.indices[:, 0].tobytes()
        offsets, _, _ = REFERENCE.radius(x, y, 3.0, metric)
        found = fastface.radius_neighbors(x, prepared, radius=3.0, metric=metric)
        assert found.indptr.tolist() == offsets.tolist()


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    metric=st.sampled_from(METRICS),
    isa_name=st.sampled_from(fastface.available_isas()),
)
def test_small_integers_tie_alike(data: st.DataObject, metric: str, isa_name: str) -> None:
    """Coordinates from a handful of values make ties the rule."""
    n, m, d = (data.draw(st.integers(1, 40)) for _ in range(3))
    values = st.sampled_from([-1.0, 0.0, 0.5, 1.0])
    x = data.draw(arrays(np.float32, (n, d), elements=values))
    y = data.draw(arrays(np.float32, (m, d), elements=values))
    before = fastface.get_isa()
    fastface.set_isa(isa_name)
    try:
        assert_same_neighbors(x, y, data.draw(st.integers(1, m)), metric)
    finally:
        fastface.set_isa(before)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_radius(isa: str, dtype: type, metric: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((70, 11)).astype(dtype)
    x[35:] = x[:35]
    exact = float(REFERENCE.topk(x, x, 8, metric).distances[3, 7])
    for radius in (-1.0, 0.0, exact, 0.9, 4.0, 1e30):
        for exclude_self in (False, True):
            expected = REFERENCE.radius(x, x, radius, metric, exclude_self=exclude_self)
            found = CPU.radius(x, x, radius, metric, exclude_self=exclude_self, n_threads=2)
            for ours, theirs in zip(found, expected, strict=True):
                assert ours.dtype == theirs.dtype
                assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_pairwise(isa: str, dtype: type, metric: str) -> None:
    rng = np.random.default_rng(6)
    for n, m, d in [(1, 1, 1), (3, 300, 17), (67, 5, 97), (200, 5000, 5)]:
        x, y = rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((m, d)).astype(dtype)
        expected, found = np.empty((n, m), np.float32), np.empty((n, m), np.float32)
        REFERENCE.pairwise(x, y, metric, out=expected)
        CPU.pairwise(x, y, metric, out=found, n_threads=2)
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", awkward_matrices())
def test_pairwise_of_awkward_values(isa: str, case: str, metric: str) -> None:
    for dtype in (np.float32, np.float64):
        x, y = (matrix.astype(dtype) for matrix in awkward_matrices()[case])
        expected, found = (np.empty((len(x), len(y)), np.float32) for _ in range(2))
        REFERENCE.pairwise(x, y, metric, out=expected)
        CPU.pairwise(x, y, metric, out=found, n_threads=2)
        assert found.tobytes() == expected.tobytes()
