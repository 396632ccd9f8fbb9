"""Groups that may be joined, brought together on one worker and joined there by the local method.

Average linkage joins two groups only over pairs that reach `stop` at the beginning of a turn
(``csrc/people/linkage.cpp`` lists no others), so it never leaves a connected component of those
pairs: components that are worked on one by one give what the whole would have given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fastface import _kernels
from fastface.distributed.faces import Faces, Forest, label_of, thinned
from fastface.identities.constraints import Constraints
from fastface.identities.kernel import KernelParameters
from fastface.identities.overlap_linkage import join_groups

__all__ = ["Bin", "Plan", "join_bin", "merge_forests", "pick", "places_of_bins", "plan_bins"]

Names = NDArray[np.int64]

_HIGHER = 0.05  # by which a component that is too large is looked at more strictly
_HIGHEST = 1.0


def merge_forests(forests: list[Forest], least: float) -> Forest:
    """Return the strongest forest of all links."""
    names, codes = np.unique(np.concatenate([f.names for f in forests]), return_inverse=True)
    sizes = np.zeros(len(names), np.int64)
    sizes[codes] = np.concatenate([f.sizes for f in forests])
    starts = np.cumsum([0, *(len(f.names) for f in forests)])
    ends = np.concatenate(
        [codes[f.ends + start] for f, start in zip(forests, starts[:-1], strict=True)]
    ).reshape(-1, 2)
    scores = np.concatenate([f.scores for f in forests])
    # Two regions may have scored a pair: SciPy would add them up.
    ends = np.sort(ends, axis=1)
    order = np.lexsort((-scores, ends[:, 1], ends[:, 0]))
    ends, scores = ends[order], scores[order]
    first = np.r_[True, (ends[1:] != ends[:-1]).any(axis=1)] if len(ends) else np.zeros(0, bool)
    return thinned(Forest(names, sizes, ends[first], scores[first]), least)


@dataclass(frozen=True)
class Plan:
    """Which groups come together where.

    Attributes
    ----------
    names : ndarray of int64
        Groups, increasing.
    bins : ndarray of int32
        Bin of each.
    stops : list of float
        For each bin, the similarity at which joining ends.
    oversized : ndarray of int64
        Groups of components too large to be joined as a whole.
    """

    names: Names
    bins: NDArray[np.int32]
    stops: list[float]
    oversized: Names


def plan_bins(forest: Forest, stop: float, *, most: int, usual: int) -> Plan:
    """Put components into bins; what is larger than `most` faces is divided by stronger links.

    Parameters
    ----------
    forest : Forest
        Links that reach `stop`.
    stop : float
        Of this turn.
    most : int
        Faces that may come together.
    usual : int
        Faces to fill a bin with, where components are small.
    """
    n = len(forest.names)
    bins, stops = np.full(n, -1, np.int32), []
    waiting = [(np.arange(n), stop, False)]
    oversized = np.zeros(n, bool)
    while waiting:
        nodes, level, is_part = waiting.pop()
        inside = np.zeros(n, bool)
        inside[nodes] = True
        # At the level of the turn every link counts, also those kept for a margin.
        strong = inside[forest.ends].all(axis=1) & ((forest.scores >= level) | (not is_part))
        ends = forest.ends[strong]
        links = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n))
        parts = connected_components(links, directed=False)[1]
        order = nodes[np.argsort(parts[nodes], kind="stable")]
        cuts = np.flatnonzero(np.diff(parts[order])) + 1
        filled = usual  # of the bin that is open: none
        for part in np.split(order, cuts):
            size = int(forest.sizes[part].sum())
            if len(part) < 2:
                continue
            if size > most and level < _HIGHEST:
                oversized[part] = True
                waiting.append((part, level + _HIGHER, True))
                continue
            if filled + size > usual:
                stops.append(level)
                filled = 0
            bins[part] = len(stops) - 1
            filled += size
    chosen = bins >= 0
    return Plan(forest.names[chosen], bins[chosen], stops, forest.names[oversized])


def places_of_bins(labels: Names, names: Names, bins: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the bin of every face of a region, -1 for none."""
    found = np.searchsorted(names, labels)
    found[found == len(names)] = 0
    if not len(names):
        return np.full(len(labels), -1, np.int32)
    return np.where(names[found] == labels, bins[found], np.int32(-1))


@dataclass(frozen=True)
class Bin:
    """Faces that come together; the columns of `Faces`, and their groups.

    Attributes
    ----------
    faces : Faces
        Columns of shares hold groups, not faces.
    labels : ndarray of int64
        Group of each face.
    """

    faces: Faces
    labels: Names


def pick(
    faces: Faces, labels: Names, near: tuple[Names, Names], bins: NDArray[np.int32], number: int
) -> Bin:
    """Return the faces of a region that belong to a bin."""
    here = np.flatnonzero(bins == number)
    sizes = faces.offsets[here + 1] - faces.offsets[here]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    kept = np.arange(offsets[-1]) + np.repeat(faces.offsets[here] - offsets[:-1], sizes)
    columns = label_of(faces.columns[kept], faces.names, labels, near)
    return Bin(
        Faces(
            faces.names[here],
            faces.x[here],
            faces.distances[here],
            faces.neighbors[here],
            None if faces.photos is None else faces.photos[here],
            offsets,
            columns,
            faces.shares[kept],
        ),
        labels[here],
    )


def join_bin(
    parts: list[Bin],
    turn: int,
    stop: float,
    cannot_link: NDArray[np.int64],
    parameters: KernelParameters,
    n_threads: int,
) -> tuple[Names, Names]:
    """Join the groups of a bin; return those that became part of another, and of which."""
    names = np.concatenate([part.faces.names for part in parts])
    order = np.argsort(names)
    names = names[order]
    labels = np.concatenate([part.labels for part in parts])[order]
    sizes = np.concatenate([np.diff(part.faces.offsets) for part in parts])
    starts = (np.cumsum(sizes) - sizes)[order]
    offsets = np.concatenate([[0], np.cumsum(sizes[order])])
    entries = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes[order])
    columns = np.concatenate([part.faces.columns for part in parts])[entries]
    shares = np.concatenate([part.faces.shares for part in parts])[entries]

    # Shares that go to groups elsewhere count too: each gets a face that stands for it.
    groups = np.unique(np.concatenate([labels, columns]))
    codes = np.searchsorted(groups, labels)
    present = np.unique(codes)
    elsewhere = np.setdiff1d(np.arange(len(groups)), present)
    stand_in = np.empty(len(groups), np.int64)
    stand_in[codes[::-1]] = np.arange(len(names))[::-1]  # the first face of a group here
    stand_in[elsewhere] = len(names) + np.arange(len(elsewhere))
    n = len(names) + len(elsewhere)

    def rows(columns_of: str, fill: float) -> NDArray[Any]:
        whole = np.concatenate([getattr(part.faces, columns_of) for part in parts])[order]
        more = np.full((len(elsewhere), whole.shape[1]), fill, whole.dtype)
        return np.concatenate([whole, more])

    distances, neighbors = rows("distances", np.inf), rows("neighbors", -1)
    places = np.searchsorted(names, neighbors)
    places[places == len(names)] = 0
    missing = names[places] != neighbors
    itself = np.broadcast_to(np.arange(n)[:, None], places.shape)
    exclusions = _exclusions(parts, order, names, len(elsewhere), cannot_link)
    joined, _ = join_groups(
        turn,
        np.where(missing, itself, places).astype(np.int32),
        np.where(missing, np.float32(np.inf), distances),
        np.ascontiguousarray(rows("x", 0.0)),
        _kernels.NeighborShares.from_rows(
            np.concatenate([offsets, np.full(len(elsewhere), offsets[-1])]),
            stand_in[np.searchsorted(groups, columns)].astype(np.int32),
            shares,
        ),
        np.concatenate([codes, elsewhere]).astype(np.int32),
        len(groups),
        exclusions,
        parameters,
        stop=stop,
        n_threads=n_threads,
    )
    _, first, merged = np.unique(joined[: len(names)], return_index=True, return_inverse=True)
    new = labels[first][merged]
    moved = new != labels
    old, places_of = np.unique(labels[moved], return_index=True)
    return old, new[moved][places_of]


def _exclusions(
    parts: list[Bin], order: NDArray[Any], names: Names, n_more: int, cannot_link: NDArray[np.int64]
) -> _kernels.Exclusions:
    photos: NDArray[np.int64] | None = None
    if parts[0].faces.photos is not None:
        columns = [part.faces.photos for part in parts if part.faces.photos is not None]
        photos = np.concatenate(columns)[order]
        photos = np.concatenate([photos, np.full(n_more, -1)])
        # -1 is no photo: whoever has it stands alone in one.
        alone = photos < 0
        photos[alone] = photos.max(initial=0) + 1 + np.arange(alone.sum())
    places = np.searchsorted(names, cannot_link)
    places[places == len(names)] = 0
    here = (names[places] == cannot_link).all(axis=1)
    return Constraints(len(names) + n_more, photo_ids=photos, cannot_link=places[here]).of_faces
