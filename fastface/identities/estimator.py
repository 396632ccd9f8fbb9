"""`IdentityClustering`: the scikit-learn estimator over all identity methods."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted

from fastface.backends.places import bring_rows
from fastface.backends.registry import resolve_threads
from fastface.errors import InvalidInputError
from fastface.graph import NeighborGraph, unit_rows
from fastface.identities.attach import attach, restricted
from fastface.identities.confidence import certainty, face_confidence, typical_size
from fastface.identities.constraints import Constraints, check_repeating
from fastface.identities.cutoff import estimate_cutoff
from fastface.identities.kernel import DLIB_CUTOFF
from fastface.identities.methods import METHODS, Task, group_faces, resolve
from fastface.identities.numbering import by_size
from fastface.identities.stable_ids import Change, check_previous, match_people
from fastface.identities.update import neighborhood
from fastface.validation import check_column, check_integer

__all__ = ["METHODS", "IdentityClustering"]


class IdentityClustering(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Group face embeddings into people, without being told how many there are.

    Every face belongs to somebody: a face without company is a person with one face.

    Parameters
    ----------
    method : str
        ``"auto"`` is ``"overlap-linkage"``: average linkage on a self-tuned kernel of distance and
        neighbour overlap.  Others over the same graph: ``"map-equation"``, ``"fc-es"``,
        ``"chinese-whispers"``, ``"rank-order"``, ``"dbscan"``, ``"hdbscan"``, ``"components"``, and
        ``"kmeans"``, the only one that wants `n_people`.
    n_neighbors : int
        Neighbours of each face in the graph.
    cutoff : float or "estimate"
        Distance between L2-normalised embeddings beyond which two faces are hardly ever one
        person.  It belongs to the embedding model; the default is that of dlib's.  ``"estimate"``
        takes it from the data, which must be 100 faces or more of many people.
    n_people : int, optional
        For ``"kmeans"``.
    min_quality : float
        Faces of lower quality (`quality` of `fit`) join people when all others are grouped, and
        never bring two together.
    random_state : int
        Of methods that draw.
    device : str
        Where the graph is built: with ``"auto"`` the GPU that the embeddings lie on, else the CPU.
        With ``"cuda"`` the links of ``"fc-es"``, the groups of ``"chinese-whispers"``,
        ``"components"`` and ``"kmeans"`` are found there too.  Results do not depend on it.
    n_threads : int, optional
        Threads.  Results do not depend on it.
    callback : callable, optional
        Called with the name of each step as it begins: ``"neighbors"``, ``"people"``,
        ``"confidence"``.

    Attributes
    ----------
    labels_ : ndarray of int64, shape (n_samples,)
        Person of each face; people are numbered by size, largest first, then by first face.
    person_ids_ : ndarray of int64, shape (n_samples,)
        The same people by ids that last: through `update`, and through `fit` with `previous_ids`.
    changes_ : list of Change
        Which people were born, merged or split since the ids were given.
    confidence_ : ndarray of float32, shape (n_samples,)
        Probability that a face is with its own person; see `fastface.identities.confidence`.
    runner_up_ : ndarray of int64, shape (n_samples,)
        Who else it could be: the id of the next best person near by, or -1.
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
        n_people: int | None = None,
        min_quality: float = 0.0,
        random_state: int = 0,
        device: str = "auto",
        n_threads: int | None = None,
        callback: Callable[[str], object] | None = None,
    ) -> None:
        self.method = method
        self.n_neighbors = n_neighbors
        self.cutoff = cutoff
        self.n_people = n_people
        self.min_quality = min_quality
        self.random_state = random_state
        self.device = device
        self.n_threads = n_threads
        self.callback = callback

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        photo_ids: ArrayLike | None = None,
        repeating_photos: Iterable[Any] = (),
        must_link: ArrayLike | None = None,
        cannot_link: ArrayLike | None = None,
        quality: ArrayLike | None = None,
        previous_ids: ArrayLike | None = None,
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
        repeating_photos : iterable, optional
            Photos where they may be: mirrors, collages.
        must_link, cannot_link : array-like of int, shape (m, 2), optional
            Pairs of rows that are one person, and that are not.
        quality : array-like of shape (n_samples,), optional
            Compared with `min_quality`.
        previous_ids : array-like of int, shape (n_samples,), optional
            `person_ids_` of an earlier fit for the faces that were there, -1 for new ones: people
            keep these ids, those of faces that a constraint names before all others.
        graph : NeighborGraph, optional
            The graph of the same embeddings from an earlier fit (`graph_`), to save time.

        Returns
        -------
        IdentityClustering
            Itself.

        Raises
        ------
        InvalidInputError
            If the embeddings, a constraint or a parameter cannot be used, or constraints contradict
            each other.
        """
        method = resolve(self.method, self.n_people)
        self._check_parameters()
        x, device = bring_rows(X, self.device)
        repeating_photos = tuple(repeating_photos)
        constraints = Constraints(
            len(x),
            photo_ids=photo_ids,
            repeating_photos=repeating_photos,
            must_link=must_link,
            cannot_link=cannot_link,
        )
        last = (
            None if quality is None else check_column(quality, len(x), "quality") < self.min_quality
        )
        previous = check_previous(previous_ids, len(x))
        if graph is not None:
            _check_graph(graph, x)
        rows = unit_rows(x)
        cutoff = estimate_cutoff(rows) if self.cutoff == "estimate" else float(self.cutoff)

        if graph is None:
            self._tell("neighbors")
            graph = self._build_graph(x, device)
        self._tell("people")
        task = self._task(rows, graph, constraints, cutoff)
        labels = group_faces(method, task, last=last)
        self._tell("confidence")
        self.labels_ = by_size(labels)
        self.person_ids_, changes = match_people(previous, self.labels_, firm=constraints.named)
        self.changes_: list[Change] = changes if (previous >= 0).any() else []
        self.confidence_, runner_up = self._confidence(task, self.labels_, self.labels_)
        ids = np.full(int(self.labels_.max()) + 2, -1, np.int64)  # the last for nobody
        ids[self.labels_] = self.person_ids_
        self.runner_up_ = ids[runner_up]
        self.n_people_ = int(self.labels_.max()) + 1
        self.method_ = method
        self.graph_ = graph
        self.cutoff_ = cutoff
        self.n_features_in_ = x.shape[1]
        self._embeddings = x
        self._photo_ids = None if photo_ids is None else np.asarray(photo_ids)
        self._repeating_photos = repeating_photos
        self._next_id = int(max(self.person_ids_.max(), previous.max(initial=-1))) + 1
        return self

    def update(
        self,
        X: ArrayLike,
        *,
        photo_ids: ArrayLike | None = None,
        repeating_photos: Iterable[Any] = (),
    ) -> IdentityClustering:
        """Add faces: each joins a person, or others of them to be a new one.

        People who are there keep their ids and their faces; none are merged or split.  The new
        rows come after the earlier ones in all attributes.

        Parameters
        ----------
        X : array-like of shape (n_new, n_features)
            Embeddings.
        photo_ids : array-like of shape (n_new,), optional
            Photo of each new face, to be given if and only if `fit` was given photos.
        repeating_photos : iterable, optional
            Photos where a person may be more than once, beside those that `fit` was given.

        Returns
        -------
        IdentityClustering
            Itself; `changes_` has the people who were born.

        Raises
        ------
        InvalidInputError
            If the rows do not fit the earlier ones.
        """
        check_is_fitted(self, "labels_")
        x, device = bring_rows(X, self.device)
        if x.shape[1] != self.n_features_in_:
            raise InvalidInputError(
                f"these embeddings have {x.shape[1]} features, those of fit {self.n_features_in_}"
            )
        if (photo_ids is None) != (self._photo_ids is None):
            raise InvalidInputError(
                "photo_ids must be given to both fit and update, or to neither: photos tell people"
                " apart"
            )
        photos = None
        if photo_ids is not None:
            added = check_column(photo_ids, len(x), "photo_ids")
            photos = np.concatenate([self._photo_ids, added])
        repeating = (*self._repeating_photos, *repeating_photos)
        everything = np.concatenate([self._embeddings, x])
        self._tell("neighbors")
        if self.graph_.n_neighbors < self.n_neighbors:  # there were too few faces for more
            graph = self._build_graph(everything, device)
        else:
            # Its first rows are those of the graph: fit saw to that.
            graph = self.graph_.extend(
                everything, check=False, device=device, n_threads=self.n_threads
            )
        self._tell("people")
        near = neighborhood(graph, self.labels_, self.cutoff_)
        n_old = len(near) - len(x)
        known = Constraints(
            len(near),
            photo_ids=None if photos is None else photos[near],
            repeating_photos=_among(repeating, photos, near),
        )
        task = self._task(
            unit_rows(everything[near]),
            restricted(graph, near),
            known,
            self.cutoff_,
        )
        settled = np.concatenate([self.person_ids_[near[:n_old]], np.full(len(x), -1, np.int64)])
        groups = attach(task, settled)
        ids, born = self._ids_of_new(groups, settled)
        self._tell("confidence")
        self.person_ids_ = np.concatenate([self.person_ids_, ids[n_old:]])
        self.labels_ = by_size(self.person_ids_)
        certain, runner_up = self._confidence(task, groups, self.labels_)
        self.confidence_ = np.concatenate([self.confidence_, certain[n_old:]])
        self.confidence_[near] = certain
        of_groups = np.full(int(groups.max()) + 2, -1, np.int64)  # the last for nobody
        of_groups[groups] = ids
        self.runner_up_ = np.concatenate([self.runner_up_, np.full(len(x), -1, np.int64)])
        self.runner_up_[near] = of_groups[runner_up]
        self.changes_ = born
        self.n_people_ = int(self.labels_.max()) + 1
        self.graph_, self._embeddings, self._photo_ids = graph, everything, photos
        self._repeating_photos = repeating
        return self

    def _build_graph(self, X: NDArray[Any], device: str) -> NeighborGraph:
        return NeighborGraph.build(
            X,
            n_neighbors=self.n_neighbors,
            metric="euclidean",
            normalize=True,
            device=device,
            n_threads=self.n_threads,
        )

    def _ids_of_new(
        self, groups: NDArray[np.int64], settled: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], list[Change]]:
        """Return the id of every face of a neighbourhood, and who was born."""
        known = np.full(int(groups.max()) + 1, -1, np.int64)
        known[groups[settled >= 0]] = settled[settled >= 0]
        born = np.flatnonzero(known < 0)
        known[born] = self._next_id + np.arange(len(born))
        self._next_id += len(born)
        sizes = np.bincount(groups)
        changes = [Change("born", int(known[p]), None, int(sizes[p])) for p in born]
        return known[groups], changes

    def _task(
        self,
        rows: NDArray[np.float32],
        graph: NeighborGraph,
        constraints: Constraints,
        cutoff: float,
    ) -> Task:
        return Task(
            rows=rows,
            graph=graph,
            constraints=constraints,
            cutoff=cutoff,
            n_people=self.n_people,
            random_state=self.random_state,
            n_threads=resolve_threads(self.n_threads),
            device=self.device,
        )

    def _confidence(
        self, task: Task, groups: NDArray[np.int64], everybody: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return the confidence of a task's faces, and the group that comes next, -1 for none."""
        certain = certainty(
            task.rows, groups, task.graph, cutoff=task.cutoff, n_threads=task.n_threads
        )
        sure = face_confidence(certain, groups, cutoff=task.cutoff, typical=typical_size(everybody))
        return sure, certain.runner_up

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
        check_integer(self.random_state, name="random_state", low=0)


def _check_graph(graph: NeighborGraph, X: NDArray[Any]) -> None:
    if graph.metric != "euclidean" or not graph.normalized:
        raise InvalidInputError(
            f"the graph compares by {graph.metric} with normalize={graph.normalized}; people are"
            " found on metric='euclidean' with normalize=True"
        )
    graph.check_matches(X)


def _among(
    repeating: tuple[Any, ...], photos: NDArray[Any] | None, faces: NDArray[np.int64]
) -> list[Any]:
    """Return those repeating photos that some faces are of; all must be photos."""
    if not repeating:
        return []
    check_repeating(repeating, set() if photos is None else set(photos.tolist()))
    present = set() if photos is None else set(photos[faces].tolist())
    return [photo for photo in repeating if photo in present]
