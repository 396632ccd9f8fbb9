"""Approximate neighbours: rows in regions, searched one region a task, with borders exchanged.

An inverted file: rows belong to the nearest of some thousand drawn rows, its cell.  Near cells make
a region, small enough for one worker.  A row is sent to the region of its nearest cell and, across
the border, to those of the next cells.  Regions are searched by the local builder, and each row
merges the lists it got: so a pair is found where the region of either end has both.

The closure over nearest cells is that of Q. Chen et al., "SPANN", NeurIPS 2021, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fastface.distances import nearest_neighbors
from fastface.distributed.cluster import Shared, gather, submit
from fastface.distributed.inputs import DividedRows
from fastface.distributed.merging import empty_lists, merge_lists
from fastface.distributed.partition import FileRows, open_rows
from fastface.distributed.searching import Lists, Search, drawn_rows, name_type
from fastface.graph import NeighborGraph, unit_rows

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = [
    "EXACT_ROWS",
    "Approach",
    "approximate_lists",
    "count_visits",
    "divide_space",
    "group_cells",
]

_CELLS_OF_REGION = 64  # on average: fine enough to divide rows well
_MOST_CELLS = 1 << 16  # every row is compared with all of them
EXACT_ROWS = 60_000  # up to which a region is searched exactly, which takes no longer


@dataclass(frozen=True)
class Approach:
    """How rows are divided.

    Attributes
    ----------
    region_rows : int
        Rows that belong to a region.
    probes : int
        Cells that a row looks at.
    recall : float
        That each region aims at.
    seed : int
        Of everything that is drawn.
    """

    region_rows: int
    probes: int
    recall: float
    seed: int


class _Found(NamedTuple):
    """Neighbours of the rows that came to a region."""

    names: NDArray[np.int64]  # of the rows, increasing
    distances: NDArray[np.float32]
    neighbors: NDArray[np.int64]


def approximate_lists(
    rows: DividedRows, search: Search, approach: Approach, client: Client
) -> list[Future]:
    """Return futures of the lists of each partition.

    Parameters
    ----------
    rows : DividedRows
        Rows.
    search : Search
        What for.
    approach : Approach
        How.
    client : distributed.Client
        The cluster.
    """
    cells, region_of, n_regions = divide_space(
        rows, search, approach.region_rows, approach.probes, approach.seed, client
    )
    visits = [
        submit(client, _visits, one, first, region_of, n_regions)
        for one, first in zip(cells, rows.first_rows, strict=True)
    ]
    regions = [_region(r, rows, visits, search, approach, client) for r in range(n_regions)]
    return [
        submit(
            client,
            _collect,
            [submit(client, _slice, region, first, first + size) for region in regions],
            first,
            size,
            search.k,
            name_type(rows.n_rows),
        )
        for first, size in zip(rows.first_rows, rows.sizes, strict=True)
    ]


def divide_space(
    rows: DividedRows, search: Search, region_rows: int, probes: int, seed: int, client: Client
) -> tuple[list[Future], Shared, int]:
    """Divide rows into cells, and cells into regions.

    Parameters
    ----------
    rows, search, client
        See `approximate_lists`.
    region_rows : int
        Rows of a region, about.
    probes : int
        Cells to find for each row.
    seed : int
        Of the rows that cells are around.

    Returns
    -------
    cells : list of Future
        Nearest cells of the rows of each partition, (n_rows, probes).
    region_of : Shared
        Region of each cell.
    n_regions : int
    """
    n_regions = max(1, round(rows.n_rows / region_rows))
    n_cells = min(rows.n_rows, _MOST_CELLS, n_regions * _CELLS_OF_REGION)
    rng = np.random.Generator(np.random.Philox(key=[seed, 1 << 33]))
    drawn = np.sort(rng.choice(rows.n_rows, n_cells, replace=False, shuffle=False))
    centers = _compared(drawn_rows(drawn, rows, search, client), search)
    there = Shared(client, centers)
    near = min(probes, n_cells)
    cells = [submit(client, _nearest_cells, s, there, near, search) for s in rows.sources]
    counts = sum(gather(client, [submit(client, _count, c, n_cells) for c in cells]))
    return cells, Shared(client, group_cells(centers, counts, n_regions)), n_regions


def count_visits(
    rows: DividedRows, region_rows: int, client: Client, *, probes: int = 4, seed: int = 0
) -> float:
    """Return how many regions a row is sent to on average.

    Parameters
    ----------
    rows, client
        See `approximate_lists`.
    region_rows, probes, seed
        See `divide_space`.
    """
    search = Search(0, "euclidean", True, "auto", 1)
    cells, region_of, _ = divide_space(rows, search, region_rows, probes, seed, client)
    sent: int = sum(gather(client, [submit(client, _sent, c, region_of) for c in cells]))
    return sent / rows.n_rows


def _sent(cells: NDArray[np.int32], region_of: NDArray[np.int32]) -> int:
    regions = np.sort(region_of[cells], axis=1)
    return len(regions) + int((regions[:, 1:] != regions[:, :-1]).sum())


def _region(
    number: int,
    rows: DividedRows,
    visits: list[Future],
    search: Search,
    approach: Approach,
    client: Client,
) -> Future:
    """Return the future of what is found in one region."""
    if all(isinstance(source, FileRows) for source in rows.sources):
        names = [submit(client, _visitors, one, number) for one in visits]
        path = rows.sources[0].path
        return submit(client, _search_file, path, names, search, approach)
    parts = [
        submit(client, _sent_rows, source, first, one, number)
        for source, first, one in zip(rows.sources, rows.first_rows, visits, strict=True)
    ]
    return submit(client, _search_parts, parts, search, approach)


def _compared(rows: NDArray[Any], search: Search) -> NDArray[Any]:
    """Return rows whose Euclidean distances order neighbours as the metric does."""
    return unit_rows(rows) if search.metric == "cosine" else rows


def _nearest_cells(
    source: Any, centers: NDArray[Any], probes: int, search: Search
) -> NDArray[np.int32]:
    _, cells = nearest_neighbors(
        _compared(search.rows(source), search),
        centers,
        n_neighbors=probes,
        metric="sqeuclidean",
        n_threads=search.n_threads,
    )
    return cells


def _count(cells: NDArray[np.int32], n_cells: int) -> NDArray[np.int64]:
    return np.bincount(cells[:, 0], minlength=n_cells)


def group_cells(
    centers: NDArray[Any], counts: NDArray[np.int64], n_regions: int
) -> NDArray[np.int32]:
    """Divide cells into regions of near cells and of about as many rows.

    Cells are cut in two along the principal axis of their centers, again and again.

    Parameters
    ----------
    centers : ndarray of shape (n_cells, n_features)
        Of the cells.
    counts : ndarray of int64, shape (n_cells,)
        Rows of each.
    n_regions : int
        How many regions, at most the number of cells.

    Returns
    -------
    ndarray of int32, shape (n_cells,)
        Region of each cell.
    """
    region_of = np.zeros(len(centers), np.int32)

    def cut(cells: NDArray[np.int64], first: int, count: int) -> None:
        region_of[cells] = first
        if count == 1:
            return
        low = count // 2
        spread = centers[cells].astype(np.float64)
        spread -= spread.mean(axis=0)
        axis = np.linalg.eigh(spread.T @ spread)[1][:, -1]
        order = cells[np.argsort(spread @ axis, kind="stable")]
        before = np.cumsum(counts[order])
        place = int(np.searchsorted(before, before[-1] * (low / count))) + 1
        place = min(max(place, low), len(cells) - (count - low))  # a cell a region at least
        cut(order[:place], first, low)
        cut(order[place:], first + low, count - low)

    # On one thread sums have one order; the matrices are small.
    with threadpool_limits(1, user_api="blas"):
        cut(np.arange(len(centers)), 0, n_regions)
    return region_of


def _visits(
    cells: NDArray[np.int32], first: int, region_of: NDArray[np.int32], n_regions: int
) -> list[NDArray[np.int64]]:
    """Return the names of the rows that each region gets."""
    regions = region_of[cells]
    return [first + np.flatnonzero((regions == r).any(axis=1)) for r in range(n_regions)]


def _visitors(visits: list[NDArray[np.int64]], number: int) -> NDArray[np.int64]:
    return visits[number]


def _sent_rows(
    source: Any, first: int, visits: list[NDArray[np.int64]], number: int
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    return visits[number], open_rows(source)[visits[number] - first]


def _search_file(
    path: str, parts: list[NDArray[np.int64]], search: Search, approach: Approach
) -> _Found:
    names = np.concatenate(parts)
    rows = FileRows(path, 0, int(names.max(initial=-1)) + 1).open()
    return _search(names, rows[names], search, approach)


def _search_parts(
    parts: list[tuple[NDArray[np.int64], NDArray[Any]]], search: Search, approach: Approach
) -> _Found:
    names, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _search(names, rows, search, approach)


def _search(
    names: NDArray[np.int64], rows: NDArray[Any], search: Search, approach: Approach
) -> _Found:
    if len(names) < 2:
        empty = empty_lists(len(names), 0, np.float32)
        return _Found(names, *empty)
    graph = NeighborGraph.build(
        rows,
        n_neighbors=search.k,
        metric=search.metric,
        normalize=search.normalize,
        method="exact" if len(rows) <= EXACT_ROWS else "approximate",
        recall=approach.recall,
        random_state=approach.seed,
        n_threads=search.n_threads,
    )
    return _Found(names, graph.distances, names[graph.indices])


def _slice(found: _Found, start: int, stop: int) -> _Found:
    here = slice(*np.searchsorted(found.names, [start, stop]))
    return _Found(found.names[here], found.distances[here], found.neighbors[here])


def _collect(parts: list[_Found], first: int, size: int, k: int, names: np.dtype[Any]) -> Lists:
    distances, neighbors = empty_lists(size, k, np.float32)
    for part in parts:
        if part.distances.size:
            merge_lists(distances, neighbors, part.names - first, part.distances, part.neighbors)
    return distances, neighbors.astype(names)
