"""The launchers of the GPU backend over a stand-in for CuPy, whose kernels the interpreter runs.

Bits are compared with the NumPy definition.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.nvrtc", reason="the extra 'test' brings NVRTC")

from cupy_stand_in import StandIn

import fastface
from fastface import KMeans
from fastface.backends import registry
from fastface.backends.cuda.backend import CudaBackend
from fastface.backends.cuda.device import Gpu, GpuError, GpuMemoryError, open_gpu
from fastface.backends.cuda.programs import as_arguments, read_program
from fastface.backends.cuda.tiles import Precision
from fastface.backends.reference import ReferenceBackend
from fastface.errors import BackendUnavailableError, InvalidInputError, MissingDependencyError

REFERENCE = ReferenceBackend()
METRICS = ("sqeuclidean", "euclidean", "cosine", "inner_product")
DTYPES = (np.float16, np.float32, np.float64)


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


def backend_on(stand_in: StandIn, precision: Precision = Precision.BF16) -> CudaBackend:
    return CudaBackend(open_gpu("cuda", stand_in), precision)


def awkward(n: int, m: int, dim: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and candidates with duplicates, zeros and ties among them."""
    rng = np.random.default_rng(n + m)
    x = rng.standard_normal((n, dim)).astype(dtype)
    y = rng.standard_normal((m, dim)).astype(dtype)
    if m > 40:
        y[7] = y[33]
        y[11] = 0
    if n > 3:
        x[0], x[1], x[2] = y[min(33, m - 1)], 0, y[0]
    return x, y


# Every metric with every precision, dtypes in turn.
CASES = [
    (metric, precision, DTYPES[i % 3])
    for i, (metric, precision) in enumerate(itertools.product(METRICS, Precision))
]


@pytest.mark.parametrize(("metric", "precision", "dtype"), CASES)
def test_nearest(stand_in: StandIn, metric: str, precision: Precision, dtype: Any) -> None:
    backend = backend_on(stand_in, precision)
    x, y = awkward(130, 141, 19, dtype)
    expected, found = REFERENCE.topk(x, y, 3, metric), backend.topk(x, y, 3, metric)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.distances.tobytes() == expected.distances.tobytes()
    found = backend.assign(x, y, metric)
    np.testing.assert_array_equal(found.indices, expected.indices[:, :1])
    assert found.distances.tobytes() == np.ascontiguousarray(expected.distances[:, :1]).tobytes()


@pytest.mark.parametrize("metric", METRICS)
def test_radius(stand_in: StandIn, metric: str) -> None:
    backend = backend_on(stand_in)
    x, y = awkward(20, 150, 17, np.float32)
    near = float(REFERENCE.topk(x, y, 4, metric).distances.max())
    for radius in (near, -1.0):
        expected = REFERENCE.radius(x, y, radius, metric)
        for one, other in zip(backend.radius(x, y, radius, metric), expected, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("metric", METRICS)
def test_pairwise(stand_in: StandIn, metric: str) -> None:
    x, y = awkward(30, 45, 9, np.float32)
    expected, found = np.empty((30, 45), np.float32), np.empty((30, 45), np.float32)
    REFERENCE.pairwise(x, y, metric, out=expected)
    backend_on(stand_in).pairwise(x, y, metric, out=found)
    assert found.tobytes() == expected.tobytes()


def test_rows_come_in_chunks_of_any_size(stand_in: StandIn) -> None:
    """Also with oneself left out, which is about numbers of rows beyond the first chunk."""
    x, _ = awkward(700, 1, 8, np.float32)
    backend = backend_on(stand_in)
    expected = REFERENCE.topk(x, x, 2, "cosine", exclude_self=True)
    found = backend.topk(x, x, 2, "cosine", exclude_self=True, memory_limit=9_000_000)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert [name for name, _ in stand_in.launches].count("topk_screen") == 3
    stand_in.launches.clear()
    labels = backend.assign(x, x[:5], "cosine", memory_limit=512 * 1000)
    np.testing.assert_array_equal(labels.indices, REFERENCE.assign(x, x[:5], "cosine").indices)
    assert [name for name, _ in stand_in.launches].count("assign_scores") >= 3
    with pytest.raises(MemoryError, match=r"^\d+$"):
        backend.assign(x, x[:5], "cosine", memory_limit=1000)


def test_memory_that_runs_out_halves_the_chunks() -> None:
    x, y = awkward(1500, 10, 64, np.float64)
    small = StandIn(capacity=900_000)
    backend = backend_on(small)
    # Somebody else takes memory between the look at what is free and the work.
    backend.gpu.free_bytes = lambda: 64 << 20  # type: ignore[method-assign]
    found = backend.assign(x, y, "sqeuclidean")
    np.testing.assert_array_equal(found.indices, REFERENCE.assign(x, y, "sqeuclidean").indices)
    sizes = {grid for name, grid in small.launches if name == "assign_scores"}
    assert len(small.launches) > 6
    assert max(grid[0] for grid in sizes) < 12
    pinned = StandIn()
    pinned.most_pinned = 300_000
    found = backend_on(pinned).assign(x, y, "sqeuclidean")
    np.testing.assert_array_equal(found.indices, REFERENCE.assign(x, y, "sqeuclidean").indices)
    assert pinned.pinned_bytes > 0
    pinned.most_pinned = 100
    with pytest.raises(GpuMemoryError, match=r"cuda:0 gets no \d+ bytes of pinned memory"):
        backend_on(pinned).assign(x, y, "sqeuclidean")
    with pytest.raises(GpuMemoryError, match=r"not enough memory for .*smaller memory_limit"):
        backend_on(StandIn(capacity=100_000)).assign(x, y, "sqeuclidean")


def test_scores_get_finer_where_too_much_is_doubtful(stand_in: StandIn) -> None:
    rng = np.random.default_rng(0)
    y = (1.0 + 1e-5 * rng.standard_normal((60, 8))).astype(np.float32)  # hardly to be told apart
    x = y[rng.integers(0, 60, 600)]
    backend = backend_on(stand_in)
    found = backend.assign(x, y, "cosine", memory_limit=512 * 1000)
    np.testing.assert_array_equal(found.indices, REFERENCE.assign(x, y, "cosine").indices)
    packed = [name for name, _ in stand_in.launches].count("pack_rows")
    chunks = [name for name, _ in stand_in.launches].count("assign_scores")
    assert packed == chunks + 2, "candidates were packed once more, as something finer"


def test_candidates_that_do_not_fit_come_in_parts(stand_in: StandIn) -> None:
    """With equal distances across parts, which only the definition tells apart."""
    rng = np.random.default_rng(5)
    y = rng.integers(-2, 3, (300, 6)).astype(np.float32)
    y[200:] += np.float32(1e-6) * rng.integers(-3, 4, (100, 6)).astype(np.float32)
    y[270:] = y[100:130]
    backend = backend_on(stand_in)
    expected = REFERENCE.topk(y, y, 4, "sqeuclidean", exclude_self=True)
    backend.gpu.free_bytes = lambda: 2 * 200 * 250  # type: ignore[method-assign]
    found = backend.topk(y, y, 4, "sqeuclidean", exclude_self=True)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.distances.tobytes() == expected.distances.tobytes()
    assert [name for name, _ in stand_in.launches].count("sample_mean") == 2
    labels = backend.assign(y[:50], y, "cosine")
    np.testing.assert_array_equal(labels.indices, REFERENCE.assign(y[:50], y, "cosine").indices)
    radius = float(expected.distances[:, 2].max())
    within = backend.radius(y[:280], y, radius, "sqeuclidean", exclude_self=True)
    for one, other in zip(
        within, REFERENCE.radius(y[:280], y, radius, "sqeuclidean", exclude_self=True), strict=True
    ):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    whole, parted = np.empty((20, 300), np.float32), np.empty((20, 300), np.float32)
    REFERENCE.pairwise(y[:20], y, "euclidean", out=whole)
    backend.pairwise(y[:20], y, "euclidean", out=parted)
    assert parted.tobytes() == whole.tobytes()


def test_copies_and_kernels_overlap(stand_in: StandIn) -> None:
    """When a chunk is brought, the scores of the one before are under way on the other stream."""
    x, y = awkward(700, 5, 8, np.float32)
    stand_in.log.clear()
    backend_on(stand_in).assign(x, y, "cosine", memory_limit=512 * 1000)
    copies = [i for i, (what, _) in enumerate(stand_in.log) if what == "copy in"]
    scores = [i for i, (what, _) in enumerate(stand_in.log) if what == "assign_scores"]
    assert len(copies) == len(scores) == 3
    lanes = [stand_in.log[i][1] for i in copies]
    assert lanes == [stand_in.log[i][1] for i in scores]
    assert len({0, *lanes}) == 3, "two streams, and neither is the default one"
    for number in (0, 1):
        launched, copied = scores[number], copies[number + 1]
        assert launched < copied
        assert ("wait", lanes[number]) not in stand_in.log[launched:copied]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers(stand_in: StandIn, bad: float) -> None:
    x, y = awkward(40, 50, 8, np.float32)
    backend = backend_on(stand_in)
    worse = x.copy()
    worse[5, 3] = bad
    for call in (backend.assign, lambda *a: backend.topk(*a[:2], 2, a[2])):
        with pytest.raises(FloatingPointError, match="queries"):
            call(worse, y, "cosine")
        with pytest.raises(FloatingPointError, match="candidates"):
            call(x, worse, "cosine")
    with pytest.raises(FloatingPointError, match="queries"):
        backend.pairwise(worse, y, "euclidean", out=np.empty((40, 50), np.float32))


def test_errors_of_the_device_name_the_kernel(stand_in: StandIn) -> None:
    x, y = awkward(40, 50, 8, np.float32)
    backend = backend_on(stand_in)
    stand_in.fail_in = "assign_decide"
    with pytest.raises(GpuError, match=r"cuda:0, kernel assign_decide over .*\(40, 8\).*illegal"):
        backend.assign(x, y, "cosine")


def test_errors_that_come_late_tell_of_the_latest_kernels(stand_in: StandIn) -> None:
    x, y = awkward(40, 50, 8, np.float32)
    backend = backend_on(stand_in)
    stand_in.fail_in, stand_in.fails_late = "assign_decide", True
    with pytest.raises(
        GpuError, match=r"cuda:0, .*, after .*kernel assign_decide over .*\(40, 8\).*illegal"
    ):
        backend.assign(x, y, "cosine")


def test_the_second_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in refuses launches over arrays of another GPU than the current one."""
    two = StandIn(devices=2)
    monkeypatch.setitem(__import__("sys").modules, "cupy", two)
    x, y = awkward(40, 50, 8, np.float32)
    wanted = REFERENCE.assign(x, y, "cosine").indices[:, 0]
    labels, _ = fastface.assign(x, y, metric="cosine", device="cuda:1")
    np.testing.assert_array_equal(labels, wanted)
    with two.cuda.Device(1):
        there, candidates = two.asarray(x), two.asarray(y)
    labels, _ = fastface.assign(there, candidates, metric="cosine")
    assert labels.device.id == 1
    np.testing.assert_array_equal(labels.get(), wanted)


def test_what_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="unknown device"):
        open_gpu("cuda:first", StandIn())
    with pytest.raises(BackendUnavailableError, match="this machine has 1 GPUs"):
        open_gpu("cuda:1", StandIn())
    with pytest.raises(BackendUnavailableError, match=r"compute capability 7\.5"):
        open_gpu("cuda", StandIn(capability="75"))
    with pytest.raises(BackendUnavailableError, match=r"serves CUDA 11\.4.*install cupy-cuda11x"):
        open_gpu("cuda", StandIn(driver=11040))
    with pytest.raises(BackendUnavailableError, match="no NVIDIA driver; install one"):
        open_gpu("cuda", StandIn(driver=0))
    with pytest.raises(BackendUnavailableError, match=r"finds no GPU.*CUDA_VISIBLE_DEVICES"):
        open_gpu("cuda", StandIn(devices=0))
    with pytest.raises(BackendUnavailableError, match=r"driver cannot be used .*SystemDriver"):
        open_gpu("cuda", StandIn(refusal="cudaErrorSystemDriverMismatch: mixed versions"))
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(MissingDependencyError, match=r"fastface\[cuda\]"):
        registry.get_backend("cuda")
    with pytest.raises(InvalidInputError, match="at most 128"):
        backend_on(StandIn()).topk(np.ones((2, 2)), np.ones((200, 2)), 129, "cosine")


def test_arguments_are_checked_before_the_driver_sees_them(stand_in: StandIn) -> None:
    program = read_program("rows")
    x = open_gpu("cuda", stand_in).empty((3, 4), np.float32)
    with pytest.raises(TypeError, match="row_norms takes 5 arguments, got 4"):
        as_arguments(program, "row_norms", (x, 4, 3, 4))
    with pytest.raises(TypeError, match="row_norms: x got int"):
        as_arguments(program, "row_norms", (4, 4, 3, 4, x))
    passed = as_arguments(program, "row_norms", (x, 4, 3, 4, None))
    assert [type(value) for value in passed[1:]] == [np.int64, np.int64, np.int32, np.uint64]


@pytest.fixture
def cuda_device(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Let ``device="cuda"`` be the stand-in."""
    monkeypatch.setitem(__import__("sys").modules, "cupy", stand_in)
    return stand_in


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize(
    ("n_clusters", "weighted", "dtype"),
    [(6, False, np.float32), (70, True, np.float16), (6, True, np.float64)],
)
def test_k_means(
    cuda_device: StandIn, metric: str, n_clusters: int, weighted: bool, dtype: Any
) -> None:
    """Few clusters are summed in shared memory, many by sorting; seeding is k-means++."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 6)).astype(dtype)
    weights = rng.uniform(0, 2, 400) if weighted else None
    init = x[:n_clusters] if n_clusters > 10 else "k-means++"
    options: dict[str, Any] = {
        "init": init,
        "n_init": 1,
        "metric": metric,
        "random_state": 0,
        "max_iter": 3,
    }
    ours = KMeans(n_clusters, **options).fit(x, sample_weight=weights)
    theirs = KMeans(n_clusters, device="cuda", **options).fit(x, sample_weight=weights)
    assert theirs.device_ == "cuda:0"
    assert theirs.labels_.tobytes() == ours.labels_.tobytes()
    assert theirs.cluster_centers_.tobytes() == ours.cluster_centers_.tobytes()
    assert theirs.inertia_ == ours.inertia_
    assert theirs.n_iter_ == ours.n_iter_
    ways = {name for name, _ in cuda_device.launches if name.startswith("accumulate")}
    assert ways == {"accumulate_sorted" if n_clusters == 70 else "accumulate_shared"}


def test_k_means_of_rows_that_do_not_fit(
    cuda_device: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((400, 6)).astype(np.float16)
    options: dict[str, Any] = {"init": x[:70], "n_init": 1, "max_iter": 2, "metric": "cosine"}
    ours = KMeans(70, **options).fit(x)
    monkeypatch.setattr(Gpu, "free_bytes", lambda self: 8_000)
    cuda_device.launches.clear()
    theirs = KMeans(70, device="cuda", **options).fit(x)
    assert theirs.labels_.tobytes() == ours.labels_.tobytes()
    assert theirs.cluster_centers_.tobytes() == ours.cluster_centers_.tobytes()
    assert theirs.inertia_ == ours.inertia_
    assert [name for name, _ in cuda_device.launches].count("column_range") == 2
    with pytest.raises(GpuMemoryError, match=r"k-means\+\+ wants all rows.*init='random'"):
        KMeans(3, device="cuda").fit(x)


def test_pruning_is_refused(cuda_device: StandIn) -> None:
    x = np.random.default_rng(0).standard_normal((40, 4))
    with pytest.raises(BackendUnavailableError, match="'pruned' runs on the CPU"):
        KMeans(3, device="cuda", algorithm="pruned", init=x[:3], n_init=1).fit(x)


def test_public_functions_take_the_device(cuda_device: StandIn) -> None:
    x, y = awkward(20, 41, 6, np.float32)
    labels, distances = fastface.assign(x, y, device="cuda")
    expected = fastface.assign(x, y)
    assert labels.tobytes() == expected[0].tobytes()
    assert distances.tobytes() == expected[1].tobytes()
    x[3, 2] = np.nan
    with pytest.raises(InvalidInputError, match=r"X\[3, 2\]"):
        fastface.assign(x, y, device="cuda:0")
