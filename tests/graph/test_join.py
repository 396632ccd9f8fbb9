"""Exact graphs by the self-join: whatever the rows, the bits of a search of all for all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import fastface
from fastface import NeighborGraph, nearest_neighbors
from fastface.errors import InvalidInputError
from fastface.graph.join import join_exactly, leading_directions, worth_joining

N, K = 1_700, 12  # rows that fill neither the last group nor the last panel
Rows = np.ndarray


def people(rng: np.random.Generator, dim: int = 40) -> Rows:
    scale = np.exp(-np.arange(dim) / 8)
    centers = rng.standard_normal((200, dim)) * scale
    return centers[rng.integers(0, 200, N)] + 0.4 * scale * rng.standard_normal((N, dim))


def crowd(rng: np.random.Generator) -> Rows:
    """One row many times over, and many hardly different ones: integers tell none apart."""
    rows = people(rng)
    rows[:500] = rows[0]
    rows[500:1_100] = rows[500] + 1e-5 * rng.standard_normal((600, rows.shape[1]))
    return rows


def uneven(rng: np.random.Generator) -> Rows:
    """Rows of very different lengths, one feature far above the others."""
    rows = rng.standard_normal((N, 30)) * 10.0 ** rng.integers(-3, 3, (N, 1))
    rows[:, 7] *= 100
    rows[17] = 0
    return rows


CASES: dict[str, Callable[[np.random.Generator], Rows]] = {
    "people": lambda rng: people(rng).astype(np.float32),
    "half": lambda rng: people(rng).astype(np.float16),
    "far away": lambda rng: people(rng) + 1e4,
    "crowd": lambda rng: crowd(rng).astype(np.float32),
    "uneven": uneven,
    "huge": lambda rng: people(rng, 20) * 1e140,
    "tiny": lambda rng: people(rng, 20) * 1e-140,
    "no leading directions": lambda rng: rng.standard_normal((N, 65)).astype(np.float32),
    "one direction": lambda rng: np.outer(rng.standard_normal(N), np.ones(17, np.float32)),
    "all equal": lambda rng: np.ones((N, 16), np.float32),
}


@pytest.mark.parametrize("case", CASES)
def test_the_join_is_the_search(case: str) -> None:
    rows = CASES[case](np.random.default_rng(5))
    distances, indices = nearest_neighbors(
        rows, n_neighbors=K, metric="euclidean", exclude_self=True
    )
    before = fastface.get_isa()
    try:
        for isa in fastface.available_isas():
            fastface.set_isa(isa)
            found, names = join_exactly(rows, K, "euclidean", 2)
            np.testing.assert_array_equal(names, indices, err_msg=isa)
            assert found.tobytes() == distances.tobytes(), isa
    finally:
        fastface.set_isa(before)


def test_exact_graphs_use_it_where_it_serves() -> None:
    rows = np.tile(CASES["people"](np.random.default_rng(5)), (3, 1))  # every row three times
    assert worth_joining(rows, K, "sqeuclidean", "auto")
    graph = NeighborGraph.build(rows, n_neighbors=K, metric="sqeuclidean", n_threads=2)
    distances, indices = nearest_neighbors(
        rows, n_neighbors=K, metric="sqeuclidean", exclude_self=True
    )
    np.testing.assert_array_equal(graph.indices, indices)
    np.testing.assert_array_equal(graph.distances, distances)
    for k, metric, device in (
        (K, "cosine", "cpu"),
        (K, "euclidean", "reference"),
        (N // 4, "euclidean", "cpu"),
    ):
        assert not worth_joining(rows, k, metric, device)


def test_norms_beyond_the_definition_are_refused() -> None:
    rows = CASES["people"](np.random.default_rng(5)).astype(np.float64)
    rows[100] *= 1e155
    with pytest.raises(InvalidInputError, match="100"):
        NeighborGraph.build(rows, n_neighbors=K)


def test_directions_hold_most_of_the_rows() -> None:
    rows = CASES["people"](np.random.default_rng(5))
    center = rows.mean(axis=0, dtype=np.float64)
    directions = leading_directions(rows, center)
    assert directions.shape[1] % 4 == 0
    assert directions.shape[1] <= 20  # of 40: variances fall off as exp(-j / 4)
    np.testing.assert_allclose(directions.T @ directions, np.eye(directions.shape[1]), atol=1e-12)
    shifted = rows - center
    assert ((shifted @ directions) ** 2).sum() >= 0.89 * (shifted**2).sum()
