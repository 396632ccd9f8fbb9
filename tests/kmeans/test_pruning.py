"""Leaving out what a bound rules out never changes a label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import fastface
from fastface import KMeans
from fastface.backends.cpu_kmeans import CpuKMeans
from fastface.errors import InvalidInputError
from fastface.kmeans.assigners import AutoAssigner, ExhaustiveAssigner, PrunedAssigner
from fastface.kmeans.lloyd import Problem
from fastface.kmeans.rows import RowBlocks

METRICS = pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])


def bits(model: Any) -> tuple[bytes, bytes, float, int]:
    return (
        model.labels_.tobytes(),
        model.cluster_centers_.tobytes(),
        model.inertia_,
        model.n_iter_,
    )


def difficult(kind: str, dtype: type) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1500, 20))
    if kind == "twins":
        x = np.repeat(x[:150], 10, axis=0)
    elif kind == "grid":
        x = rng.integers(-1, 2, (1500, 6)).astype(float)
    elif kind == "far from the origin":
        x = x * 0.01 + (30.0 if dtype == np.float16 else 1e4)
    elif kind == "magnitudes":
        x *= 10.0 ** rng.uniform(-2, 2, (1500, 1))
    elif kind == "zeros":
        x[::3] = 0.0
    elif kind == "one outlier":
        x[7] *= 1e4 if dtype == np.float16 else 1e17
    elif kind == "a line":
        x = np.linspace(0, 1, 1500)[:, None] * np.ones(3)
    return x.astype(dtype)


KINDS = ["plain", "twins", "grid", "far from the origin", "magnitudes", "zeros", "one outlier"]


@METRICS
@pytest.mark.parametrize("kind", [*KINDS, "a line"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n_clusters", [80, 150])  # many and few rows a center
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_same_bits_as_lloyd(kind: str, dtype: type, metric: str, n_clusters: int) -> None:
    x = difficult(kind, dtype)
    arguments: dict[str, Any] = {
        "n_clusters": n_clusters,
        "metric": metric,
        "init": "random",
        "n_init": 1,
        "random_state": 0,
        "max_iter": 12,
        "tol": 0,
    }
    expected = bits(KMeans(**arguments, algorithm="lloyd").fit(x))
    for isa in fastface.available_isas():
        fastface.set_isa(isa)
        model = KMeans(**arguments, algorithm="pruned", n_threads=3).fit(x)
        assert model.algorithm_ == "pruned"
        assert bits(model) == expected
    assert bits(KMeans(**arguments, algorithm="auto").fit(x)) == expected


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    metric=st.sampled_from(["sqeuclidean", "cosine"]),
    isa=st.sampled_from(fastface.available_isas()),
)
def test_ties(data: st.DataObject, metric: str, isa: str) -> None:
    """Coordinates from a handful of values: centers as near as each other are the rule."""
    n, d = data.draw(st.integers(40, 70)), data.draw(st.integers(1, 5))
    values = st.sampled_from([-1.0, 0.0, 0.5, 1.0])
    x = data.draw(arrays(np.float32, (n, d), elements=values))
    fastface.set_isa(isa)
    arguments: dict[str, Any] = {
        "n_clusters": 40,
        "init": x[:40],
        "n_init": 1,
        "metric": metric,
        "tol": 0,
    }
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert bits(KMeans(**arguments, algorithm="pruned").fit(x)) == bits(
            KMeans(**arguments, algorithm="lloyd").fit(x)
        )


def true_scores(
    x: np.ndarray, centers: np.ndarray, metric: str, shift: np.ndarray, scales: np.ndarray
) -> np.ndarray:
    """Return the scores of docs/exactness.md in float64."""
    a, b = x.astype(np.float64), centers.astype(np.float64)
    if metric == "cosine":
        norms = np.linalg.norm(b, axis=1, keepdims=True)
        b = np.divide(b, norms, out=np.zeros_like(b), where=norms > 0.0)
        return (a * scales[:, None]) @ b.T
    a, b = (a - shift) * scales[:, None], (b - shift) * scales[0]
    return a @ b.T - 0.5 * (b * b).sum(axis=1)


@METRICS
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("isa", fastface.available_isas())
@pytest.mark.parametrize("keep_rows", [False, True])
@pytest.mark.parametrize("few_rows", [False, True])
def test_bounds_hold(kind: str, metric: str, isa: str, keep_rows: bool, few_rows: bool) -> None:
    """Every bound stays above the scores of its group while centers wander about.

    Where there are few rows a center, moves are looked at from the origin, else from the centers.
    """
    fastface.set_isa(isa)
    x = difficult(kind, np.float32)
    x = x[:600] if few_rows else np.concatenate([x, x[::-1] * np.float32(0.75)])[:1700]
    rng = np.random.default_rng(1)
    problem = Problem.over(RowBlocks(x), CpuKMeans(), metric, None, n_threads=2)
    pruned = PrunedAssigner(problem, 100, keep_rows=keep_rows)
    exhaustive = ExhaustiveAssigner(problem)
    centers = x[:100].copy()
    labels = None
    for step in range(7):
        pruned.begin(centers)
        exhaustive.begin(centers)
        labels = pruned.assign(slice(0, len(x)), x, labels)
        np.testing.assert_array_equal(labels, exhaustive.assign(slice(0, len(x)), x, None))
        if step == 0:
            continue
        uppers, bars, shift, scales, left_out = pruned._pruner.look_inside()
        known = bars > -np.inf  # far beyond float32 nothing is bounded
        order = pruned._order
        assert order is not None
        scores = true_scores(x, centers[order], metric, shift, scales)
        without = np.flatnonzero(left_out >= 0)
        np.testing.assert_array_equal(order[left_out[without]], labels[without])
        scores[without, left_out[without]] = -np.inf
        width = {7: 16, 13: 8}[pruned.n_groups]
        starts = np.arange(0, 100, width)
        best = np.maximum.reduceat(scores, starts, axis=1)
        slack = 1e-12 * (1.0 + np.abs(best))
        assert (uppers + slack >= best)[known].all()
        # The own center reaches its bar, by a little or, where it moved, by more.
        own = np.take_along_axis(
            true_scores(x, centers, metric, shift, scales), labels[:, None].astype(int), axis=1
        )[:, 0]
        assert (bars <= own + 1e-12 * (1.0 + np.abs(own))).all()
        size = 10.0 ** -rng.integers(1, 5)
        moves = rng.standard_normal(centers.shape) * size
        moves[rng.random(100) < 0.3] = 0.0
        centers = centers + moves.astype(np.float32)
        if step == 3:
            centers[:50] = x[300:350]  # a jump


def test_chunks_and_missed_passes(faces: Callable) -> None:
    """Rows may come in chunks, and a pass that was broken off spoils nothing."""
    x = faces(3000, 24, 100)
    problem = Problem.over(RowBlocks(x), CpuKMeans(), "sqeuclidean", None, n_threads=2)
    pruned, exhaustive = PrunedAssigner(problem, 120), ExhaustiveAssigner(problem)
    rng = np.random.default_rng(0)
    centers, labels = x[:120].copy(), None
    for step in range(6):
        pruned.begin(centers)
        exhaustive.begin(centers)
        expected = exhaustive.assign(slice(0, len(x)), x, None)
        if step == 3:  # begun, but only some rows came
            pruned.assign(slice(0, 1000), x[:1000], labels[:1000])
        else:
            found = [
                pruned.assign(part, x[part], None if labels is None else labels[part])
                for part in (slice(0, 700), slice(700, 3000))
            ]
            labels = np.concatenate(found)
            np.testing.assert_array_equal(labels, expected)
        centers = centers + (rng.standard_normal(centers.shape) * 0.02).astype(np.float32)


def test_far_from_where_it_began(faces: Callable) -> None:
    """Centers that leave the frame of the first pass behind are looked at in a new one."""
    x = faces(2000, 16, 50)
    problem = Problem.over(RowBlocks(x), CpuKMeans(), "sqeuclidean", None, n_threads=1)
    pruned, exhaustive = PrunedAssigner(problem, 100), ExhaustiveAssigner(problem)
    labels = None
    for size in (1e-9, 1.0, 1e9, 1e-9):
        centers = x[:100] * np.float32(size)
        pruned.begin(centers)
        exhaustive.begin(centers)
        labels = pruned.assign(slice(0, len(x)), x, labels)
        np.testing.assert_array_equal(labels, exhaustive.assign(slice(0, len(x)), x, None))


def test_work_is_left_out(faces: Callable) -> None:
    x = faces(6000, 32, 150)
    problem = Problem.over(RowBlocks(x), CpuKMeans(), "sqeuclidean", None, n_threads=2)
    pruned = PrunedAssigner(problem, 130)
    shares = []
    from fastface.kmeans.iterate import iterate
    from fastface.kmeans.owner import LocalRows

    n_pairs = len(x) * pruned.n_groups
    iterate(
        LocalRows(problem, pruned),
        x[:130].copy(),
        max_iter=15,
        tol=0.0,
        after=lambda state: shares.append(pruned.scored_pairs / n_pairs),
    )
    assert shares[1] == 1.0
    assert shares[-1] < 0.4


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_what_auto_chooses(faces: Callable) -> None:
    x = faces(3000, 16, 60)
    problem = Problem.over(RowBlocks(x), CpuKMeans(), "sqeuclidean", None, n_threads=1)
    slow = AutoAssigner(problem, 140)
    assert slow.name == "pruned"
    labels, centers = None, x[:140].copy()
    for _ in range(6):
        slow.begin(centers)
        labels = slow.assign(slice(0, len(x)), x, labels)
        slow._seconds["lloyd"] = 0.0  # as if comparing everything took no time
    assert slow.name == "lloyd"
    assert KMeans(10, random_state=0).fit(x).algorithm_ == "lloyd"
    with pytest.raises(InvalidInputError, match="bytes of bounds"):
        KMeans(500, algorithm="pruned", memory_limit="500KiB").fit(np.tile(x, (3, 1)))
    tight = KMeans(500, init="random", n_init=1, max_iter=3, memory_limit="500KiB")
    assert tight.fit(np.tile(x, (3, 1))).algorithm_ == "lloyd"
