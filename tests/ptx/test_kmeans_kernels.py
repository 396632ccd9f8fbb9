"""The kernels of k-means, as NVRTC compiles them, give the bits of the NumPy definition."""

from __future__ import annotations

import pytest
from kernel_engines import PtxEngine
from kmeans_checks import check_rows, check_seeding, check_sums

pytestmark = pytest.mark.usefixtures("nvrtc")


@pytest.mark.parametrize("order", ["forward", "reverse"])
@pytest.mark.parametrize(
    ("dtype", "n_clusters", "is_sorted"),
    [
        ("float32", 7, False),
        ("float16", 64, False),
        ("float32", 300, True),
        ("float32", 2500, True),  # labels are counted up in three rounds
        ("float64", 7, True),
        ("float64", 7, False),
    ],
)
def test_sums_in_shared_memory_and_by_sorting(
    dtype: str, n_clusters: int, is_sorted: bool, order: str
) -> None:
    check_sums(PtxEngine(order=order), dtype, n_clusters, is_sorted=is_sorted)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rows(dtype: str) -> None:
    check_rows(PtxEngine(), dtype)


@pytest.mark.parametrize(("metric", "weighted"), [("sqeuclidean", True), ("cosine", False)])
def test_seeding(metric: str, weighted: bool) -> None:
    check_seeding(PtxEngine(), metric, weighted=weighted)
