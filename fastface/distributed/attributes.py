"""`fastface.distributed.AttributeDiscovery`: splits between rows on the workers of a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from fastface.attributes import AttributeDiscovery as LocalDiscovery
from fastface.attributes.checks import check_parameters
from fastface.attributes.significance import AttributeScore
from fastface.attributes.splits import SearchParameters, Split, find_splits, sides
from fastface.attributes.storage import Names
from fastface.attributes.tree import SplitNode
from fastface.distributed.cluster import Shared, find_client, gather, submit
from fastface.distributed.inputs import DividedRows, as_dask, divide, is_dask
from fastface.distributed.partition import open_rows
from fastface.distributed.searching import Search, check_rows, drawn_rows
from fastface.errors import InvalidInputError

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["AttributeDiscovery"]

_ROOT = 1  # of the tree; the children of node c are 2 c and 2 c + 1
_AS_THEY_ARE = Search(0, "euclidean", False, "auto", 1)


class AttributeDiscovery(LocalDiscovery):
    """Find what a face model tells apart, in embeddings on the workers of a Dask cluster.

    Directions are searched in as many rows, drawn by the same numbers, as in one process, so that
    `hyperplanes_` have the bits of `fastface.AttributeDiscovery`; workers then place all rows.  A
    row whose distance from a threshold is within the rounding of a float64 sum may be placed on the
    other side than there.

    Divisions within people want all photos of a person in one place and are left to
    `fastface.AttributeDiscovery`.

    Parameters
    ----------
    max_splits, max_depth, min_share, min_samples, min_photos, n_nuisance, n_starts, random_state
        See `fastface.AttributeDiscovery`; `n_nuisance` must be 0.
    client : distributed.Client, optional
        The cluster; by default the current client.

    Attributes
    ----------
    splits_ : list of dask.array.Array of int8, shape (n_samples,)
        Side, 0 or 1, of every row, strongest split first; chunks lie on the workers.
    hyperplanes_, tree_, names_, n_features_in_
        See `fastface.AttributeDiscovery`.
    """

    splits_: Any

    def __init__(
        self,
        max_splits: int = 10,
        *,
        max_depth: int = 3,
        min_share: float = 0.1,
        min_samples: int = 25,
        min_photos: int = 4,
        n_nuisance: int = 0,
        n_starts: int = 40,
        random_state: int = 0,
        client: Any = None,
    ) -> None:
        super().__init__(
            max_splits,
            max_depth=max_depth,
            min_share=min_share,
            min_samples=min_samples,
            min_photos=min_photos,
            n_nuisance=n_nuisance,
            n_starts=n_starts,
            random_state=random_state,
        )
        self.client = client

    def fit(self, X: Any, y: object = None, *, person_ids: Any = None) -> AttributeDiscovery:
        """Find the splits.

        Parameters
        ----------
        X : dask.array.Array of shape (n_samples, n_features), str or path
            Embeddings, divided along the first axis; or a ``.npy`` file or a run folder that all
            workers can open.
        y : object
            Ignored.
        person_ids : None
            Not served: see above.

        Returns
        -------
        AttributeDiscovery
            Itself.

        Raises
        ------
        InvalidInputError
            If the rows or a parameter cannot be used, or `person_ids` is given.
        """
        parameters = check_parameters(self)
        if person_ids is not None or self.n_nuisance:
            raise InvalidInputError(
                "on a cluster rows are told apart, not people: give the mean of each person as X,"
                " or use fastface.AttributeDiscovery with person_ids"
            )
        client = find_client(self.client)
        with client.as_current(), threadpool_limits(1, user_api="blas"):
            rows = divide(X, client)
            if rows.n_rows < 2:
                raise InvalidInputError("X has 1 row, needs at least 2")
            check_rows(rows, client, normalize=False)
            self._find(rows, parameters, client)
        return self

    def _find(self, rows: DividedRows, parameters: SearchParameters, client: Client) -> None:
        rng = self._rng(0)
        sample = _sample(rows.n_rows, parameters.most_rows, rng)
        self.whitening_ = None
        self.hyperplanes_ = find_splits(
            drawn_rows(sample, rows, _AS_THEY_ARE, client),
            max_splits=self.max_splits,
            rng=rng,
            parameters=parameters,
        )
        grower = _Grower(rows, parameters, self.max_depth, self.min_samples, self._rng(1), client)
        self.tree_ = grower.grow(_ROOT, "", list(rows.sizes))
        self.within_hyperplanes_: list[Split] = []
        self.within_splits_ = []
        self.names_ = [Names(f"split {j + 1}") for j in range(len(self.hyperplanes_))]
        self.n_people_ = rows.n_rows
        self.n_features_in_ = rows.n_features
        self._people = None
        there = Shared(client, self.hyperplanes_)
        placed = [submit(client, _sides, source, there) for source in rows.sources]
        self.splits_ = [
            as_dask([submit(client, _column, one, j) for one in placed], rows.sizes, np.int8)
            for j in range(len(self.hyperplanes_))
        ]

    def transform(self, X: Any) -> Any:
        """Say where rows lie in every split.

        Parameters
        ----------
        X : dask.array.Array or array-like of shape (n_samples, n_features)
            Embeddings by the same model.

        Returns
        -------
        dask.array.Array of shape (n_samples, n_splits)
            Not yet computed; an ndarray for rows in memory.
        """
        if not is_dask(X):
            return super().transform(X)
        dtype = np.float64 if X.dtype == np.float64 else np.float32
        return self._map(super().transform, X, np.dtype(dtype))

    def predict(self, X: Any) -> Any:
        """Return the side of rows in every split.

        Parameters
        ----------
        X : dask.array.Array or array-like of shape (n_samples, n_features)
            Embeddings; the answer is 0 or 1, of shape (n_samples, n_splits).
        """
        return (
            self._map(super().predict, X, np.dtype(np.int8)) if is_dask(X) else super().predict(X)
        )

    def _map(self, work: Any, X: Any, dtype: np.dtype[Any]) -> Any:
        chunks = (X.chunks[0], (len(self.hyperplanes_),))
        return X.rechunk({1: -1}).map_blocks(work, dtype=dtype, chunks=chunks)

    def score(  # type: ignore[override]
        self,
        labels: ArrayLike | Mapping[str, ArrayLike],
        y: ArrayLike | None = None,
        *,
        missing: Iterable[object] = (),
        cuts: Mapping[str, tuple[float, float]] | None = None,
        n_resamples: int = 2000,
    ) -> list[AttributeScore] | float:
        """Compare the splits with labels, in this process; see `fastface.AttributeDiscovery`."""
        local = self._local()
        if y is not None:
            return local.score(labels, y)  # type: ignore[arg-type]  # rows: what scikit-learn gives
        if self.splits_ and is_dask(self.splits_[0]):
            client = find_client(self.client)
            local.splits_ = gather(client, client.compute(self.splits_))
        return local.score(labels, missing=missing, cuts=cuts, n_resamples=n_resamples)

    def _local(self) -> LocalDiscovery:
        """Return the same in one process."""
        names = LocalDiscovery().get_params()
        local = LocalDiscovery(**{name: getattr(self, name) for name in names})
        fitted = {k: v for k, v in self.__dict__.items() if k not in (*names, "client")}
        local.__dict__.update(fitted)
        return local

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what `transform`, `predict` and the tree need, and what it is called.

        Parameters
        ----------
        path : path
            A ``.npz`` file.
        """
        self._local().save(path)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker, or a file, can hold: everything but the connection."""
        return {**super().__getstate__(), "client": None}


def _sample(n: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the rows that are searched, drawn as `find_splits` and `grow_tree` draw them."""
    if n <= most:
        return np.arange(n)
    sample: NDArray[np.int64] = np.sort(rng.choice(n, most, replace=False))
    return sample


class _Grower:
    """The tree of `fastface.attributes.tree`, over rows on workers."""

    def __init__(
        self,
        rows: DividedRows,
        parameters: SearchParameters,
        max_depth: int,
        min_samples: int,
        rng: np.random.Generator,
        client: Client,
    ) -> None:
        self._rows, self._parameters, self._client = rows, parameters, client
        self._max_depth, self._min_samples, self._rng = max_depth, min_samples, rng
        self._nodes: list[Future] = [submit(client, _at_root, size) for size in rows.sizes]

    def grow(self, node: int, path: str, counts: list[int]) -> SplitNode:
        """Divide the rows of a node again and again; `counts` of them are in each partition."""
        n = sum(counts)
        found: list[Split] = []
        if len(path) < self._max_depth and n >= 2 * self._min_samples:
            p = self._parameters
            x = self._members(node, _sample(n, p.most_rows, self._rng), counts)
            found = find_splits(x, max_splits=1, rng=self._rng, parameters=p)
        if not found:
            return SplitNode(path, n, None, ())
        self._nodes = [
            submit(self._client, _divided, source, nodes, node, found[0])
            for source, nodes in zip(self._rows.sources, self._nodes, strict=True)
        ]
        children = []
        for side in (0, 1):
            child = 2 * node + side
            there = [submit(self._client, _count, nodes, child) for nodes in self._nodes]
            children.append(self.grow(child, f"{path}{side}", gather(self._client, there)))
        return SplitNode(path, n, found[0], tuple(children))

    def _members(self, node: int, places: NDArray[np.int64], counts: list[int]) -> NDArray[Any]:
        """Return some rows of a node, by their places among all of its rows."""
        cuts = np.searchsorted(places, np.cumsum([0, *counts]))
        before = np.cumsum([0, *counts[:-1]])
        asked = [
            submit(self._client, _take_members, source, nodes, node, places[low:high] - first)
            for source, nodes, low, high, first in zip(
                self._rows.sources, self._nodes, cuts[:-1], cuts[1:], before, strict=True
            )
            if high > low
        ]
        return np.concatenate(gather(self._client, asked))


def _at_root(size: int) -> NDArray[np.int32]:
    return np.full(size, _ROOT, np.int32)


def _count(nodes: NDArray[np.int32], node: int) -> int:
    return int(np.count_nonzero(nodes == node))


def _take_members(
    source: Any, nodes: NDArray[np.int32], node: int, places: NDArray[np.int64]
) -> NDArray[Any]:
    return np.ascontiguousarray(open_rows(source)[np.flatnonzero(nodes == node)[places]])


def _divided(source: Any, nodes: NDArray[np.int32], node: int, split: Split) -> NDArray[np.int32]:
    here = np.flatnonzero(nodes == node)
    divided = nodes.copy()
    divided[here] = 2 * node + sides(open_rows(source)[here], [split])[:, 0]
    return divided


def _sides(source: Any, splits: list[Split]) -> NDArray[np.int8]:
    return sides(open_rows(source), splits)


def _column(placed: NDArray[np.int8], j: int) -> NDArray[np.int8]:
    return placed[:, j]
