"""What a worker does for people: the faces of one region, and what is asked about them.

A region holds near faces with their neighbour lists.  What it needs of others (labels of
neighbours, sums of groups) it names, and those who own it answer: so only a region and what borders
on it are ever in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from fastface.graph import NeighborGraph
from fastface.identities.confidence import CANDIDATES, Certainty, probability
from fastface.identities.kernel import KernelParameters, neighbor_shares

__all__ = [
    "Faces",
    "Forest",
    "Groups",
    "answer_lists",
    "confidence_of",
    "forest_of",
    "group_sums",
    "join_sums",
    "make_faces",
    "pairs_of",
    "split_names",
    "sums_of",
]

_MARGIN = 1e-3  # beyond what rounding can do to a similarity

_HALF, _LOW = np.uint64(32), np.uint64(2**32 - 1)

Names = NDArray[np.int64]


@dataclass(frozen=True)
class Faces:
    """The faces of a region.

    Attributes
    ----------
    names : ndarray of int64, shape (n,)
        Their rows, increasing.
    x : ndarray of float32, shape (n, n_features)
        Unit rows.
    distances, neighbors : ndarray of shape (n, k)
        Their neighbour lists; neighbours by name.
    photos : ndarray of int64, shape (n,), or None
        Their photos, -1 where a person may be seen twice.
    offsets, columns, shares : ndarray
        Sparse rows of `neighbor_shares`; columns by name.
    """

    names: Names
    x: NDArray[np.float32]
    distances: NDArray[np.float32]
    neighbors: NDArray[Any]
    photos: NDArray[np.int64] | None
    offsets: NDArray[np.int64]
    columns: NDArray[Any]
    shares: NDArray[np.float32]


def split_names(names: Names, owners: NDArray[np.int32], n_regions: int) -> list[Names]:
    """Divide names by who owns them."""
    of_names = owners[names]
    order = np.argsort(of_names, kind="stable")
    cuts = np.searchsorted(of_names[order], np.arange(1, n_regions))
    return np.split(names[order], cuts)


def answer_lists(
    faces: Faces, asked: list[Names], region: int
) -> tuple[Names, NDArray[np.float32], NDArray[Any]]:
    """Return the neighbour lists of the faces that another region asks for."""
    here = np.searchsorted(faces.names, asked[region])
    return asked[region], faces.distances[here], faces.neighbors[here]


def make_faces(
    faces: Faces, halo: list[Any], parameters: KernelParameters, n_threads: int
) -> Faces:
    """Add the shares, which need the lists of neighbours in other regions too."""
    names = np.concatenate([faces.names, *(part[0] for part in halo)])
    order = np.argsort(names, kind="stable")
    names = names[order]
    distances = np.concatenate([faces.distances, *(part[1] for part in halo)])[order]
    neighbors = np.concatenate([faces.neighbors, *(part[2] for part in halo)])[order]
    # Whoever is not here is too far to count; a face stands there for itself.
    places = _places(names, neighbors, np.arange(len(names), dtype=np.int64))
    graph = NeighborGraph(places, distances, "euclidean", True, faces.x.shape[1], "")
    offsets, columns, shares = neighbor_shares(graph, parameters, n_threads=n_threads).rows()
    own = np.searchsorted(names, faces.names)
    kept = _ranges(offsets, own)
    sizes = offsets[own + 1] - offsets[own]
    return Faces(
        faces.names,
        faces.x,
        faces.distances,
        faces.neighbors,
        faces.photos,
        np.concatenate([[0], np.cumsum(sizes)]),
        names[columns[kept]].astype(faces.neighbors.dtype),
        shares[kept],
    )


def _places(names: Names, wanted: NDArray[Any], otherwise: Names) -> NDArray[np.int32]:
    """Return where wanted names stand among sorted ones; a place of the row's own otherwise."""
    found = np.searchsorted(names, wanted)
    found[found == len(names)] = 0
    there = names[found] == wanted
    return np.where(there, found, otherwise[:, None]).astype(np.int32)


def _ranges(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the entries of some sparse rows, row by row."""
    starts, sizes = offsets[rows], offsets[rows + 1] - offsets[rows]
    ends = np.cumsum(sizes)
    entries: NDArray[np.int64] = np.arange(sizes.sum()) + np.repeat(starts - (ends - sizes), sizes)
    return entries


@dataclass(frozen=True)
class Groups:
    """Sums over groups of faces.

    Attributes
    ----------
    names : ndarray of int64, shape (m,)
        Each group by the name of its first face, increasing.
    sizes : ndarray of int64, shape (m,)
        Faces.
    vectors : ndarray of shape (m, n_features)
        Sums of unit rows.
    offsets, columns, shares : ndarray
        Sparse rows: sums of shares that go to the groups `columns`.
    """

    names: Names
    sizes: NDArray[np.int64]
    vectors: NDArray[np.floating[Any]]
    offsets: NDArray[np.int64]
    columns: Names
    shares: NDArray[np.float64]

    def some(self, names: Names) -> Groups:
        """Return some of the groups."""
        here = np.searchsorted(self.names, names)
        kept = _ranges(self.offsets, here)
        sizes = self.offsets[here + 1] - self.offsets[here]
        return Groups(
            names,
            self.sizes[here],
            self.vectors[here],
            np.concatenate([[0], np.cumsum(sizes)]),
            self.columns[kept],
            self.shares[kept],
        )


def sums_of(faces: Faces, labels: Names, near: tuple[Names, Names], *, with_shares: bool) -> Groups:
    """Return the sums over a region's own faces; `near` are labels of others by name."""
    groups, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(groups) == len(labels):
        vectors: NDArray[Any] = faces.x[np.argsort(codes)]
    else:
        vectors = np.zeros((len(groups), faces.x.shape[1]), np.float64)
        np.add.at(vectors, codes, faces.x)
        vectors = vectors.astype(np.float32)
    if not with_shares:
        empty = np.zeros(0)
        offsets = np.zeros(len(groups) + 1, np.int64)
        return Groups(groups, sizes, vectors, offsets, empty.astype(np.int64), empty)
    columns = label_of(faces.columns, faces.names, labels, near)
    rows = np.repeat(codes, np.diff(faces.offsets))
    return Groups(groups, sizes, vectors, *_summed(rows, columns, faces.shares, len(groups)))


def _summed(
    rows: NDArray[Any], columns: Names, values: NDArray[Any], n_rows: int
) -> tuple[NDArray[np.int64], Names, NDArray[np.float64]]:
    """Add up entries of the same row and column; columns increase."""
    known, codes = np.unique(columns, return_inverse=True)
    matrix = coo_matrix(
        (values.astype(np.float64), (rows, codes)), shape=(n_rows, len(known))
    ).tocsr()
    matrix.sum_duplicates()
    return matrix.indptr.astype(np.int64), known[matrix.indices], matrix.data


def label_of(wanted: NDArray[Any], names: Names, labels: Names, near: tuple[Names, Names]) -> Names:
    """Return the labels of faces by name, who are in the region or near it."""
    found = np.searchsorted(names, wanted)
    found[found == len(names)] = 0
    own = names[found] == wanted
    beyond = np.searchsorted(near[0], wanted)
    beyond[beyond == len(near[0])] = 0
    elsewhere = near[1][beyond] if len(near[0]) else labels[found]
    result: Names = np.where(own, labels[found], elsewhere)
    return result


def group_sums(sums: Groups, owners: NDArray[np.int32], region: int) -> Groups:
    """Return the sums of groups that a region owns."""
    return sums.some(sums.names[owners[sums.names] == region])


def join_sums(parts: list[Groups]) -> Groups:
    """Add up sums of the same groups from several regions."""
    names, codes = np.unique(np.concatenate([p.names for p in parts]), return_inverse=True)
    sizes = np.zeros(len(names), np.int64)
    np.add.at(sizes, codes, np.concatenate([p.sizes for p in parts]))
    everything = np.concatenate([p.vectors for p in parts])
    if len(names) == len(codes):
        vectors: NDArray[Any] = everything[np.argsort(codes)]
    else:
        vectors = np.zeros((len(names), everything.shape[1]), np.float64)
        np.add.at(vectors, codes, everything)
        vectors = vectors.astype(np.float32)
    counts = np.concatenate([np.diff(p.offsets) for p in parts])
    return Groups(
        names,
        sizes,
        vectors,
        *_summed(
            np.repeat(codes, counts),
            np.concatenate([p.columns for p in parts]),
            np.concatenate([p.shares for p in parts]),
            len(names),
        ),
    )


def pairs_of(faces: Faces, labels: Names, near: tuple[Names, Names], longest: float) -> Any:
    """Return pairs of groups with a short edge between them, as two columns; each pair once."""
    rows, places = np.nonzero(faces.distances < longest)
    one = labels[rows]
    other = label_of(faces.neighbors[rows, places], faces.names, labels, near)
    apart = one != other
    ends = np.sort(np.stack([one[apart], other[apart]], axis=1), axis=1).astype(np.uint64)
    # Most pairs come many times: as one number each (rows are fewer than 2^32) they sort fast.
    pairs = np.unique((ends[:, 0] << _HALF) | ends[:, 1])
    ends = np.stack([pairs >> _HALF, pairs & _LOW], axis=1).astype(np.int64)
    known, codes = np.unique(ends, return_inverse=True)
    return known, codes.reshape(ends.shape).astype(np.int64)


@dataclass(frozen=True)
class Forest:
    """The strongest links that hold groups together: a maximum spanning forest.

    Attributes
    ----------
    names, sizes : ndarray of int64, shape (m,)
        The groups, and their faces.
    ends : ndarray of int64, shape (e, 2)
        Places in `names`.
    scores : ndarray of float64, shape (e,)
        Similarities.
    """

    names: Names
    sizes: NDArray[np.int64]
    ends: NDArray[np.int64]
    scores: NDArray[np.float64]


def forest_of(
    pairs: tuple[Names, NDArray[np.int64]],
    parts: list[Groups],
    parameters: KernelParameters,
    stop: float,
) -> Forest:
    """Score pairs of groups, and keep the forest of those that reach `stop`."""
    names, ends = pairs
    groups = join_sums(parts).some(names)
    # The definition of csrc/people/overlap.cpp: n times the root of the mean share.
    per_entry = np.repeat(groups.sizes, np.diff(groups.offsets)).astype(np.float64)
    values = per_entry * np.sqrt(groups.shares / per_entry)
    scores = _scores(
        ends,
        groups.sizes,
        groups.vectors,
        groups.offsets,
        groups.columns,
        values,
        parameters.cutoff,
        parameters.overlap_weight,
    )
    return thinned(Forest(names, groups.sizes, ends, scores), stop - _MARGIN)


def thinned(forest: Forest, least: float) -> Forest:
    """Return the strongest forest of the links that reach `least`."""
    strong = forest.scores >= least
    ends, n = forest.ends[strong], len(forest.names)
    # Zeros are no edges to SciPy: similarities lie between -4 and 1.
    weights = coo_matrix((8.0 - forest.scores[strong], (ends[:, 0], ends[:, 1])), shape=(n, n))
    tree = minimum_spanning_tree(weights.tocsr()).tocoo()
    ends = np.stack([tree.row, tree.col], axis=1).astype(np.int64)
    used = np.unique(ends)
    return Forest(
        forest.names[used],
        forest.sizes[used],
        np.searchsorted(used, ends),
        8.0 - tree.data,
    )


@njit(cache=True, nogil=True)
def _scores(ends, sizes, vectors, offsets, columns, values, cutoff, weight):  # type: ignore[no-untyped-def]
    """Return the mean of the kernel over all pairs of faces of two groups (csrc/people/linkage)."""
    scores = np.empty(len(ends))
    for pair in range(len(ends)):
        a, b = ends[pair, 0], ends[pair, 1]
        n_pairs = float(sizes[a]) * float(sizes[b])
        product = 0.0
        for i in range(vectors.shape[1]):
            product += vectors[a, i] * vectors[b, i]
        closeness = 1.0 - 2.0 * (1.0 - product / n_pairs) / (cutoff * cutoff)
        overlap = 0.0
        at, to = offsets[a], offsets[b]
        while at < offsets[a + 1] and to < offsets[b + 1]:
            if columns[at] == columns[to]:
                overlap += values[at] * values[to]
                at += 1
                to += 1
            elif columns[at] < columns[to]:
                at += 1
            else:
                to += 1
        scores[pair] = (1.0 - weight) * closeness + weight * overlap / n_pairs
    return scores


def confidence_of(
    faces: Faces,
    labels: Names,
    near: tuple[Names, Names],
    parts: list[Groups],
    cutoff: float,
    typical: float,
) -> NDArray[np.float32]:
    """Return how sure the place of each face is: see `fastface.identities.confidence`."""
    people = join_sums(parts)
    others = label_of(faces.neighbors, faces.names, labels, near)
    own, other = _nearness(
        faces.x,
        np.searchsorted(people.names, labels),
        np.searchsorted(people.names, others),
        people.sizes,
        people.vectors,
        cutoff**2,
        (2 * cutoff) ** 2,
        CANDIDATES,
    )
    certain = Certainty(np.sqrt(own), np.sqrt(other), np.empty(0, np.int32))
    counts = people.sizes[np.searchsorted(people.names, labels)]
    return probability(certain, counts, cutoff=cutoff, typical=typical)


@njit(cache=True, nogil=True)
def _nearness(x, own, others, sizes, vectors, alone, nobody, n_candidates):  # type: ignore[no-untyped-def]
    """Return mean squared distances to the own and to the nearest other person."""
    n, k = others.shape
    to_own, to_other = np.full(n, alone), np.full(n, nobody)
    met = np.empty(n_candidates, np.int64)
    for face in range(n):
        person = own[face]
        if sizes[person] > 1:
            rest = 0.0
            for i in range(x.shape[1]):
                rest += x[face, i] * (float(vectors[person, i]) - x[face, i])
            to_own[face] = max(0.0, 2.0 - 2.0 * rest / (sizes[person] - 1))
        count = 0
        for place in range(k):
            other = others[face, place]
            if other == person or (met[:count] == other).any():
                continue
            if count == n_candidates:
                break
            met[count] = other
            count += 1
            product = 0.0
            for i in range(x.shape[1]):
                product += x[face, i] * vectors[other, i]
            to_other[face] = min(to_other[face], max(0.0, 2.0 - 2.0 * product / sizes[other]))
    return to_own, to_other
