"""Chinese whispers: every face takes the label most of its near neighbours have.

The method of dlib's ``chinese_whispers_clustering`` (C. Biemann, "Chinese whispers", TextGraphs
2006), made deterministic: faces are visited in an order drawn once from `seed`, ties go to the
lowest label, and sweeps end when nothing changes.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fastface.graph import NeighborGraph

__all__ = ["chinese_whispers"]


@njit(cache=True, nogil=True)
def _sweep(
    offsets: NDArray[np.int64],
    targets: NDArray[np.int32],
    order: NDArray[np.int64],
    labels: NDArray[np.int64],
    mates: NDArray[np.int64],
) -> int:
    """Visit every face once; return how many changed their label."""
    n_changed = 0
    votes = np.zeros(labels.size, np.int64)
    for face in order:
        neighbors = targets[offsets[face] : offsets[face + 1]]
        for neighbor in neighbors:
            votes[labels[neighbor]] += 1
        # Labels held in the same photo cannot be taken.
        mate = mates[face]
        while mate != face:
            votes[labels[mate]] = 0
            mate = mates[mate]
        best, most = labels[face], votes[labels[face]]
        for neighbor in neighbors:
            label = labels[neighbor]
            if votes[label] > most or (votes[label] == most > 0 and label < best):
                best, most = label, votes[label]
        for neighbor in neighbors:
            votes[labels[neighbor]] = 0
        if best != labels[face]:
            labels[face] = best
            n_changed += 1
    return n_changed


def _photo_rings(photo_ids: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """Return for every face the next one in its photo, the last leading back to the first."""
    following = np.arange(n)
    if photo_ids is None:
        return following
    order = np.argsort(photo_ids, kind="stable")
    starts = np.flatnonzero(np.diff(photo_ids[order], prepend=photo_ids[order[0]] - 1))
    ends = np.append(starts[1:], n) - 1
    following[order[:-1]] = order[1:]
    following[order[ends]] = order[starts]
    return following


def chinese_whispers(
    graph: NeighborGraph,
    *,
    threshold: float,
    photo_ids: NDArray[np.int64] | None = None,
    max_sweeps: int = 100,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Group faces that are nearer than a threshold.

    Parameters
    ----------
    graph : NeighborGraph
        Neighbours; edges count from either end.
    threshold : float
        Two faces are linked when nearer than this.
    photo_ids : ndarray of int64, shape (n_samples,), optional
        Two rows of one photo never carry one label.
    max_sweeps : int
        Most passes over all faces.
    seed : int
        Of the order in which faces are visited.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    n = graph.n_samples
    links = graph.symmetric(below=threshold)
    offsets, targets = links.indptr.astype(np.int64), links.indices.astype(np.int32)
    order = np.random.Generator(np.random.Philox(seed)).permutation(n)
    mates = _photo_rings(photo_ids, n)
    labels = np.arange(n, dtype=np.int64)
    for _ in range(max_sweeps):
        if _sweep(offsets, targets, order, labels, mates) == 0:
            break
    _, first_seen, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first_seen), np.int64)
    rank[np.argsort(first_seen)] = np.arange(len(first_seen))
    result: NDArray[np.int64] = rank[inverse]
    return result
