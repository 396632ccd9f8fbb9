"""The neighbour graph of a cluster: bits of one process where exact, one answer where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import fastface
from fastface.distributed import KMeans, NeighborGraph
from fastface.distributed.regions import group_cells
from fastface.errors import InvalidInputError, StorageError

EVEN = 300
ODD = (1, 407, 13, 501, 278)  # of 1200 rows


@pytest.fixture(scope="module")
def rows(people: Callable) -> np.ndarray:
    """Rows with equals: duplicates, and coordinates so coarse that distances repeat."""
    x = people(1200, 12, 40)
    x[400:440] = x[7]
    x[700:900] = np.round(x[700:900] * 4)
    x[700:900, 0] += 1
    return x


def same_graph(theirs: fastface.NeighborGraph, ours: fastface.NeighborGraph) -> None:
    assert theirs.indices.tobytes() == ours.indices.tobytes()
    assert theirs.distances.tobytes() == ours.distances.tobytes()
    assert (theirs.fingerprint, theirs.method) == (ours.fingerprint, ours.method)


@pytest.mark.parametrize("sizes", [EVEN, ODD], ids=["even", "odd"])
def test_the_exact_graph_of_one_process(
    client: Client, rows: np.ndarray, in_chunks: Callable, sizes: Any
) -> None:
    for options in ({"metric": "cosine"}, {"normalize": True}):
        ours = fastface.NeighborGraph.build(rows, n_neighbors=20, **options)
        theirs = NeighborGraph.build(
            in_chunks(rows, sizes), n_neighbors=20, client=client, **options
        )
        assert theirs.indices.shape == theirs.distances.shape == (1200, 20)
        same_graph(theirs.compute(), ours)


def test_other_rows(two_workers: Client, rows: np.ndarray, in_chunks: Callable) -> None:
    for x, k, metric in (
        (rows.astype(np.float16), 700, "sqeuclidean"),  # more neighbours than a partition has rows
        (rows.astype(np.float64)[:3], 5, "inner_product"),
    ):
        ours = fastface.NeighborGraph.build(x, n_neighbors=k, metric=metric)
        divided = in_chunks(x, len(x) // 3)
        theirs = NeighborGraph.build(divided, n_neighbors=k, metric=metric, client=two_workers)
        same_graph(theirs.compute(), ours)


def test_one_approximate_graph(
    client: Client, rows: np.ndarray, in_chunks: Callable, cache: dict
) -> None:
    """However many workers and partitions there are."""
    for sizes in (EVEN, ODD):
        graph = NeighborGraph.build(
            in_chunks(rows, sizes),
            n_neighbors=10,
            method="approximate",
            region_rows=300,
            client=client,
        )
        found = graph.compute()
        first = cache.setdefault("graph", found)
        same_graph(found, first)
        assert graph.recall == first.recall
    exact = fastface.NeighborGraph.build(rows, n_neighbors=10)
    as_near = (found.distances <= exact.distances[:, -1:]).mean()
    assert 0.9 < as_near < 1
    assert graph.recall.low <= as_near <= graph.recall.high
    listed = np.sort(found.indices, axis=1)
    assert (listed[:, 1:] != listed[:, :-1]).all()
    assert (found.indices != np.arange(1200)[:, None]).all()


@pytest.fixture(scope="module")
def cache() -> dict:
    return {}


def test_regions_smaller_than_a_list(
    two_workers: Client, rows: np.ndarray, in_chunks: Callable
) -> None:
    """Rows that find too few others there are searched exactly."""
    graph = NeighborGraph.build(
        in_chunks(rows, 400),
        n_neighbors=150,
        method="approximate",
        region_rows=100,
        probes=1,
        client=two_workers,
    ).compute()
    assert (graph.indices >= 0).all()
    assert np.isfinite(graph.distances).all()


def test_regions_are_about_as_large() -> None:
    rng = np.random.default_rng(0)
    centers, counts = rng.standard_normal((200, 8)), rng.integers(1, 100, 200)
    regions = group_cells(centers, counts, 7)
    sizes = np.bincount(regions, counts, minlength=7)
    assert (np.abs(sizes - sizes.mean()) < 0.35 * sizes.mean()).all()
    alone = group_cells(centers[:7], np.array([1000, 1, 1, 1, 1, 1, 1]), 7)
    assert sorted(alone) == list(range(7))


def test_a_run_folder(two_workers: Client, rows: np.ndarray, tmp_path: Path) -> None:
    """Finished or not, its rows are where they are."""
    with pytest.raises(StorageError, match="neither embeddings"):
        NeighborGraph.build(tmp_path, client=two_workers)
    for number, part in enumerate(np.array_split(rows, 5)):
        folder = tmp_path / "shards" / f"{number:08d}"
        folder.mkdir(parents=True)
        np.save(folder / "embeddings.npy", part)
    ours = fastface.NeighborGraph.build(rows, n_neighbors=5)
    of_shards = NeighborGraph.build(tmp_path, n_neighbors=5, client=two_workers)
    same_graph(of_shards.compute(), ours)
    again = NeighborGraph.build(
        tmp_path, n_neighbors=5, method="approximate", region_rows=300, client=two_workers
    )
    centers = KMeans(5, random_state=0, client=two_workers).fit(tmp_path).cluster_centers_
    np.save(tmp_path / "embeddings.npy", rows)
    of_file = NeighborGraph.build(str(tmp_path), n_neighbors=5, client=two_workers)
    same_graph(of_file.compute(), ours)
    once_more = NeighborGraph.build(
        tmp_path, n_neighbors=5, method="approximate", region_rows=300, client=two_workers
    )
    same_graph(once_more.compute(), again.compute())
    model = fastface.KMeans(5, init="k-means||", random_state=0).fit(rows)
    assert centers.tobytes() == model.cluster_centers_.tobytes()


def test_bad_input(two_workers: Client, rows: np.ndarray, in_chunks: Callable) -> None:
    for value, message in ((np.nan, r"X\[1001\] holds"), (0.0, "row 1001 of X is all zero")):
        x = rows.copy()
        x[1001] = value
        with pytest.raises(InvalidInputError, match=message):
            NeighborGraph.build(in_chunks(x, 300), normalize=True, client=two_workers)
    divided = in_chunks(rows, 300)
    with pytest.raises(InvalidInputError, match="no approximate graph for metric"):
        NeighborGraph.build(
            divided, method="approximate", metric="inner_product", client=two_workers
        )
    with pytest.raises(InvalidInputError, match="recall must be above 0"):
        NeighborGraph.build(divided, recall=0, client=two_workers)
