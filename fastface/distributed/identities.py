"""`fastface.distributed.IdentityClustering`: people, over the workers of a Dask cluster."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin

from fastface.distributed.cluster import find_client, gather, submit
from fastface.distributed.graph import NeighborGraph
from fastface.distributed.grouping import Grouping, Limits
from fastface.distributed.inputs import DividedRows, as_dask, divide_column, is_dask
from fastface.distributed.searching import Search, drawn_rows
from fastface.errors import InvalidInputError
from fastface.identities.constraints import Constraints
from fastface.identities.cutoff import estimate_cutoff
from fastface.identities.kernel import DLIB_CUTOFF, KernelParameters
from fastface.identities.stable_ids import Change, check_previous, match_people
from fastface.validation import check_integer

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["IdentityClustering"]

_METHODS = ("auto", "overlap-linkage")


class IdentityClustering(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Group face embeddings into people, on the workers of a Dask cluster.

    The method is neighbour-overlap linkage, as `fastface.IdentityClustering` has it by default.
    With the same neighbour graph `labels_` are its labels to the bit, for any number of workers and
    any division of the rows, as long as no component of faces that could be joined is larger than
    `component_rows`; `is_exact_` says whether that was so.  Larger ones are joined in stages, the
    most similar first, each stage within what hangs together by stronger links.

    Parameters
    ----------
    method : {"auto", "overlap-linkage"}
        Other methods want the whole graph in one place:
        ``fastface.IdentityClustering(...).fit(X, graph=graph.compute())``.
    n_neighbors : int
        Neighbours of each face in the graph.
    cutoff : float or "estimate"
        See `fastface.IdentityClustering`.
    region_rows : int
        Faces that a task works on, about; their surroundings, about as many, come on top.
    component_rows : int
        Faces that may come together on one worker, at some 2 kB each.
    random_state : int
        Of an approximate graph, and of the regions; without effect on the labels of an exact one.
    n_threads : int
        Threads of one task.
    client : distributed.Client, optional
        The cluster; by default the current client.

    Attributes
    ----------
    labels_ : dask.array.Array of int64, shape (n_samples,)
        Person of each face, numbered by size, largest first, then by first face; chunks lie on the
        workers.
    person_ids_ : dask.array.Array of int64, shape (n_samples,)
        The same people by ids that last, through `previous_ids`.
    changes_ : list of fastface.identities.stable_ids.Change
        What became of the people of `previous_ids`.
    confidence_ : dask.array.Array of float32, shape (n_samples,)
        As that of `fastface.IdentityClustering`, up to rounding.
    n_people_ : int
        Number of people.
    is_exact_ : bool
        Whether the labels are those that one process would find from this graph.
    graph_ : fastface.distributed.NeighborGraph
        The neighbour graph.
    cutoff_ : float
        The cutoff that was used.
    n_features_in_ : int
        Number of features.
    """

    def __init__(
        self,
        method: str = "auto",
        *,
        n_neighbors: int = 80,
        cutoff: float | Literal["estimate"] = DLIB_CUTOFF,
        region_rows: int = 200_000,
        component_rows: int = 500_000,
        random_state: int = 0,
        n_threads: int = 1,
        client: Any = None,
    ) -> None:
        self.method = method
        self.n_neighbors = n_neighbors
        self.cutoff = cutoff
        self.region_rows = region_rows
        self.component_rows = component_rows
        self.random_state = random_state
        self.n_threads = n_threads
        self.client = client

    def fit(
        self,
        X: Any,
        y: object = None,
        *,
        photo_ids: Any = None,
        repeating_photos: Iterable[Any] = (),
        must_link: ArrayLike | None = None,
        cannot_link: ArrayLike | None = None,
        previous_ids: Any = None,
        graph: NeighborGraph | None = None,
    ) -> IdentityClustering:
        """Group embeddings.

        Parameters
        ----------
        X : dask.array.Array of shape (n_samples, n_features), str or path
            Embeddings, divided along the first axis; or a ``.npy`` file or a run folder that all
            workers can open.
        y : object
            Ignored.
        photo_ids : dask.array.Array or array-like of int, shape (n_samples,), optional
            Photo of each face: two faces of one photo are never one person.
        repeating_photos : iterable, optional
            Photos where they may be.
        must_link, cannot_link : array-like of int, shape (m, 2), optional
            Pairs of rows that are one person, and that are not.
        previous_ids : dask.array.Array or array-like of int, shape (n_samples,), optional
            `person_ids_` of an earlier fit for the faces that were there, -1 for new ones: people
            keep them.  They are compared with the labels in this process, 16 bytes a face.
        graph : fastface.distributed.NeighborGraph, optional
            Of the same embeddings, with ``normalize=True``; its rows are used, and `X` is not read.

        Returns
        -------
        IdentityClustering
            Itself.

        Raises
        ------
        InvalidInputError
            If the embeddings, a constraint or a parameter cannot be used, or constraints contradict
            each other.
        BackendUnavailableError
            If there are no workers, or they die again and again.
        """
        limits = self._check_parameters()
        client = find_client(self.client)
        with client.as_current():
            if graph is None:
                graph = self._build_graph(X, client)
            elif graph.metric != "euclidean" or not graph.normalized:
                raise InvalidInputError(
                    f"the graph compares by {graph.metric} with normalize={graph.normalized};"
                    " people are found on metric='euclidean' with normalize=True"
                )
            rows = graph.rows
            photos = _photos(photo_ids, repeating_photos, rows, client)
            must, cannot = _pairs(must_link, cannot_link, rows.n_rows)
            self.cutoff_ = self._cutoff(rows, client)
            grouping = Grouping(
                rows,
                graph.lists,
                photos,
                limits,
                replace(KernelParameters(), cutoff=self.cutoff_),
                self.random_state,
                self.n_threads,
                client,
            )
            grouping.join_first(must)
            grouping.take_turns(cannot)
            names, sizes = grouping.people()
            numbers = np.empty(len(names), np.int64)
            numbers[np.lexsort((names, -sizes))] = np.arange(len(names))
            typical = float((sizes.astype(np.float64) ** 2).sum() / sizes.sum())
            certain = grouping.confidence(self.cutoff_, typical)
            found = grouping.in_order(names, numbers, certain)
            gather(client, [submit(client, _done, one) for one in found])
            self.labels_, self.confidence_ = (
                as_dask([submit(client, _part, one, which) for one in found], rows.sizes, dtype)
                for which, dtype in ((0, np.int64), (1, np.float32))
            )
            self._keep_ids(previous_ids, must, cannot, rows, client)
        self.n_people_ = len(names)
        self.method_ = "overlap-linkage"
        self.is_exact_ = grouping.is_exact
        self.graph_ = graph
        self.n_features_in_ = rows.n_features
        return self

    def _keep_ids(
        self,
        previous_ids: Any,
        must: NDArray[np.int64],
        cannot: NDArray[np.int64],
        rows: DividedRows,
        client: Client,
    ) -> None:
        """Give people the ids they had; without any, labels are ids."""
        self.changes_: list[Change] = []
        self.person_ids_ = self.labels_
        if previous_ids is None:
            return
        if is_dask(previous_ids):
            (previous_ids,) = gather(client, client.compute([previous_ids]))
        previous = check_previous(previous_ids, rows.n_rows)
        firm = np.zeros(rows.n_rows, np.bool_)
        firm[np.concatenate([must.ravel(), cannot.ravel()])] = True
        (labels,) = gather(client, client.compute([self.labels_]))
        ids, changes = match_people(previous, labels, firm=firm)
        self.changes_ = changes if (previous >= 0).any() else []
        of_label = np.empty(int(labels.max()) + 1, np.int64)
        of_label[labels] = ids
        self.person_ids_ = self.labels_.map_blocks(of_label.__getitem__, dtype=np.int64)

    def _check_parameters(self) -> Limits:
        if self.method not in _METHODS:
            raise InvalidInputError(
                f"on a cluster people are found by {' or '.join(map(repr, _METHODS))}, got"
                f" {self.method!r}; for other methods fit fastface.IdentityClustering with"
                " graph=graph.compute()"
            )
        cutoff: Any = self.cutoff
        is_length = isinstance(cutoff, numbers.Real) and 0 < float(cutoff) < 2
        if not (is_length or cutoff == "estimate"):
            raise InvalidInputError(
                "cutoff is a distance between unit vectors, between 0 and 2, or 'estimate';"
                f" got {cutoff!r}"
            )
        check_integer(self.n_neighbors, name="n_neighbors", low=1)
        check_integer(self.random_state, name="random_state", low=0)
        check_integer(self.n_threads, name="n_threads", low=1)
        return Limits(
            check_integer(self.region_rows, name="region_rows", low=1),
            check_integer(self.component_rows, name="component_rows", low=1),
        )

    def _build_graph(self, X: Any, client: Client) -> NeighborGraph:
        return NeighborGraph.build(
            X,
            n_neighbors=self.n_neighbors,
            metric="euclidean",
            normalize=True,
            random_state=self.random_state,
            n_threads=self.n_threads,
            client=client,
        )

    def _cutoff(self, rows: DividedRows, client: Client) -> float:
        if self.cutoff != "estimate":
            return float(self.cutoff)
        few: Any = _FewRows(rows, client)
        return estimate_cutoff(few)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker, or a file, can hold: everything but the connection."""
        return {**super().__getstate__(), "client": None}


class _FewRows:
    """Rows on workers, of which some are asked for as if they were here."""

    def __init__(self, rows: DividedRows, client: Client) -> None:
        self._rows, self._client = rows, client
        self._search = Search(0, "euclidean", True, "auto", 1)

    def __len__(self) -> int:
        return self._rows.n_rows

    def __getitem__(self, names: NDArray[np.int64]) -> NDArray[np.float32]:
        unique, places = np.unique(names, return_inverse=True)
        found: NDArray[np.float32] = drawn_rows(unique, self._rows, self._search, self._client)
        return found[places]


def _photos(
    photo_ids: Any, repeating: Iterable[Any], rows: DividedRows, client: Client
) -> list[Any]:
    if photo_ids is None:
        return [None] * len(rows.sources)
    kind = photo_ids.dtype.kind if is_dask(photo_ids) else np.asarray(photo_ids).dtype.kind
    if kind not in "iu":
        raise InvalidInputError("photo_ids on a cluster are whole numbers, one for each face")
    columns = divide_column(photo_ids, rows, client, "photo_ids")
    free = np.unique(np.array(list(repeating), np.int64))
    return [submit(client, _codes, column, free) for column in columns]


def _codes(photos: NDArray[Any], free: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the photos, -1 where a person may be seen twice."""
    codes = photos.astype(np.int64)
    return np.where(np.isin(codes, free), -1, codes)


def _pairs(
    must_link: ArrayLike | None, cannot_link: ArrayLike | None, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (face, first face of its item) for faces that must go together, and pairs apart."""
    given = [np.asarray([] if pairs is None else pairs) for pairs in (must_link, cannot_link)]
    for pairs, name in zip(given, ("must_link", "cannot_link"), strict=True):
        if pairs.size and (
            pairs.ndim != 2
            or pairs.shape[1] != 2
            or pairs.dtype.kind not in "iu"
            or pairs.min() < 0
            or pairs.max() >= n
        ):
            raise InvalidInputError(f"{name} must be pairs of row numbers below {n}")
    must, cannot = (pairs.reshape(-1, 2).astype(np.int64) for pairs in given)
    named = np.unique(np.concatenate([must, cannot]))
    items = Constraints(len(named), must_link=np.searchsorted(named, must)).items
    together = items[np.searchsorted(named, cannot)]
    clash = cannot[together[:, 0] == together[:, 1]]
    if len(clash):
        raise InvalidInputError(
            f"constraints contradict each other: cannot_link has {tuple(clash[0].tolist())}, and"
            " must_link makes these faces one person, directly or through others; drop one of them"
        )
    first = named[np.unique(items, return_index=True)[1]][items] if len(named) else named
    moved = first != named
    return np.stack([named[moved], first[moved]], axis=1), cannot


def _part(found: tuple[Any, Any], which: int) -> NDArray[Any]:
    part: NDArray[Any] = found[which]
    return part


def _done(found: tuple[Any, Any]) -> int:
    return len(found[0])
