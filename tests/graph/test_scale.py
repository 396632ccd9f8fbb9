"""Approximate graphs, and graphs that grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastface
from fastface import NeighborGraph, nearest_neighbors
from fastface.errors import CorruptFileError, InvalidInputError
from fastface.graph.approximate import Effort, approximate_neighbors


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((200, 32))
    rows = centers[rng.integers(0, 200, 8_000)] + 0.6 * rng.standard_normal((8_000, 32))
    return rows.astype(np.float32)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "sqeuclidean"])
def test_most_neighbors_are_found_and_their_distances_are_exact(people, metric) -> None:
    graph = NeighborGraph.build(
        people, n_neighbors=20, metric=metric, method="approximate", recall=0.99
    )
    exact = NeighborGraph.build(people, n_neighbors=20, metric=metric)
    assert exact.method == "exact"
    assert exact.recall.estimate == 1
    hits = np.mean(
        [np.isin(a, b).mean() for a, b in zip(graph.indices, exact.indices, strict=True)]
    )
    assert hits >= 0.985
    assert graph.recall.low - 0.005 <= hits <= graph.recall.high + 0.005
    assert graph.recall.n_rows == 1000
    shared = graph.indices == exact.indices
    np.testing.assert_array_equal(graph.distances[shared], exact.distances[shared])
    assert (np.diff(graph.distances, axis=1) >= 0).all()
    assert (graph.indices != np.arange(len(people))[:, None]).all()
    assert all(len(set(row)) == 20 for row in graph.indices.tolist())


def test_the_measured_recall_tells_a_poor_graph(people: np.ndarray) -> None:
    lazy = Effort(groups=4, passes=0, sample=2000)
    _, indices, recall = approximate_neighbors(people, 20, "euclidean", recall=0.99, effort=lazy)
    _, exact = nearest_neighbors(people, n_neighbors=20, metric="euclidean", exclude_self=True)
    hits = np.mean([np.isin(a, b).mean() for a, b in zip(indices, exact, strict=True)])
    assert recall.low - 0.01 < hits < recall.high + 0.01
    assert hits < 0.9


def test_threads_and_instruction_sets_change_nothing(people: np.ndarray) -> None:
    before = fastface.get_isa()
    answers = set()
    try:
        for isa in fastface.available_isas():
            fastface.set_isa(isa)
            for threads in (1, 3):
                graph = NeighborGraph.build(
                    people[:3000], n_neighbors=12, method="approximate", n_threads=threads
                )
                answers.add(graph.indices.tobytes() + graph.distances.tobytes())
    finally:
        fastface.set_isa(before)
    assert len(answers) == 1
    other = NeighborGraph.build(people[:3000], n_neighbors=12, method="approximate", random_state=1)
    assert other.indices.shape == (3000, 12)


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_few_rows(people: np.ndarray, n: int) -> None:
    graph = NeighborGraph.build(people[:n], method="approximate")
    exact = NeighborGraph.build(people[:n])
    np.testing.assert_array_equal(graph.indices, exact.indices)
    np.testing.assert_array_equal(graph.distances, exact.distances)


def test_duplicates_and_zeros() -> None:
    """Many equal rows: cells cannot be cut by distance, and lists are full of equals."""
    rows = np.zeros((6_000, 8), np.float32)
    rows[4_000:] = np.random.default_rng(0).standard_normal((2_000, 8))
    graph = NeighborGraph.build(rows, n_neighbors=10, method="approximate")
    assert (graph.indices >= 0).all()
    assert (graph.indices != np.arange(len(rows))[:, None]).all()
    assert not graph.distances[:4_000].any()
    assert graph.recall.estimate > 0.95
    with pytest.raises(InvalidInputError, match="all zero"):
        NeighborGraph.build(rows, method="approximate", normalize=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "fast"}, "unknown method 'fast'"),
        ({"method": "approximate", "metric": "inner_product"}, "no approximate graph"),
        ({"method": "approximate", "device": "reference"}, "no approximate graph"),
        ({"recall": 1.5}, "recall"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_bad_arguments(people: np.ndarray, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        NeighborGraph.build(people[:100], **arguments)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("n_old", [30, 1_500, 1_999])
def test_a_grown_graph_is_the_one_built_at_once(people, metric, n_old) -> None:
    rows = people[:2_000].copy()
    rows[1_990:1_995] = rows[3]  # duplicates of an old row, more than the few looked at first
    old = NeighborGraph.build(rows[:n_old], n_neighbors=15, metric=metric, normalize=True)
    grown = old.extend(rows)
    whole = NeighborGraph.build(rows, n_neighbors=15, metric=metric, normalize=True)
    np.testing.assert_array_equal(grown.indices, whole.indices)
    np.testing.assert_array_equal(grown.distances, whole.distances)
    grown.check_matches(rows)
    assert grown.extend(rows) is grown


def test_growth_refuses_other_rows(people: np.ndarray) -> None:
    graph = NeighborGraph.build(people[:100], n_neighbors=5)
    with pytest.raises(InvalidInputError, match="not built from this matrix"):
        graph.extend(people[1:200])
    with pytest.raises(InvalidInputError, match="not built from this matrix"):
        graph.extend(people[:50])
    with pytest.raises(InvalidInputError, match="one row"):
        NeighborGraph.build(people[:1]).extend(people[:3])


@pytest.mark.parametrize("mmap", [False, True])
def test_half_the_digits(people: np.ndarray, tmp_path: Path, mmap: bool) -> None:
    graph = NeighborGraph.build(people[:2_000], n_neighbors=30, method="approximate")
    graph.save(tmp_path / "full.npz")
    graph.save(tmp_path / "half.npz", half=True)
    sizes = [(tmp_path / name).stat().st_size for name in ("half.npz", "full.npz")]
    assert sizes[0] / sizes[1] == pytest.approx(0.75, abs=0.01)
    loaded = NeighborGraph.load(tmp_path / "half.npz", mmap=mmap)
    assert loaded.distances.dtype == np.float32
    np.testing.assert_array_equal(loaded.indices, graph.indices)
    np.testing.assert_allclose(loaded.distances, graph.distances, rtol=1e-3)
    assert (loaded.method, loaded.recall) == ("approximate", graph.recall)
    far = NeighborGraph.build(people[:10] * 1e6, n_neighbors=3)
    with pytest.raises(InvalidInputError, match="float16"):
        far.save(tmp_path / "far.npz", half=True)


def test_a_file_of_the_first_version_is_refused(people, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("fastface.graph.neighbors._VERSION", 1)
    NeighborGraph.build(people[:50]).save(tmp_path / "graph.npz")
    monkeypatch.undo()
    with pytest.raises(CorruptFileError, match=r"version 1; this fastface reads .* version 2"):
        NeighborGraph.load(tmp_path / "graph.npz")


def test_more_groups_are_visited_where_there_are_more() -> None:
    visited = [Effort().visited(n) for n in (1_000, 200_000, 1_000_000, 5_000_000)]
    assert visited == [240, 240, 537, 1200]
