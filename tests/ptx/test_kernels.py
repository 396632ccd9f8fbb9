"""The CUDA kernels, as NVRTC compiles them, give the bits of the NumPy definition."""

from __future__ import annotations

import cuda_drivers as drivers
import numpy as np
import pytest
from cuda_drivers import METRICS, PRECISIONS, Tiles
from kernel_cases import SHAPES, same_bits, tricky_rows
from kernel_engines import PtxEngine

from fastface.backends.reference import ReferenceBackend

pytestmark = pytest.mark.usefixtures("nvrtc")

REFERENCE = ReferenceBackend()
# Launches of tensor instructions whose sums are rounded in three ways (ptx_interpreter.matrix).
MMA = ["float64", "truncating", "float32-reversed"]


def check_assign(
    shape: tuple[int, int, int], dtype: str, metric: str, tiles: Tiles, **launch: str
) -> None:
    X, Y = tricky_rows(*shape, dtype)
    labels, distances, _ = drivers.assign(PtxEngine(**launch), X, Y, metric, tiles)
    wanted = REFERENCE.assign(X, Y, metric)
    same_bits(labels, wanted.indices[:, 0])
    same_bits(distances, wanted.distances[:, 0])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", SHAPES)
def test_assign(shape: tuple[int, int, int], metric: str, precision: str) -> None:
    check_assign(shape, "float32", metric, Tiles(precision))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_assign_of_other_types(dtype: str, metric: str) -> None:
    check_assign(SHAPES[2], dtype, metric, Tiles("bf16"))


@pytest.mark.parametrize("mode", MMA)
@pytest.mark.parametrize("precision", ["bf16", "tf32", "tf32x3"])
def test_labels_do_not_depend_on_how_tensor_cores_round(precision: str, mode: str) -> None:
    check_assign((70, 200, 150), "float32", "sqeuclidean", Tiles(precision), mma=mode)


@pytest.mark.parametrize("tiles", [Tiles("bf16", 4, True), Tiles("bf16", 2, False, 2)])
def test_assign_with_resident_rows_and_with_slices(tiles: Tiles) -> None:
    check_assign((20, 300, 130), "float32", "cosine", tiles)


@pytest.mark.parametrize(
    ("tiles", "mode"),
    [
        (Tiles("bf16", 4, False, 1, 128), "truncating"),
        (Tiles("bf16", 5, True, 1, 256), "float32-reversed"),
        (Tiles("tf32", 5, True, 2, 128), "truncating"),
    ],
)
def test_assign_in_warpgroups(tiles: Tiles, mode: str) -> None:
    check_assign((140, 300, 130), "float32", "sqeuclidean", tiles, mma=mode)


@pytest.mark.parametrize(
    ("metric", "precision", "order"),
    [
        *((metric, "bf16", "forward") for metric in METRICS),
        *(("sqeuclidean", precision, "reverse") for precision in PRECISIONS),
    ],
)
def test_topk(metric: str, precision: str, order: str) -> None:
    X, Y = tricky_rows(37, 300, 40, "float32")
    engine = PtxEngine(order=order)
    distances, indices = drivers.topk(engine, X, Y, 9, metric, Tiles(precision, slices=2))
    wanted = REFERENCE.topk(X, Y, 9, metric)
    same_bits(indices, wanted.indices)
    same_bits(distances, wanted.distances)


@pytest.mark.parametrize(("k", "dtype"), [(1, "float16"), (128, "float64")])
def test_topk_at_its_limits(k: int, dtype: str) -> None:
    X, Y = tricky_rows(5, 260, 17, dtype)
    distances, indices = drivers.topk(PtxEngine(), X, Y, k, "sqeuclidean", Tiles("bf16"))
    wanted = REFERENCE.topk(X, Y, k, "sqeuclidean")
    same_bits(indices, wanted.indices)
    same_bits(distances, wanted.distances)


def test_topk_without_oneself() -> None:
    X, _ = tricky_rows(140, 9, 33, "float32")
    X[3] = X[77]
    engine = PtxEngine()
    distances, indices = drivers.topk(engine, X, X, 5, "cosine", Tiles("bf16"), is_self=True)
    wanted = REFERENCE.topk(X, X, 5, "cosine", exclude_self=True)
    same_bits(indices, wanted.indices)
    same_bits(distances, wanted.distances)


@pytest.mark.parametrize(
    ("metric", "precision", "share"),
    [
        *((metric, "bf16", 0.3) for metric in METRICS),
        *(("euclidean", precision, 0.1) for precision in PRECISIONS),
        ("euclidean", "bf16", -1.0),
        ("cosine", "bf16", 0.0),
    ],
)
def test_radius(metric: str, precision: str, share: float) -> None:
    X, Y = tricky_rows(19, 150, 30, "float32")
    wanted = REFERENCE.topk(X, Y, len(Y), metric).distances
    within = -1.0 if share < 0 else float(np.quantile(wanted[5:], share))
    got = drivers.radius(PtxEngine(), X, Y, within, metric, Tiles(precision))
    for mine, theirs in zip(got, REFERENCE.radius(X, Y, within, metric), strict=True):
        same_bits(mine, theirs)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("shape", "dtype"), [((131, 20, 37), "float32"), ((3, 9, 8), "float64")])
def test_pairwise(shape: tuple[int, int, int], dtype: str, metric: str) -> None:
    X, Y = tricky_rows(*shape, dtype)
    wanted = np.empty((len(X), len(Y)), np.float32)
    REFERENCE.pairwise(X, Y, metric, out=wanted)
    same_bits(drivers.pairwise(PtxEngine(), X, Y, metric), wanted)
