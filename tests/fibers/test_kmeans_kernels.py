"""The kernels of k-means, built by g++ with threads as fibers, under its sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel_engines import FiberEngine
from kmeans_checks import check_rows, check_seeding, check_sums


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_sums_rows_and_seeding(programs: Path, order: str) -> None:
    engine = FiberEngine(programs, order=order)
    check_sums(engine, "float32", 7, is_sorted=False)
    check_sums(engine, "float32", 300, is_sorted=True)
    check_rows(engine, "float32")
    check_seeding(engine, "sqeuclidean", weighted=True)
    check_seeding(engine, "cosine", weighted=False)
