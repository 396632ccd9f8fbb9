"""Kernels over neighbour graphs for NVIDIA GPUs, in Numba.

They compute what `csrc/people` and `NeighborGraph.symmetric` do, bit for bit: sums go in the same
order, and what depends on an order of visits keeps it (see `find_levels`).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from fastface import _kernels

__all__ = [
    "MOST_NEIGHBORS",
    "compact_prefixes",
    "count_links",
    "edge_probabilities",
    "fill_links",
    "find_levels",
    "flatten",
    "hook",
    "sort_rows",
    "whisper",
]

cuda: Any = import_module("numba.cuda")

MOST_NEIGHBORS = 128  # of the lists that edge probabilities compare
_LISTED = MOST_NEIGHBORS + 1
_ONE_WAY, _MUTUAL = _kernels.ONE_WAY, _kernels.MUTUAL


@cuda.jit(device=True)
def _direction_of(indices: Any, distances: Any, row: int, place: int, below: float) -> int:
    """Tell of one edge whether it is too long (0), `_ONE_WAY` or `_MUTUAL`."""
    if distances[row, place] >= below:
        return 0
    neighbor = indices[row, place]
    for back in range(indices.shape[1]):
        if indices[neighbor, back] == row:
            return _MUTUAL
    return _ONE_WAY


@cuda.jit
def count_links(indices: Any, distances: Any, below: float, counts: Any) -> None:
    """Count the links of every row, in both directions.  One thread a row.

    A pair is linked where either holds the other nearer than `below`; `counts` begins at zero.
    """
    row = cuda.grid(1)
    if row >= indices.shape[0]:
        return
    for place in range(indices.shape[1]):
        kind = _direction_of(indices, distances, row, place, below)
        if kind == 0:
            continue
        cuda.atomic.add(counts, row, 1)
        if kind != _MUTUAL:
            cuda.atomic.add(counts, indices[row, place], 1)


@cuda.jit
def fill_links(
    indices: Any, distances: Any, below: float, cursors: Any, columns: Any, values: Any
) -> None:
    """Write the links that `count_links` counted, in any order.  One thread a row.

    `cursors` begins as the offsets of the rows.
    """
    row = cuda.grid(1)
    if row >= indices.shape[0]:
        return
    for place in range(indices.shape[1]):
        kind = _direction_of(indices, distances, row, place, below)
        if kind == 0:
            continue
        other = indices[row, place]
        at = cuda.atomic.add(cursors, row, 1)
        columns[at] = other
        values[at] = distances[row, place]
        if kind != _MUTUAL:
            at = cuda.atomic.add(cursors, other, 1)
            columns[at] = row
            values[at] = distances[row, place]


@cuda.jit
def sort_rows(offsets: Any, columns: Any, values: Any) -> None:
    """Sort every row by column, whose order atomics have left to chance.  One thread a row.

    By insertion: rows are short.
    """
    row = cuda.grid(1)
    if row >= offsets.shape[0] - 1:
        return
    for i in range(offsets[row] + 1, offsets[row + 1]):
        column = columns[i]
        value = values[i]
        j = i - 1
        while j >= offsets[row] and columns[j] > column:
            columns[j + 1] = columns[j]
            values[j + 1] = values[j]
            j -= 1
        columns[j + 1] = column
        values[j + 1] = value


@cuda.jit
def edge_probabilities(
    indices: Any, weights: Any, k: int, theta: float, values: Any, counts: Any
) -> None:
    """Find how much of a neighbourhood each face shares with its neighbours.  One block a face.

    See `probable_links` of csrc/people/links.hpp.  ``weights[i]`` are what face i gives itself and
    its k neighbours, nothing beyond the farthest distance that counts.  ``counts[i]`` is how many
    neighbours come before the first below `theta`.
    """
    face = cuda.blockIdx.x
    own = cuda.shared.array(_LISTED, dtype=np.int32)
    for place in range(cuda.threadIdx.x, k + 1, cuda.blockDim.x):
        own[place] = face if place == 0 else indices[face, place - 1]
    cuda.syncthreads()
    for rank in range(cuda.threadIdx.x, k, cuda.blockDim.x):
        if weights[face, rank + 1] == 0.0:  # too far away
            values[face, rank] = -1.0
            continue
        other = own[rank + 1]
        probability = 0.0
        for place in range(k + 1):
            common = other if place == 0 else indices[other, place - 1]
            for here in range(k, -1, -1):
                if own[here] == common:
                    # Who is too far from either is no neighbour of both.
                    if weights[face, here] > 0.0 and weights[other, place] > 0.0:
                        probability += (weights[face, here] + weights[other, place]) / 2
                    break
        # Beyond float32, in which links are kept, `theta` still decides.
        values[face, rank] = probability if probability >= theta else -1.0
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        count = 0
        while count < k and values[face, count] >= 0.0:
            count += 1
        counts[face] = count


@cuda.jit
def compact_prefixes(
    indices: Any, values: Any, counts: Any, offsets: Any, columns: Any, data: Any
) -> None:
    """Write the first ``counts[i]`` entries of every row behind each other.  One thread a row."""
    row = cuda.grid(1)
    if row >= counts.shape[0]:
        return
    for place in range(counts[row]):
        columns[offsets[row] + place] = indices[row, place]
        data[offsets[row] + place] = values[row, place]


@cuda.jit(device=True)
def _level_after(
    node: int, other: int, position: Any, levels: Any, level: int, waiting: Any
) -> Any:
    """Return the level of `node` with one more neighbour looked at, or -1 if that has none yet."""
    if position[other] >= position[node]:
        return level
    below = levels[other]
    if below < 0:
        cuda.atomic.add(waiting, 0, 1)
        return -1
    return below + 1 if below >= level else level


@cuda.jit
def find_levels(
    offsets: Any,
    columns: Any,
    id_offsets: Any,
    ids: Any,
    mate_offsets: Any,
    mates: Any,
    position: Any,
    levels: Any,
    waiting: Any,
) -> None:
    """Give a level to every node all of whose predecessors have one.  One thread a node.

    Visited one after the other, a node sees the new labels of those before it.  Only neighbours,
    and nodes it shares an exclusion with, concern it: one level above the highest of those that
    come before it, it may be visited together with all of its level.  `levels` begins at -1;
    `waiting` counts the nodes without one.
    """
    node = cuda.grid(1)
    if node >= levels.shape[0] or levels[node] >= 0:
        return
    level = 0
    for e in range(offsets[node], offsets[node + 1]):
        level = _level_after(node, columns[e], position, levels, level, waiting)
        if level < 0:
            return
    for i in range(id_offsets[node], id_offsets[node + 1]):
        for m in range(mate_offsets[ids[i]], mate_offsets[ids[i] + 1]):
            level = _level_after(node, mates[m], position, levels, level, waiting)
            if level < 0:
                return
    levels[node] = level


@cuda.jit(device=True)
def _votes(
    node: int,
    label: int,
    offsets: Any,
    columns: Any,
    values: Any,
    id_offsets: Any,
    ids: Any,
    mate_offsets: Any,
    mates: Any,
    labels: Any,
) -> float:
    """Return the weight of a label among neighbours; none if the same photo holds it."""
    for i in range(id_offsets[node], id_offsets[node + 1]):
        for m in range(mate_offsets[ids[i]], mate_offsets[ids[i] + 1]):
            if mates[m] != node and labels[mates[m]] == label:
                return 0.0
    total = 0.0
    for e in range(offsets[node], offsets[node + 1]):
        if labels[columns[e]] == label:
            total += values[e]
    return total


@cuda.jit
def whisper(
    nodes: Any,
    offsets: Any,
    columns: Any,
    values: Any,
    id_offsets: Any,
    ids: Any,
    mate_offsets: Any,
    mates: Any,
    labels: Any,
    changed: Any,
) -> None:
    """Visit the nodes of one level: `chinese_whispers` of csrc/people/links.hpp.  A thread each."""
    turn = cuda.grid(1)
    if turn >= nodes.shape[0]:
        return
    node = nodes[turn]
    before = labels[node]
    best = before
    most = _votes(
        node, best, offsets, columns, values, id_offsets, ids, mate_offsets, mates, labels
    )
    for e in range(offsets[node], offsets[node + 1]):
        label = labels[columns[e]]
        if label == best:
            continue
        found = _votes(
            node, label, offsets, columns, values, id_offsets, ids, mate_offsets, mates, labels
        )
        if found > most or (found == most and most > 0.0 and label < best):
            best = label
            most = found
    if best != before:
        labels[node] = best
        changed[0] = 1


@cuda.jit(device=True)
def _root(parent: Any, node: int) -> int:
    while parent[node] != node:
        node = parent[node]
    return node


@cuda.jit
def hook(indices: Any, distances: Any, threshold: float, items: Any, parent: Any) -> None:
    """Join faces nearer than a threshold.  One thread a row.

    The larger root is hung below the smaller one, without locks, as by J. Jaiganesh and
    M. Burtscher ("A high-performance connected components implementation for GPUs", HPDC 2018);
    where another thread was faster, what it hung the root below is joined next.  `parent` begins
    as 0, 1, 2, ...; ``items[i]`` is where face i stands in it.
    """
    row = cuda.grid(1)
    if row >= indices.shape[0]:
        return
    for place in range(indices.shape[1]):
        if not distances[row, place] < threshold:
            continue
        a = _root(parent, items[row])
        b = _root(parent, items[indices[row, place]])
        while a != b:
            high, low = (a, b) if a > b else (b, a)
            found = cuda.atomic.min(parent, high, low)
            if found == high:
                break
            a, b = _root(parent, found), _root(parent, low)


@cuda.jit
def flatten(parent: Any) -> None:
    """Point every node to its root.  One thread a node."""
    node = cuda.grid(1)
    if node < parent.shape[0]:
        parent[node] = _root(parent, node)
