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


@njit(cache=True)  # type: ignore[untyped-decorator]
def _sweep(starts, targets, order, labels, photos, n_photos, taken, constrained):  # type: ignore[no-untyped-def]
    changes = 0
    for face in order:
        neighbors = targets[starts[face] : starts[face + 1]]
        if len(neighbors) == 0:
            continue
        votes = np.sort(labels[neighbors])
        own, photo = labels[face], photos[face]
        best, best_votes = own, 0
        i = 0
        while i < len(votes):
            label = votes[i]
            j = i
            while j < len(votes) and votes[j] == label:
                j += 1
            allowed = (
                not constrained or label == own or not taken.get(label * n_photos + photo, False)
            )
            if j - i > best_votes and allowed:
                best, best_votes = label, j - i
            i = j
        if best != own:
            if constrained:
                taken[own * n_photos + photo] = False
                taken[best * n_photos + photo] = True
            labels[face] = best
            changes += 1
    return changes


@njit(cache=True)  # type: ignore[untyped-decorator]
def _taken(labels, photos, n_photos):  # type: ignore[no-untyped-def]
    taken = {np.int64(-1): True}
    for face in range(len(labels)):
        taken[labels[face] * n_photos + photos[face]] = True
    return taken


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
    first, second = graph.edges(below=threshold)
    rows = np.concatenate([first, second]).astype(np.int64)
    targets = np.concatenate([second, first]).astype(np.int64)[np.argsort(rows, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))]).astype(np.int64)
    order = np.random.Generator(np.random.Philox(seed)).permutation(n)

    labels = np.arange(n, dtype=np.int64)
    constrained = photo_ids is not None
    photos = (
        np.unique(photo_ids, return_inverse=True)[1].astype(np.int64)
        if photo_ids is not None
        else np.zeros(n, np.int64)
    )
    n_photos = int(photos.max()) + 1
    taken = _taken(labels if constrained else labels[:0], photos, n_photos)
    for _ in range(max_sweeps):
        if not _sweep(starts, targets, order, labels, photos, n_photos, taken, constrained):
            break
    _, first_seen, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first_seen), np.int64)
    rank[np.argsort(first_seen)] = np.arange(len(first_seen))
    result: NDArray[np.int64] = rank[inverse]
    return result
