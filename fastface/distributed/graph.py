"""`fastface.distributed.NeighborGraph`: the neighbour graph over the workers of a Dask cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.distributed.cluster import find_client, gather, submit
from fastface.distributed.inputs import DividedRows, as_dask, divide
from fastface.distributed.partition import open_rows
from fastface.distributed.regions import Approach, approximate_lists
from fastface.distributed.searching import (
    Lists,
    Search,
    check_rows,
    completed,
    exact_lists,
    measured,
    name_type,
)
from fastface.errors import InvalidInputError
from fastface.graph import NeighborGraph as LocalGraph
from fastface.graph.approximate import Recall, choose_method
from fastface.validation import check_integer, check_metric

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["NeighborGraph"]

_EXACT = Recall(1.0, 1.0, 1.0, 0)


@dataclass(frozen=True, eq=False)
class NeighborGraph:
    """The k nearest neighbours of every row, lists where the rows are.

    Attributes
    ----------
    indices : dask.array.Array of int32 (int64 beyond 2^31 rows), shape (n_samples, n_neighbors)
        Neighbours in order of (distance, index); chunks lie on the workers.
    distances : dask.array.Array of float32, shape (n_samples, n_neighbors)
        Distances in `metric`.
    metric, normalized, n_features, method, recall
        As those of `fastface.NeighborGraph`.
    """

    indices: Any
    distances: Any
    metric: str
    normalized: bool
    n_features: int
    method: str
    recall: Recall
    lists: tuple[Any, ...]  # futures of (distances, indices), one a partition
    rows: DividedRows
    client: Any

    @classmethod
    def build(
        cls,
        X: Any,
        *,
        n_neighbors: int = 80,
        metric: str = "euclidean",
        normalize: bool = False,
        method: str = "auto",
        recall: float = 0.98,
        region_rows: int = 20_000,
        probes: int = 4,
        random_state: int = 0,
        device: str = "auto",
        n_threads: int = 1,
        client: Any = None,
    ) -> NeighborGraph:
        """Find the neighbours of every row among all others.

        Parameters
        ----------
        X : dask.array.Array of shape (n_samples, n_features), str or path
            Rows, divided along the first axis; or a ``.npy`` file or a run folder that all workers
            can open.
        n_neighbors, metric, normalize
            See `fastface.NeighborGraph.build`.
        method : {"auto", "exact", "approximate"}
            ``"exact"`` compares every partition with every other one: the arrays have the bits of
            `fastface.NeighborGraph.build` with ``method="exact"``, for any number of workers and
            any division of the rows.  ``"approximate"`` divides the rows into regions, sends rows
            near a border to both sides of it, and finds neighbours within regions: the graph
            depends on the rows, `region_rows`, `probes` and the seed alone.  ``"auto"`` is exact up
            to 200,000 rows.
        recall : float
            What an approximate graph aims at within each region.
        region_rows : int
            Rows that belong to a region, about; two or three times as many are in it.  A region of
            up to 60,000 rows in all is searched exactly, a larger one by the approximate builder
            of one process.
        probes : int
            Cells whose regions a row is sent to: more of them find more neighbours across borders.
        random_state : int
            Seed of an approximate graph.
        device : str
            Where workers search.
        n_threads : int
            Threads of one task; a worker works on as many tasks as it has threads.
        client : distributed.Client, optional
            The cluster; by default the current client.

        Returns
        -------
        NeighborGraph
            When it returns, all lists are on the workers.

        Raises
        ------
        InvalidInputError
            If the rows or a parameter cannot be used.
        BackendUnavailableError
            If there are no workers, or they die again and again.
        """
        check_metric(metric)
        wanted = check_integer(n_neighbors, name="n_neighbors", low=1)
        seed = check_integer(random_state, name="random_state", low=0)
        if not 0 < recall <= 1:
            raise InvalidInputError(f"recall must be above 0 and at most 1, got {recall!r}")
        approach = Approach(
            check_integer(region_rows, name="region_rows", low=1),
            check_integer(probes, name="probes", low=1),
            float(recall),
            seed,
        )
        found = find_client(client)
        with found.as_current():
            rows = divide(X, found)
            chosen = choose_method(method, rows.n_rows, metric, device)
            search = Search(
                min(wanted, rows.n_rows - 1),
                metric,
                bool(normalize),
                device,
                check_integer(n_threads, name="n_threads", low=1),
            )
            check_rows(rows, found, normalize)
            reached = _EXACT
            if chosen == "approximate" and search.k:
                lists = completed(
                    approximate_lists(rows, search, approach, found), rows, search, found
                )
                reached = measured(lists, rows, search, seed, found)
            else:
                lists = exact_lists(rows, search, found)
            gather(found, [submit(found, _done, one) for one in lists])
        return cls._of(lists, rows, search, chosen, reached, found)

    @classmethod
    def _of(
        cls,
        lists: Sequence[Future],
        rows: DividedRows,
        search: Search,
        method: str,
        recall: Recall,
        client: Client,
    ) -> NeighborGraph:
        indices, distances = (
            as_dask(
                [submit(client, _part, one, which) for one in lists], rows.sizes, dtype, search.k
            )
            for which, dtype in ((1, name_type(rows.n_rows)), (0, np.dtype(np.float32)))
        )
        return cls(
            indices,
            distances,
            search.metric,
            search.normalize,
            rows.n_features,
            method,
            recall,
            tuple(lists),
            rows,
            client,
        )

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.rows.n_rows

    @property
    def n_neighbors(self) -> int:
        """Number of neighbours of each row."""
        return int(self.indices.shape[1])

    def compute(self) -> LocalGraph:
        """Return the graph in the memory of this process, to be saved or used there.

        Returns
        -------
        fastface.NeighborGraph
            Equal to the one that one process would have built, where the graph is exact.
        """
        digest = hashlib.sha256(f"{self.n_samples} {self.n_features}".encode())
        for source in self.rows.sources:  # in order, one at a time: a digest has no parts
            (part,) = gather(self.client, [submit(self.client, _as_float32, source)])
            digest.update(part.tobytes())
        parts = gather(self.client, self.lists)
        return LocalGraph(
            np.concatenate([part[1] for part in parts]).astype(np.int32),
            np.concatenate([part[0] for part in parts]),
            self.metric,
            self.normalized,
            self.n_features,
            digest.hexdigest(),
            self.method,
            self.recall,
        )


def _part(lists: Lists, which: int) -> NDArray[Any]:
    return lists[which]


def _done(lists: Lists) -> int:
    return len(lists[0])


def _as_float32(source: Any) -> NDArray[np.float32]:
    return open_rows(source).astype("<f4")
