"""Small steps that workers take between turns of joining: who is asked what, and the answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.distributed import faces as of_faces
from fastface.distributed.faces import Faces, Forest, Groups
from fastface.distributed.searching import Lists, Search, take_rows

__all__ = [
    "among",
    "answer_labels",
    "answer_sums",
    "count",
    "cut",
    "groups_of_pairs",
    "home_regions",
    "in_order_of_old",
    "neighbors_elsewhere",
    "ordered",
    "own_labels",
    "own_names",
    "part_of_region",
    "people_near",
    "region_of_parts",
    "renamed",
    "sums",
    "together",
    "with_names",
]

Names = NDArray[np.int64]


def home_regions(cells: NDArray[np.int32], region_of: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the region of each row: that of its nearest cell."""
    return region_of[cells[:, 0]]


def part_of_region(
    source: Any,
    first: int,
    lists: Lists,
    photos: NDArray[np.int64] | None,
    homes: NDArray[np.int32],
    region: int,
    search: Search,
) -> Faces:
    """Return the faces of a partition that live in a region, still without shares."""
    here = np.flatnonzero(homes == region)
    empty = np.zeros(0)
    return Faces(
        here + first,
        take_rows(source, here, search),
        lists[0][here],
        lists[1][here],
        None if photos is None else np.asarray(photos)[here].astype(np.int64),
        empty.astype(np.int64),
        empty.astype(np.int64),
        empty.astype(np.float32),
    )


def region_of_parts(parts: list[Faces]) -> Faces:
    """Put the faces of a region together."""
    photos = [part.photos for part in parts if part.photos is not None]
    last = parts[0]
    return Faces(
        np.concatenate([part.names for part in parts]),
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.distances for part in parts]),
        np.concatenate([part.neighbors for part in parts]),
        np.concatenate(photos) if photos else None,
        last.offsets,
        last.columns,
        last.shares,
    )


def neighbors_elsewhere(
    faces: Faces, nearer: float, owners: NDArray[np.int32], n_regions: int
) -> list[Names]:
    """Return the neighbours that a region does not have, by owner."""
    names = np.unique(faces.neighbors[faces.distances < nearer]).astype(np.int64)
    return of_faces.split_names(
        np.setdiff1d(names, faces.names, assume_unique=True), owners, n_regions
    )


def own_names(faces: Faces) -> Names:
    """Return the names of the faces of a region, their labels at the beginning."""
    return faces.names


def own_labels(faces: Faces, labels: Names) -> tuple[Names, Names]:
    """Return the names of a region's faces beside their labels."""
    return faces.names, labels


def answer_labels(
    held: tuple[Names, Names], asked: list[Names], region: int
) -> tuple[Names, Names]:
    """Return the labels of the faces that another region asks for."""
    return asked[region], held[1][np.searchsorted(held[0], asked[region])]


def together(parts: list[tuple[Names, Names]]) -> tuple[Names, Names]:
    """Put the answers of all regions in order of name."""
    names = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in parts)])
    labels = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in parts)])
    order = np.argsort(names)
    return names[order], labels[order]


def sums(faces: Faces, labels: Names, near: tuple[Names, Names], with_shares: bool) -> Groups:
    """Return the sums over the faces of a region."""
    return of_faces.sums_of(faces, labels, near, with_shares=with_shares)


def answer_sums(held: Groups, asked: list[Names], region: int) -> Groups:
    """Return the sums of the groups that another region asks for."""
    return held.some(asked[region])


def groups_of_pairs(
    pairs: tuple[Names, Any], owners: NDArray[np.int32], n_regions: int
) -> list[Names]:
    """Return the groups of pairs, by owner."""
    return of_faces.split_names(pairs[0].astype(np.int64), owners, n_regions)


def people_near(
    faces: Faces,
    labels: Names,
    near: tuple[Names, Names],
    owners: NDArray[np.int32],
    n_regions: int,
) -> list[Names]:
    """Return the people of a region and of its neighbours, by owner."""
    others = of_faces.label_of(faces.neighbors, faces.names, labels, near)
    names = np.unique(np.concatenate([labels, others.ravel()]))
    return of_faces.split_names(names, owners, n_regions)


def count(labels: Names) -> tuple[Names, NDArray[np.int64]]:
    """Return the groups that have faces here, and how many."""
    names, counts = np.unique(labels, return_counts=True)
    return names, counts.astype(np.int64)


def with_names(faces: Faces, labels: Names, confidence: NDArray[np.float32]) -> tuple[Any, ...]:
    """Return what is known of a region's faces beside their names."""
    return faces.names, labels, confidence


def cut(held: tuple[Any, ...], start: int, stop: int) -> tuple[Any, ...]:
    """Return the faces whose names lie in a range."""
    here = slice(*np.searchsorted(held[0], [start, stop]))
    return tuple(column[here] for column in held)


def ordered(
    parts: list[tuple[Any, ...]], first: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Put labels and confidence of a partition in order of its rows."""
    labels, confidence = np.empty(size, np.int64), np.empty(size, np.float32)
    for names, numbers, certain in parts:
        labels[names - first], confidence[names - first] = numbers, certain
    return labels, confidence


def in_order_of_old(old: Names, new: Names) -> tuple[Names, Names]:
    """Sort renamings by the old name."""
    order = np.argsort(old)
    return old[order], new[order]


def renamed(labels: Names, old: Names, new: Names) -> Names:
    """Return labels by their new names; those without one stay."""
    if not len(old):
        return labels
    found = np.searchsorted(old, labels)
    found[found == len(old)] = 0
    return np.where(old[found] == labels, new[found], labels)


def among(forest: Forest, allowed: Names) -> Forest:
    """Return the links between some groups alone."""
    inside = np.isin(forest.names, allowed)
    kept = inside[forest.ends].all(axis=1)
    return Forest(forest.names, forest.sizes, forest.ends[kept], forest.scores[kept])
