"""`IdentityClustering`: the scikit-learn estimator over all identity methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin

from fastface.errors import InvalidInputError
from fastface.graph import NeighborGraph
from fastface.identities.chinese_whispers import chinese_whispers
from fastface.identities.confidence import face_confidence
from fastface.identities.kernel import DLIB_CUTOFF, KernelParameters
from fastface.identities.overlap_linkage import overlap_linkage
from fastface.validation import check_integer, check_matrix

__all__ = ["METHODS", "IdentityClustering"]

METHODS = ("overlap-linkage", "chinese-whispers")


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
    cutoff : float
        Distance between L2-normalised embeddings beyond which two faces are hardly ever one
        person.  It belongs to the embedding model; the default is that of dlib's.
    device : str
        Where the graph is built.
    n_threads : int, optional
        Threads for the graph.  Results do not depend on it.

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
    n_features_in_ : int
        Number of features.
    """

    def __init__(
        self,
        method: str = "auto",
        *,
        n_neighbors: int = 80,
        cutoff: float = DLIB_CUTOFF,
        device: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.method = method
        self.n_neighbors = n_neighbors
        self.cutoff = cutoff
        self.device = device
        self.n_threads = n_threads

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
        if not (isinstance(self.cutoff, (int, float)) and 0 < self.cutoff < 2):
            raise InvalidInputError(
                f"cutoff is a distance between unit vectors, between 0 and 2; got {self.cutoff!r}"
            )
        check_integer(self.n_neighbors, name="n_neighbors", low=1)
        rows = _unit_rows(check_matrix(X))
        photos = None if photo_ids is None else _photo_codes(photo_ids, len(rows))
        if graph is None:
            graph = NeighborGraph.build(
                rows,
                n_neighbors=self.n_neighbors,
                metric="euclidean",
                device=self.device,
                n_threads=self.n_threads,
            )
        else:
            graph.check_matches(rows)

        if method == "overlap-linkage":
            parameters = replace(KernelParameters(), cutoff=float(self.cutoff))
            labels = overlap_linkage(rows, graph, photo_ids=photos, parameters=parameters)
        else:
            # dlib links raw descriptors nearer than 0.5, which is 0.5 / 0.55 of its cutoff.
            threshold = 0.5 / 0.55 * float(self.cutoff)
            labels = chinese_whispers(graph, threshold=threshold, photo_ids=photos)

        self.labels_ = _by_size(labels)
        self.confidence_ = face_confidence(rows, self.labels_, graph, cutoff=float(self.cutoff))
        self.n_people_ = int(self.labels_.max()) + 1
        self.method_ = method
        self.graph_ = graph
        self.n_features_in_ = rows.shape[1]
        return self

    def _resolve_method(self) -> str:
        if self.method == "auto":
            return "overlap-linkage"
        if self.method not in METHODS:
            raise InvalidInputError(
                f"unknown method {self.method!r}; choose 'auto' or one of {', '.join(METHODS)}"
            )
        return self.method


def _unit_rows(X: NDArray[Any]) -> NDArray[np.float32]:
    norms = np.sqrt(np.einsum("ij,ij->i", X, X, dtype=np.float64))
    if not norms.all():
        zero = np.flatnonzero(norms == 0)
        listed = ", ".join(map(str, zero[:5])) + (", …" if len(zero) > 5 else "")
        raise InvalidInputError(
            f"{len(zero)} rows of X are all zero and have no direction to compare"
            f" (rows {listed}): drop them"
        )
    return (X / norms[:, None]).astype(np.float32)


def _photo_codes(photo_ids: ArrayLike, n: int) -> NDArray[np.int64]:
    photos: NDArray[Any] = np.asarray(photo_ids)
    if photos.shape != (n,):
        raise InvalidInputError(
            f"photo_ids must name one photo for each of the {n} rows, got shape {photos.shape}"
        )
    return np.unique(photos, return_inverse=True)[1].astype(np.int64)


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber groups by size, largest first, then by first face."""
    _, first, inverse, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(first), np.int64)
    rank[np.lexsort((first, -counts))] = np.arange(len(first))
    result: NDArray[np.int64] = rank[inverse]
    return result
