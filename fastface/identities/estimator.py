"""`IdentityClustering`: the scikit-learn estimator over all identity methods."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin

from fastface.errors import InvalidInputError
from fastface.graph import NeighborGraph, unit_rows
from fastface.identities.chinese_whispers import chinese_whispers
from fastface.identities.confidence import face_confidence
from fastface.identities.cutoff import estimate_cutoff
from fastface.identities.kernel import DLIB_CUTOFF, KernelParameters
from fastface.identities.overlap_linkage import overlap_linkage
from fastface.validation import check_integer, check_matrix

__all__ = ["METHODS", "IdentityClustering"]

METHODS = ("overlap-linkage", "chinese-whispers")
# dlib's examples link descriptors nearer than 0.5, where the cutoff is 0.55.
WHISPERS_THRESHOLD = 0.5 / 0.55


class IdentityClustering(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Group face embeddings into people, without being told how many there are.

    Every face belongs to somebody: a face without company is a person with one face.

    Parameters
    ----------
    method : {"auto", "overlap-linkage", "chinese-whispers"}
        ``"auto"`` is ``"overlap-linkage"``: average linkage on a self-tuned kernel of distance and
        neighbour overlap.  ``"chinese-whispers"`` is the classic that dlib offers.
    n_neighbors : int
        Neighbours of each face in the graph.
    cutoff : float or "estimate"
        Distance between L2-normalised embeddings beyond which two faces are hardly ever one
        person.  It belongs to the embedding model; the default is that of dlib's.  ``"estimate"``
        takes it from the data, which must be 100 faces or more of many people.
    device : str
        Where the graph is built.
    n_threads : int, optional
        Threads for the graph.  Results do not depend on it.
    callback : callable, optional
        Called with the name of each step as it begins: ``"neighbors"``, ``"people"``,
        ``"confidence"``.

    Attributes
    ----------
    labels_ : ndarray of int64, shape (n_samples,)
        Person of each face; people are numbered by size, largest first, then by first face.
    confidence_ : ndarray of float32, shape (n_samples,)
        In [0, 1]: how much nearer a face is to its own person than to the next best.
    n_people_ : int
        Number of people.
    method_ : str
        The method that was used.
    graph_ : NeighborGraph
        The neighbour graph of the normalised rows.
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
        device: str = "auto",
        n_threads: int | None = None,
        callback: Callable[[str], object] | None = None,
    ) -> None:
        self.method = method
        self.n_neighbors = n_neighbors
        self.cutoff = cutoff
        self.device = device
        self.n_threads = n_threads
        self.callback = callback

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        photo_ids: ArrayLike | None = None,
        graph: NeighborGraph | None = None,
    ) -> IdentityClustering:
        """Group embeddings.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings of any norm but zero; directions are compared.
        y : object
            Ignored.
        photo_ids : array-like of shape (n_samples,), optional
            Photo of each face: two faces of one photo are never one person.
        graph : NeighborGraph, optional
            The graph of the same embeddings from an earlier fit (`graph_`), to save time.

        Returns
        -------
        IdentityClustering
            Itself.

        Raises
        ------
        InvalidInputError
            If the embeddings, the photo ids or a parameter cannot be used.
        """
        method = self._resolve_method()
        self._check_parameters()
        x = check_matrix(X)
        photos = None if photo_ids is None else _photo_codes(photo_ids, len(x))
        if graph is not None:
            _check_graph(graph, x)
        rows = unit_rows(x)
        cutoff = estimate_cutoff(rows) if self.cutoff == "estimate" else float(self.cutoff)

        if graph is None:
            self._tell("neighbors")
            graph = NeighborGraph.build(
                x,
                n_neighbors=self.n_neighbors,
                metric="euclidean",
                normalize=True,
                device=self.device,
                n_threads=self.n_threads,
            )
        self._tell("people")
        if method == "overlap-linkage":
            parameters = replace(KernelParameters(), cutoff=cutoff)
            labels = overlap_linkage(rows, graph, photo_ids=photos, parameters=parameters)
        else:
            labels = chinese_whispers(
                graph, threshold=WHISPERS_THRESHOLD * cutoff, photo_ids=photos
            )
        self._tell("confidence")
        self.labels_ = _by_size(labels)
        self.confidence_ = face_confidence(rows, self.labels_, graph, cutoff=cutoff)
        self.n_people_ = int(self.labels_.max()) + 1
        self.method_ = method
        self.graph_ = graph
        self.cutoff_ = cutoff
        self.n_features_in_ = x.shape[1]
        return self

    def _tell(self, step: str) -> None:
        if self.callback is not None:
            self.callback(step)

    def _check_parameters(self) -> None:
        cutoff: Any = self.cutoff
        is_length = isinstance(cutoff, numbers.Real) and 0 < float(cutoff) < 2
        if not (is_length or cutoff == "estimate"):
            raise InvalidInputError(
                "cutoff is a distance between unit vectors, between 0 and 2, or 'estimate';"
                f" got {cutoff!r}"
            )
        check_integer(self.n_neighbors, name="n_neighbors", low=1)

    def _resolve_method(self) -> str:
        if self.method == "auto":
            return "overlap-linkage"
        if self.method not in METHODS:
            raise InvalidInputError(
                f"unknown method {self.method!r}; choose 'auto' or one of {', '.join(METHODS)}"
            )
        return self.method


def _check_graph(graph: NeighborGraph, X: NDArray[Any]) -> None:
    if graph.metric != "euclidean" or not graph.normalized:
        raise InvalidInputError(
            f"the graph compares by {graph.metric} with normalize={graph.normalized}; people are"
            " found on metric='euclidean' with normalize=True"
        )
    graph.check_matches(X)


def _photo_codes(photo_ids: ArrayLike, n: int) -> NDArray[np.int64]:
    photos: NDArray[Any] = np.asarray(photo_ids)
    if photos.shape != (n,):
        raise InvalidInputError(
            f"photo_ids must name one photo for each of the {n} rows, got shape {photos.shape}"
        )
    try:
        if photos.dtype.kind == "f" and np.isnan(photos).any():
            raise InvalidInputError("photo_ids holds NaN: every face needs the name of its photo")
        return np.unique(photos, return_inverse=True)[1].astype(np.int64)
    except TypeError:
        raise InvalidInputError(
            "photo_ids must be all numbers or all strings, so that equal ones can be found"
        ) from None


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber groups by size, largest first, then by first face."""
    _, first, inverse, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(first), np.int64)
    rank[np.lexsort((first, -counts))] = np.arange(len(first))
    result: NDArray[np.int64] = rank[inverse]
    return result
