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


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("duplicates", [False, True])
def test_symmetric_views(rows: np.ndarray, mutual: bool, duplicates: bool) -> None:
    if duplicates:
        rows = np.repeat(rows[:20], 3, axis=0)
    graph = NeighborGraph.build(rows, n_neighbors=7)
    limit = float(np.median(graph.distances[:, -1]))
    lists = [set(row.tolist()) for row in graph.indices]
    expected = {}
    for i, row in enumerate(graph.indices):
        for j, distance in zip(row.tolist(), graph.distances[i].tolist(), strict=True):
            if distance < limit and (not mutual or i in lists[j]):
                expected[i, j] = expected[j, i] = distance
    view = graph.symmetric(mutual=mutual, below=limit).tocoo()
    found = dict(
        zip(zip(view.row.tolist(), view.col.tolist(), strict=True), view.data.tolist(), strict=True)
    )
    assert found == expected
    assert view.nnz == len(expected)


@pytest.mark.parametrize("mmap", [False, True])
def test_saved_and_loaded(rows: np.ndarray, tmp_path: Path, mmap: bool) -> None:
    graph = NeighborGraph.build(rows, n_neighbors=5, metric="cosine", normalize=True)
    graph.save(tmp_path / "graph.npz")
    loaded = NeighborGraph.load(tmp_path / "graph.npz", mmap=mmap)
    for array in (loaded.indices, loaded.distances):
        assert isinstance(array, np.memmap) is mmap
        assert array.ctypes.data % 64 == 0 or not mmap
    assert loaded.indices.tobytes() == graph.indices.tobytes()
    assert loaded.distances.tobytes() == graph.distances.tobytes()
    assert (loaded.metric, loaded.normalized, loaded.n_features) == ("cosine", True, 8)
    loaded.check_matches(rows.astype(np.float64))
    np.testing.assert_array_equal(np.load(tmp_path / "graph.npz")["indices"], graph.indices)
    with pytest.raises(InvalidInputError, match="not built from this matrix"):
        loaded.check_matches(rows + 1)
    assert [p.name for p in tmp_path.iterdir()] == ["graph.npz"]


def test_damaged_files(rows: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "graph.npz"
    with pytest.raises(StorageError, match="no file"):
        NeighborGraph.load(path)
    NeighborGraph.build(rows).save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"not a zip file", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
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


@pytest.mark.parametrize("mmap", [False, True])
def test_any_damaged_byte(rows: np.ndarray, tmp_path: Path, mmap: bool) -> None:
    """A changed byte is refused or without effect; mapped, it never leads out of the graph."""
    path = tmp_path / "graph.npz"
    graph = NeighborGraph.build(rows, n_neighbors=3)
    graph.save(path)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            loaded = NeighborGraph.load(path, mmap=mmap)
        except CorruptFileError:
            refused += 1
            continue
        assert loaded.indices.min() >= 0
        assert loaded.indices.max() < len(rows)
        if not mmap:
            assert loaded.indices.tobytes() == graph.indices.tobytes()
            assert loaded.distances.tobytes() == graph.distances.tobytes()
    assert refused > len(whole) / 7 / 3


def test_what_was_there_survives_a_failed_write(rows, tmp_path, monkeypatch) -> None:
    path = tmp_path / "graph.npz"
    NeighborGraph.build(rows, n_neighbors=3).save(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        NeighborGraph.build(rows, n_neighbors=4).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["graph.npz"]


def test_a_new_graph_takes_the_place_of_the_old_at_once(rows, tmp_path) -> None:
    """Whoever has the old file open, or mapped, keeps the old graph."""
    path = tmp_path / "graph.npz"
    graph = NeighborGraph.build(rows, n_neighbors=3)
    graph.save(path)
    mapped = NeighborGraph.load(path, mmap=True)
    NeighborGraph.build(rows[::-1], n_neighbors=3).save(path)
    np.testing.assert_array_equal(mapped.indices, graph.indices)


def test_normalized_rows(rows: np.ndarray) -> None:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    graph = NeighborGraph.build(rows * 1e-30, n_neighbors=5, normalize=True)
    np.testing.assert_array_equal(graph.indices, NeighborGraph.build(unit, n_neighbors=5).indices)
    rows[[3, 8]] = 0
    with pytest.raises(InvalidInputError, match=r"2 of 60 rows .* \(rows 3, 8\)"):
        NeighborGraph.build(rows, normalize=True)


@pytest.mark.parametrize(
    ("X", "arguments", "message"),
    [
        (np.ones((3, 2)), {"n_neighbors": 0}, "n_neighbors"),
        (np.ones((1, 2)), {"metric": "manhattan"}, "manhattan"),
        (np.array([[0.0], [np.inf]]), {}, r"X\[1, 0\] is inf"),
    ],
)
def test_bad_input(X: np.ndarray, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        NeighborGraph.build(X, **arguments)
