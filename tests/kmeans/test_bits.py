"""The promise: the same bits whatever the rows are computed with, stored in, or split into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastface
from fastface import KMeans, MiniBatchKMeans
from fastface.backends.registry import get_backend
from fastface.kmeans import rows as rows_module
from fastface.kmeans.iterate import iterate
from fastface.kmeans.lloyd import (
    ClusterSums,
    ExhaustiveAssigner,
    Problem,
    inertia_of,
    next_centers,
    partial_step,
)
from fastface.kmeans.owner import LocalRows
from fastface.kmeans.rows import RowBlocks, measure

INITS = ["k-means++", "k-means||", "random", "hierarchical"]


def bits(model: Any) -> tuple[bytes, bytes, float, int]:
    return (
        model.labels_.tobytes(),
        model.cluster_centers_.tobytes(),
        model.inertia_,
        model.n_iter_,
    )


def weights_of(n: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(0.0, 2.0, n).round(2)


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
@pytest.mark.parametrize("init", INITS)
def test_threads_and_instruction_sets(faces: Callable, metric: str, init: str) -> None:
    x = faces(3000, 24, 40)
    found = set()
    for isa in fastface.available_isas():
        fastface.set_isa(isa)
        for n_threads in (1, 2, 3, 8):
            model = KMeans(
                30, init=init, metric=metric, n_init=1, random_state=3, n_threads=n_threads
            )
            found.add(bits(model.fit(x, sample_weight=weights_of(len(x)))))
    assert len(found) == 1


def test_the_definition(faces: Callable) -> None:
    """The NumPy reference does every step; the seed and the rows decide."""
    x = faces(2500, 12, 20)
    for metric in ("sqeuclidean", "cosine"):
        models = [
            KMeans(9, metric=metric, random_state=1, device=device).fit(x)
            for device in ("cpu", "reference")
        ]
        assert bits(models[0]) == bits(models[1])
        assert [m.device_ for m in models] == ["cpu", "reference"]


def test_mini_batches(faces: Callable) -> None:
    x = faces(4000, 16, 30)
    found = set()
    for isa in fastface.available_isas():
        fastface.set_isa(isa)
        for n_threads in (1, 3):
            model = MiniBatchKMeans(25, batch_size=256, random_state=0, n_threads=n_threads)
            found.add(bits(model.fit(x, sample_weight=weights_of(len(x)))))
    assert len(found) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("init", INITS)
def test_storage_and_chunks(
    faces: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type, init: str
) -> None:
    x = faces(2100, 20, 30).astype(dtype)
    path = tmp_path / "rows.npy"
    np.save(path, x)
    model = KMeans(25, init=init, n_init=1, max_iter=8, random_state=2)
    expected = bits(model.fit(x))
    assert bits(model.fit(np.asfortranarray(x))) == expected
    assert bits(model.fit(np.repeat(x, 2, axis=0)[::2])) == expected
    read_only = x.copy()
    read_only.flags.writeable = False
    assert bits(model.fit(read_only)) == expected
    for chunk_rows in (10**6, 70, 1 if init == "random" else 700):
        chunk = chunk_rows * x.shape[1] * x.itemsize
        monkeypatch.setattr(rows_module, "_MAPPED_CHUNK", chunk)
        assert bits(model.fit(np.load(path, mmap_mode="r"))) == expected


def test_a_mapped_file_is_told_apart(tmp_path: Path) -> None:
    """Pages of a private mapping hold what was written to it and must not be let go."""
    path = tmp_path / "rows.npy"
    np.save(path, np.zeros((300, 4), np.float32))
    for mode, mapped in (("r", True), ("r+", True), ("c", False)):
        x = np.load(path, mmap_mode=mode)
        assert RowBlocks(np.asarray(x)[3:]).is_mapped is mapped
    x[:, 0] = np.arange(300) % 3
    model = KMeans(3, random_state=0).fit(x)
    assert model.inertia_ == 0.0
    assert RowBlocks(np.zeros((3, 2))).is_mapped is False


def test_float16_rows_are_their_float32_values(faces: Callable) -> None:
    x = faces(1500, 16, 20).astype(np.float16)
    narrow = KMeans(12, random_state=0).fit(x)
    wide = KMeans(12, random_state=0).fit(x.astype(np.float32))
    assert bits(narrow) == bits(wide)


def split_run(
    x: np.ndarray, w: np.ndarray | None, cuts: list[int], centers: np.ndarray, metric: str
) -> tuple[bytes, bytes, float]:
    """Three iterations over partitions, as workers that never see each other's rows."""
    kernels = get_backend("cpu").kmeans
    parts = [slice(a, b) for a, b in zip([0, *cuts], [*cuts, len(x)], strict=True) if a < b]
    columns = [measure(RowBlocks(x[p]), kernels, 1) for p in parts]
    whole = columns[0]
    for other in columns[1:]:
        whole = whole.merge(other)
    problems = []
    for p in parts:
        own = Problem.over(
            RowBlocks(x[p]),
            kernels,
            metric,
            None if w is None else w[p],
            n_threads=1,
            columns=whole,
            largest_weight=1.0 if w is None else float(w.max()),
        )
        problems.append(own)
    grid = problems[0].grid()
    totals = [ClusterSums.zeros(*centers.shape) for _ in parts]
    labels: list[Any] = [None] * len(parts)
    for _ in range(3):
        for i, problem in enumerate(problems):
            new = np.empty(len(problem.rows), np.int32)
            partial_step(
                problem, centers, ExhaustiveAssigner(problem), grid, new, labels[i], totals[i]
            )
            labels[i] = new
        merged = totals[0]
        for other in totals[1:]:
            merged = merged.merge(other)
        used, centers = centers, next_centers(merged, grid, centers, metric)
    inertia = sum(inertia_of(p, used, own) for p, own in zip(problems, labels, strict=True))
    return np.concatenate(labels).tobytes(), centers.tobytes(), float(inertia)


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 399), max_size=6).map(sorted),
    metric=st.sampled_from(["sqeuclidean", "cosine"]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    weighted=st.booleans(),
    seed=st.integers(0, 5),
)
def test_partitions(cuts: list[int], metric: str, dtype: type, weighted: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((400, 7)) * 10.0 ** rng.integers(-3, 3, 7)).astype(dtype)
    w = rng.uniform(0, 3, 400) if weighted else None
    centers = x[:5].astype(np.float64 if dtype == np.float64 else np.float32)
    assert split_run(x, w, cuts, centers, metric) == split_run(x, w, [], centers, metric)


def test_moving_rows_equals_adding_them_anew(faces: Callable) -> None:
    """Sums that were brought up to date ten times have no error to show for it."""
    x = faces(3000, 16, 60)
    kernels = get_backend("cpu").kmeans
    problem = Problem.over(RowBlocks(x), kernels, "sqeuclidean", None, n_threads=2)
    seen: list[Any] = []

    rows = LocalRows(problem)

    def keep(state: Any) -> None:
        seen.append((state, rows.labels.copy()))  # their memory is used again

    iterate(rows, x[:40].copy(), max_iter=10, tol=0.0, after=keep)
    for state, expected in seen:
        fresh = ClusterSums.zeros(40, 16)
        labels = np.empty(len(x), np.int32)
        grid = problem.grid()
        partial_step(problem, state.centers, ExhaustiveAssigner(problem), grid, labels, None, fresh)
        np.testing.assert_array_equal(labels, expected)
        again = next_centers(fresh, grid, state.centers, "sqeuclidean")
        assert again.tobytes() == state.moved_centers.tobytes()
