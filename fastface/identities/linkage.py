"""Average linkage on a sparse graph, best pair first, with exact means and cannot-links.

The similarity of two groups is the mean over all their pairs of faces of

    K(i, j) = (1 - w) (1 - d(i, j)^2 / cutoff^2) + w <s_i, s_j>

Both terms are bilinear, so that the mean over all pairs follows from sums kept per group: no pair
is ever guessed, also none that the graph does not hold.  The graph only says which groups are
compared at all.
"""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Items", "Rows", "average_linkage"]


class Rows(NamedTuple):
    """Sparse rows: row i has `columns[offsets[i]:offsets[i + 1]]` and the values beside them."""

    offsets: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]


class Items(NamedTuple):
    """What is merged: faces at first, groups of faces later."""

    sizes: NDArray[np.int64]  # (m,) faces in each
    vectors: NDArray[np.float32]  # (m, d) sums of their embeddings; overwritten
    length: float  # common length of the embeddings
    overlaps: Rows  # sums of their unit rows s
    edges: Rows  # which items are compared; symmetric, values unused
    photos: Rows  # photos in which they are, if those hold several faces; values unused


class _Groups(NamedTuple):
    """Groups while they grow, each named by its lowest item.

    Neighbours and photos are chains over the entries of `Items`: joining two moves no entry.  Rows
    are read far more often than joined: each lies in one piece of a pool, a joined one at its end.
    """

    parent: NDArray[np.int32]
    version: NDArray[np.int32]
    sizes: NDArray[np.int64]
    vectors: NDArray[np.float32]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    row_start: NDArray[np.int64]
    row_size: NDArray[np.int64]
    pool_end: NDArray[np.int64]  # (1,) entries of the pool in use or abandoned
    targets: NDArray[np.int32]
    edge_next: NDArray[np.int64]
    edge_head: NDArray[np.int64]
    edge_tail: NDArray[np.int64]
    photos: NDArray[np.int32]
    photo_next: NDArray[np.int64]
    photo_head: NDArray[np.int64]
    photo_tail: NDArray[np.int64]


class _Desk(NamedTuple):
    """One group laid open, so that many others can be compared with it quickly."""

    tick: NDArray[np.int64]  # (1,) marks are valid where they equal it
    row: NDArray[np.float32]  # its row of overlaps, zero elsewhere
    photo_marks: NDArray[np.int64]
    group_marks: NDArray[np.int64]


@njit(cache=True, nogil=True)
def _chains(offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Turn consecutive rows into chains: next entry, first and last entry of each row, or -1."""
    n_rows = offsets.size - 1
    following = np.arange(1, offsets[-1] + 1)
    head = np.full(n_rows, -1, np.int64)
    tail = np.full(n_rows, -1, np.int64)
    for row in range(n_rows):
        if offsets[row + 1] > offsets[row]:
            head[row] = offsets[row]
            tail[row] = offsets[row + 1] - 1
            following[tail[row]] = -1
    return following, head, tail


@njit(cache=True, nogil=True)
def _find(parent: NDArray[np.int32], item: int) -> int:
    """Return the group an item is in now, shortening the way there."""
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


@njit(cache=True, nogil=True)
def _lay_open(groups: _Groups, desk: _Desk, group: int) -> None:
    desk.tick[0] += 1
    tick = desk.tick[0]
    desk.group_marks[group] = tick
    start = groups.row_start[group]
    for entry in range(start, start + groups.row_size[group]):
        desk.row[groups.columns[entry]] = groups.values[entry]
    entry = groups.photo_head[group]
    while entry >= 0:
        desk.photo_marks[groups.photos[entry]] = tick
        entry = groups.photo_next[entry]


@njit(cache=True, nogil=True)
def _clear(groups: _Groups, desk: _Desk, group: int) -> None:
    start = groups.row_start[group]
    for entry in range(start, start + groups.row_size[group]):
        desk.row[groups.columns[entry]] = 0


@njit(cache=True, nogil=True)
def _share_photo(groups: _Groups, desk: _Desk, other: int) -> bool:
    """Whether `other` has a face in a photo of the group on the desk."""
    entry = groups.photo_head[other]
    while entry >= 0:
        if desk.photo_marks[groups.photos[entry]] == desk.tick[0]:
            return True
        entry = groups.photo_next[entry]
    return False


@njit(cache=True, nogil=True)
def _similarity(
    groups: _Groups,
    desk: _Desk,
    group: int,
    other: int,
    length: float,
    cutoff: float,
    overlap_weight: float,
) -> float:
    """Mean of K over all pairs of the group on the desk and `other`."""
    product = 0.0
    for feature in range(groups.vectors.shape[1]):
        product += float(groups.vectors[group, feature]) * float(groups.vectors[other, feature])
    overlap = 0.0
    start = groups.row_start[other]
    for entry in range(start, start + groups.row_size[other]):
        overlap += float(desk.row[groups.columns[entry]]) * float(groups.values[entry])
    n_pairs = float(groups.sizes[group]) * float(groups.sizes[other])
    squared = 2.0 * (length * length - product / n_pairs)
    closeness = 1.0 - squared / (cutoff * cutoff)
    return (1.0 - overlap_weight) * closeness + overlap_weight * overlap / n_pairs


@njit(cache=True, nogil=True)
def _compare(
    groups: _Groups,
    desk: _Desk,
    heap: list[tuple[float, int, int, int]],
    group: int,
    lowest: int,
    length: float,
    cutoff: float,
    overlap_weight: float,
    stop: float,
) -> None:
    """Score a group against its neighbours from `lowest` on; tidy its list of neighbours.

    Neighbours met twice are dropped from the list, and so are those that can never be joined.
    """
    _lay_open(groups, desk, group)
    previous = -1
    entry = groups.edge_head[group]
    while entry >= 0:
        other = _find(groups.parent, groups.targets[entry])
        following = groups.edge_next[entry]
        seen = desk.group_marks[other] == desk.tick[0]
        if seen or _share_photo(groups, desk, other):
            if previous < 0:
                groups.edge_head[group] = following
            else:
                groups.edge_next[previous] = following
            if following < 0:
                groups.edge_tail[group] = previous
        else:
            previous = entry
            if other >= lowest:
                score = _similarity(groups, desk, group, other, length, cutoff, overlap_weight)
                if score >= stop:
                    a, b = min(group, other), max(group, other)
                    stamp = groups.version[a] + groups.version[b]
                    heapq.heappush(heap, (-score, a, b, stamp))
        desk.group_marks[other] = desk.tick[0]
        entry = following
    _clear(groups, desk, group)


@njit(cache=True, nogil=True)
def _join_chains(
    following: NDArray[np.int64],
    head: NDArray[np.int64],
    tail: NDArray[np.int64],
    group: int,
    other: int,
) -> None:
    if head[other] < 0:
        return
    if head[group] < 0:
        head[group] = head[other]
    else:
        following[tail[group]] = head[other]
    tail[group] = tail[other]


@njit(cache=True, nogil=True)
def _merge(groups: _Groups, desk: _Desk, group: int, other: int) -> None:
    """Put `other` into `group`."""
    groups.parent[other] = group
    groups.version[group] += 1
    groups.version[other] += 1
    groups.sizes[group] += groups.sizes[other]
    for feature in range(groups.vectors.shape[1]):
        groups.vectors[group, feature] += groups.vectors[other, feature]
    _join_chains(groups.edge_next, groups.edge_head, groups.edge_tail, group, other)
    _join_chains(groups.photo_next, groups.photo_head, groups.photo_tail, group, other)
    _add_row(groups, desk, group, other)


@njit(cache=True, nogil=True)
def _close_gaps(groups: _Groups) -> None:
    """Move all rows to the front of the pool, in the order in which they lie."""
    live = np.flatnonzero(groups.row_size)
    end = 0
    for group in live[np.argsort(groups.row_start[live])]:
        start, size = groups.row_start[group], groups.row_size[group]
        for place in range(size):
            groups.columns[end + place] = groups.columns[start + place]
            groups.values[end + place] = groups.values[start + place]
        groups.row_start[group] = end
        end += size
    groups.pool_end[0] = end


@njit(cache=True, nogil=True)
def _append_entry(groups: _Groups, column: int, value: float) -> None:
    groups.columns[groups.pool_end[0]] = column
    groups.values[groups.pool_end[0]] = value
    groups.pool_end[0] += 1


@njit(cache=True, nogil=True)
def _add_row(groups: _Groups, desk: _Desk, group: int, other: int) -> None:
    """Add the row of `other` to that of `group`; entries of a shared column become one."""
    n_entries = groups.row_size[group] + groups.row_size[other]
    if groups.pool_end[0] + n_entries > groups.columns.size:
        _close_gaps(groups)
    _lay_open(groups, desk, other)
    joined = groups.pool_end[0]
    start = groups.row_start[group]
    for entry in range(start, start + groups.row_size[group]):
        column = groups.columns[entry]
        _append_entry(groups, column, groups.values[entry] + desk.row[column])
        desk.row[column] = 0
    start = groups.row_start[other]
    for entry in range(start, start + groups.row_size[other]):
        if desk.row[groups.columns[entry]] > 0:
            _append_entry(groups, groups.columns[entry], groups.values[entry])
    _clear(groups, desk, other)
    groups.row_start[group] = joined
    groups.row_size[group] = groups.pool_end[0] - joined
    groups.row_size[other] = 0


@njit(cache=True, nogil=True)
def _pool(entries: NDArray[Any]) -> NDArray[Any]:
    """Return twice the room: joined rows are never longer than both, so that one more copy fits."""
    pool = np.empty(2 * entries.size, entries.dtype)
    pool[: entries.size] = entries
    return pool


@njit(cache=True, nogil=True)
def average_linkage(
    items: Items, n_columns: int, n_photos: int, cutoff: float, overlap_weight: float, stop: float
) -> NDArray[np.int32]:
    """Merge the most similar pair of neighbouring groups until none reaches `stop`.

    Among equally similar pairs the one with the lowest items goes first.  Two groups that hold
    faces of one photo are never merged.

    Parameters
    ----------
    items : Items
        What to merge.  Its vectors are overwritten.
    n_columns, n_photos : int
        One more than the largest column of the overlaps and than the largest photo.
    cutoff, overlap_weight, stop : float
        See the head of this file.

    Returns
    -------
    ndarray of int32, shape (m,)
        The lowest item of the group each item is in.
    """
    m = items.sizes.size
    offsets = items.overlaps.offsets
    edge_next, edge_head, edge_tail = _chains(items.edges.offsets)
    photo_next, photo_head, photo_tail = _chains(items.photos.offsets)
    groups = _Groups(
        np.arange(m).astype(np.int32),
        np.zeros(m, np.int32),
        items.sizes.copy(),
        items.vectors,
        _pool(items.overlaps.columns),
        _pool(items.overlaps.values),
        offsets[:-1].copy(),
        np.diff(offsets),
        offsets[-1:].copy(),
        items.edges.columns,
        edge_next,
        edge_head,
        edge_tail,
        items.photos.columns,
        photo_next,
        photo_head,
        photo_tail,
    )
    desk = _Desk(
        np.zeros(1, np.int64),
        np.zeros(n_columns, np.float32),
        np.zeros(n_photos, np.int64),
        np.zeros(m, np.int64),
    )
    heap = [(0.0, 0, 0, -1)]
    heap.clear()
    for group in range(m):
        _compare(groups, desk, heap, group, group, items.length, cutoff, overlap_weight, stop)
    while len(heap) > 0:
        _, group, other, stamp = heapq.heappop(heap)
        if groups.parent[group] != group or groups.parent[other] != other:
            continue
        if groups.version[group] + groups.version[other] != stamp:
            continue
        _merge(groups, desk, group, other)
        _compare(groups, desk, heap, group, 0, items.length, cutoff, overlap_weight, stop)
    for item in range(m):
        groups.parent[item] = _find(groups.parent, item)
    return groups.parent
