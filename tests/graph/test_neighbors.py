from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastface import NeighborGraph
from fastface.errors import CorruptFileError, InvalidInputError, StorageError


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)


def test_neighbors_are_the_nearest_others(rows: np.ndarray) -> None:
    graph = NeighborGraph.build(rows, n_neighbors=7)
    distances = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(graph.indices, np.argsort(distances, axis=1)[:, :7])
    np.testing.assert_allclose(graph.distances, np.sort(distances, axis=1)[:, :7], rtol=1e-5)


def test_duplicates_are_neighbors_and_self_is_not() -> None:
    rows = np.ones((5, 3), np.float32)
    graph = NeighborGraph.build(rows, n_neighbors=2)
    assert graph.indices.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    assert not graph.distances.any()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_rows_than_neighbors(rows: np.ndarray, n: int) -> None:
    graph = NeighborGraph.build(rows[:n], n_neighbors=80)
    assert graph.indices.shape == (n, n - 1)
    assert graph.to_csr().nnz == n * (n - 1)


def test_edges_are_undirected_and_unique(rows: np.ndarray) -> None:
    graph = NeighborGraph.build(rows, n_neighbors=7)
    limit = float(np.median(graph.distances))
    first, second = graph.edges(below=limit)
    expected = {
        (min(i, int(j)), max(i, int(j)))
        for i in range(len(rows))
        for j, d in zip(graph.indices[i], graph.distances[i], strict=True)
        if d < limit
    }
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == sorted(expected)


def test_saved_and_loaded(rows: np.ndarray, tmp_path: Path) -> None:
    graph = NeighborGraph.build(rows, n_neighbors=5, metric="cosine")
    graph.save(tmp_path / "graph.npz")
    loaded = NeighborGraph.load(tmp_path / "graph.npz")
    assert loaded.indices.tobytes() == graph.indices.tobytes()
    assert loaded.distances.tobytes() == graph.distances.tobytes()
    assert loaded.metric == "cosine"
    loaded.check_matches(rows)
    with pytest.raises(InvalidInputError, match="not built from this matrix"):
        loaded.check_matches(rows + 1)
    assert [p.name for p in tmp_path.iterdir()] == ["graph.npz"]


def test_damaged_files(rows: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "graph.npz"
    with pytest.raises(StorageError, match="no graph"):
        NeighborGraph.load(path)
    NeighborGraph.build(rows).save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"not a zip file", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError):
            NeighborGraph.load(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(CorruptFileError):
        NeighborGraph.load(path)
    with pytest.raises(StorageError, match="cannot write"):
        NeighborGraph.build(rows).save(tmp_path / "absent" / "graph.npz")


def test_another_version_is_refused(rows, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("fastface.graph.neighbors._VERSION", 99)
    NeighborGraph.build(rows).save(tmp_path / "graph.npz")
    monkeypatch.undo()
    with pytest.raises(CorruptFileError, match="version 99"):
        NeighborGraph.load(tmp_path / "graph.npz")
