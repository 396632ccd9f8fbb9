"""What is known of pairs of faces: who must be one person, and who cannot be.

Every method gets it in one form.  Faces that must be one person are one *item*.  An *exclusion* is
a set of faces no two of which are one person: a photo, or a pair the user named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from fastface import _kernels
from fastface.errors import InvalidInputError
from fastface.graph import NeighborGraph
from fastface.identities.numbering import by_first_appearance

__all__ = ["Constraints", "check_repeating"]

Pairs = NDArray[np.int64]


class Constraints:
    """Constraints on `n` faces, checked.

    Parameters
    ----------
    n : int
        Number of faces.
    photo_ids : array-like of shape (n,), optional
        Photo of each face: faces of one photo are different people.
    repeating_photos : iterable, optional
        Photos in which a person may be seen more than once: mirrors, collages, photos of photos.
    must_link, cannot_link : array-like of shape (m, 2), optional
        Pairs of faces that are one person, and that are not.

    Attributes
    ----------
    items : ndarray of int32, shape (n,)
        The item of each face, numbered by first appearance.
    n_items : int
        Number of items.
    named : ndarray of bool, shape (n,)
        Faces of a must-link or a cannot-link.

    Raises
    ------
    InvalidInputError
        If a pair names no two faces, or if `cannot_link` contradicts `must_link`: the pairs are
        named.  A must-link between two faces of one photo is no contradiction: the user knows
        better than the rule.
    """

    def __init__(
        self,
        n: int,
        *,
        photo_ids: ArrayLike | None = None,
        repeating_photos: Iterable[Any] = (),
        must_link: ArrayLike | None = None,
        cannot_link: ArrayLike | None = None,
    ) -> None:
        must = _pairs(must_link, n, "must_link")
        cannot = _pairs(cannot_link, n, "cannot_link")
        self.items, self.n_items = _components(must, n)
        self.named = np.zeros(n, bool)
        self.named[np.concatenate([must, cannot]).ravel()] = True
        clash = self.items[cannot[:, 0]] == self.items[cannot[:, 1]]
        if clash.any():
            first, second = map(int, cannot[np.argmax(clash)])
            raise InvalidInputError(_explain(first, second, must))
        photos = np.empty((0, 2), np.int64)
        if photo_ids is not None:
            photos = _crowded(_photo_codes(photo_ids, n, repeating_photos))
        faces = np.concatenate([photos[:, 0], cannot.ravel()])
        n_photos = int(photos[:, 1].max(initial=-1)) + 1
        ids = np.concatenate([photos[:, 1], n_photos + np.repeat(np.arange(len(cannot)), 2)])
        self._of_faces = _incidence(faces, ids, n, n_photos + len(cannot))

    def of_some(self, faces: NDArray[Any]) -> Constraints:
        """Return what is known of some faces among themselves, numbered in their order."""
        part = Constraints(len(faces))
        part.items = by_first_appearance(self.items[faces]).astype(np.int32)
        part.n_items = int(part.items.max(initial=-1)) + 1
        part._of_faces = self._of_faces[faces].tocsr()
        return part

    def with_people(self, labels: NDArray[np.int64]) -> Constraints:
        """Return the same, people kept together, and each apart from the others.

        Parameters
        ----------
        labels : ndarray of int64, shape (n,)
            Person of each face, -1 for those that have none yet.
        """
        n = len(labels)
        placed = labels >= 0
        people = np.where(placed, labels, labels.max(initial=-1) + 1 + np.arange(n))
        both = coo_matrix((np.ones(n), (self.items, people))).tocsr()
        _, groups = connected_components(both.T @ both, directed=False)
        joint = Constraints(n)
        joint.items = by_first_appearance(groups[people]).astype(np.int32)
        joint.n_items = int(joint.items.max()) + 1
        faces, ids = self._of_faces.nonzero()
        apart = np.flatnonzero(placed)
        n_ids = self._of_faces.shape[1]
        joint._of_faces = _incidence(
            np.concatenate([faces, apart]),
            np.concatenate([ids, np.full(len(apart), n_ids)]),
            n,
            n_ids + 1,
        )
        return joint

    @property
    def has_exclusions(self) -> bool:
        """Whether there are faces that cannot be one person."""
        return bool(self._of_faces.nnz)

    @property
    def has_items(self) -> bool:
        """Whether there are faces that must be one person."""
        return bool(self.n_items < len(self.items))

    @cached_property
    def of_faces(self) -> _kernels.Exclusions:
        """Exclusions of every face."""
        return _compiled(self._of_faces)

    @cached_property
    def of_items(self) -> _kernels.Exclusions:
        """Exclusions of every item."""
        return _compiled(self.incidence) if self.has_items else self.of_faces

    @cached_property
    def incidence(self) -> csr_matrix:
        """Which exclusions every item takes part in, shape (n_items, n_exclusions)."""
        if not self.has_items:
            return self._of_faces
        faces, ids = self._of_faces.nonzero()
        return _incidence(self.items[faces], ids, self.n_items, self._of_faces.shape[1])

    def between_items(self, links: csr_matrix) -> csr_matrix:
        """Add up links between faces to links between items, without those inside an item."""
        if not self.has_items:
            return links
        n = len(self.items)
        items = csr_matrix((np.ones(n), self.items, np.arange(n + 1)), shape=(n, self.n_items))
        between = (items.T @ links @ items).tocoo()
        apart = between.row != between.col
        rows, columns = between.row[apart], between.col[apart]
        return coo_matrix((between.data[apart], (rows, columns)), shape=between.shape).tocsr()

    def enforce(self, labels: NDArray[Any], graph: NeighborGraph) -> NDArray[np.int64]:
        """Make a grouping that knew of no constraints obey them.

        Groups that share an item become one.  A group that breaks an exclusion is taken apart and
        joined again over its edges in the graph, nearest first, wherever that is allowed.

        Parameters
        ----------
        labels : ndarray of int, shape (n,)
            Groups.
        graph : NeighborGraph
            Neighbours of the faces.

        Returns
        -------
        ndarray of int64, shape (n,)
            Numbered by first appearance.
        """
        codes: NDArray[Any] = np.unique(labels, return_inverse=True)[1]
        if self.has_items:
            both = coo_matrix((np.ones(len(codes)), (self.items, codes))).tocsr()
            _, of_groups = connected_components(both.T @ both, directed=False)
            codes = of_groups[codes]
        if not self.has_exclusions:
            return by_first_appearance(codes)
        faces, ids = self._of_faces.nonzero()
        places = np.unique(np.stack([self.items[faces], ids], axis=1), axis=0)
        first = np.unique(self.items, return_index=True)[1]
        crowded = np.stack([codes[first[places[:, 0]]], places[:, 1]], axis=1)
        cells, counts = np.unique(crowded, axis=0, return_counts=True)
        broken = np.isin(codes, cells[counts > 1, 0])
        if not broken.any():
            return by_first_appearance(codes)
        rows = np.flatnonzero(broken)
        near = graph.indices[rows]
        inside = (codes[rows, None] == codes[near]) & np.isfinite(graph.distances[rows])
        places_in, columns = np.nonzero(inside)
        first_ends, second_ends = rows[places_in], near[places_in, columns]
        distances = graph.distances[first_ends, columns]
        parts = self.join(first_ends, second_ends, distances)
        # Elsewhere groups stay whole.
        return by_first_appearance(np.where(broken, len(codes) + parts, codes))

    def join(
        self, first: NDArray[Any], second: NDArray[Any], lengths: NDArray[Any]
    ) -> NDArray[np.int64]:
        """Join the ends of links, shortest first, wherever exclusions allow it.

        Parameters
        ----------
        first, second : ndarray of int, shape (m,)
            Faces.
        lengths : ndarray, shape (m,)
            Of the links; equally long ones go in order of their ends.

        Returns
        -------
        ndarray of int64, shape (n,)
            Group of each face, numbered by first appearance.
        """
        ends = np.sort(np.stack([first, second], axis=1), axis=1)
        order = np.lexsort((ends[:, 1], ends[:, 0], lengths))
        items = self.items[ends[order]]
        joined = _kernels.join_links(
            np.ascontiguousarray(items[:, 0]), np.ascontiguousarray(items[:, 1]), self.of_items
        )
        return by_first_appearance(joined[self.items])


def _pairs(pairs: ArrayLike | None, n: int, name: str) -> Pairs:
    if pairs is None:
        return np.empty((0, 2), np.int64)
    array = np.asarray(pairs)
    if array.size == 0:
        return np.empty((0, 2), np.int64)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise InvalidInputError(
            f"{name} must be pairs of row numbers, got an array of {array.dtype} of shape"
            f" {array.shape}"
        )
    wrong = ((array < 0) | (array >= n)).any(axis=1) | (array[:, 0] == array[:, 1])
    if wrong.any():
        pair = tuple(array[np.argmax(wrong)].tolist())
        raise InvalidInputError(f"{name} has the pair {pair}, which is no two of {n} faces")
    return array.astype(np.int64)


def _components(must: Pairs, n: int) -> tuple[NDArray[np.int32], int]:
    links = coo_matrix((np.ones(len(must)), (must[:, 0], must[:, 1])), shape=(n, n))
    count, labels = connected_components(links, directed=False)
    return by_first_appearance(labels).astype(np.int32), int(count)


def _explain(first: int, second: int, must: Pairs) -> str:
    """Name the chain of must-links between two faces that cannot be one person."""
    linked: dict[int, list[int]] = {}
    for a, b in must.tolist():
        linked.setdefault(a, []).append(b)
        linked.setdefault(b, []).append(a)
    came_from = {first: first}
    waiting = deque([first])
    while second not in came_from:
        face = waiting.popleft()
        for other in linked[face]:
            if other not in came_from:
                came_from[other] = face
                waiting.append(other)
    chain = [second]
    while chain[-1] != first:
        chain.append(came_from[chain[-1]])
    way = ", ".join(f"({a}, {b})" for a, b in zip(chain[:0:-1], chain[-2::-1], strict=True))
    return (
        f"constraints contradict each other: cannot_link has ({first}, {second}), and must_link"
        f" makes these faces one person by {way}; drop one of them"
    )


def check_repeating(repeating: Iterable[Any], photos: Container[Any]) -> None:
    """Refuse photos where a person may be more than once that are none of those of the faces."""
    for photo in repeating:
        if photo not in photos:
            raise InvalidInputError(f"repeating_photos names {photo!r}, which is in no photo_ids")


def _photo_codes(photo_ids: ArrayLike, n: int, repeating: Iterable[Any]) -> NDArray[np.int64]:
    """Return a number for the photo of each face, -1 where a person may be seen twice."""
    photos: NDArray[Any] = np.asarray(photo_ids)
    if photos.shape != (n,):
        raise InvalidInputError(
            f"photo_ids must name one photo for each of the {n} rows, got shape {photos.shape}"
        )
    try:
        if photos.dtype.kind == "f" and np.isnan(photos).any():
            raise InvalidInputError("photo_ids holds NaN: every face needs the name of its photo")
        names, codes = np.unique(photos, return_inverse=True)
    except TypeError:
        raise InvalidInputError(
            "photo_ids must be all numbers or all strings, so that equal ones can be found"
        ) from None
    known = {name: code for code, name in enumerate(names.tolist())}
    repeating = tuple(repeating)
    check_repeating(repeating, known)
    for photo in repeating:
        codes[codes == known[photo]] = -1
    return codes.astype(np.int64)


def _crowded(codes: NDArray[np.int64]) -> Pairs:
    """Return (face, photo) for photos of several faces, photos numbered anew."""
    counts = np.bincount(codes + 1)
    faces = np.flatnonzero((codes >= 0) & (counts[codes + 1] > 1))
    photos = np.unique(codes[faces], return_inverse=True)[1]
    return np.stack([faces, photos], axis=1).astype(np.int64)


def _incidence(rows: NDArray[Any], ids: NDArray[Any], n: int, n_ids: int) -> csr_matrix:
    cells = np.unique(np.stack([rows, ids], axis=1), axis=0).reshape(-1, 2)
    shape = (n, max(n_ids, 1))
    return coo_matrix((np.ones(len(cells)), (cells[:, 0], cells[:, 1])), shape=shape).tocsr()


def _compiled(incidence: csr_matrix) -> _kernels.Exclusions:
    return _kernels.Exclusions(
        incidence.indptr.astype(np.int64), incidence.indices.astype(np.int32), incidence.shape[1]
    )
