"""New faces for people who are known: what `IdentityClustering.update` does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.distances import nearest_neighbors
from fastface.graph import NeighborGraph
from fastface.graph.rows import fingerprint
from fastface.identities.kernel import KernelParameters

__all__ = ["Growth", "grow", "neighborhood"]


@dataclass(frozen=True)
class Growth:
    """A graph with new rows at its end.

    Attributes
    ----------
    graph : NeighborGraph
        Of all rows.
    n_before : int
        Rows that were there.
    """

    graph: NeighborGraph
    n_before: int


def grow(
    graph: NeighborGraph,
    rows: NDArray[np.float32],
    n_new: int,
    *,
    device: str,
    n_threads: int | None,
) -> Growth:
    """Add rows to a graph without comparing the others again.

    Parameters
    ----------
    graph : NeighborGraph
        Of the first rows.
    rows : ndarray of float32, shape (n_samples, n_features)
        All unit rows, new ones last.
    n_new : int
        How many are new.
    device, n_threads
        Where the new rows are compared.

    Returns
    -------
    Growth
        Every new row has its nearest neighbours among all; an earlier row has taken in
        those new ones that have it among theirs and are nearer than its farthest neighbour was: so
        edges that go both ways are all there, and a few that no longer would.
    """
    n = len(rows)
    n_before = n - n_new
    k = graph.n_neighbors if graph.n_neighbors else 1
    wanted = min(k + 1, n)
    distances, indices = nearest_neighbors(
        np.ascontiguousarray(rows[n_before:]),
        rows,
        n_neighbors=wanted,
        metric="euclidean",
        device=device,
        n_threads=n_threads,
    )
    own = np.arange(n_before, n)[:, None]
    # A row is nearest to itself, unless it has more copies than places.
    order = np.argsort(indices != own, axis=1, kind="stable")[:, 1:]
    near = np.take_along_axis(indices, order, axis=1)
    far = np.take_along_axis(distances, order, axis=1)
    if near.shape[1] < k:
        missing = k - near.shape[1]
        near = np.hstack([near, np.repeat(own, missing, axis=1)])
        far = np.hstack([far, np.full((n_new, missing), np.inf, np.float32)])
    old_near = np.asarray(graph.indices).reshape(n_before, -1)
    old_far = np.asarray(graph.distances).reshape(n_before, -1)
    if old_near.shape[1] < k:
        old_near = np.arange(n_before, dtype=np.int32)[:, None]
        old_far = np.full((n_before, 1), np.inf, np.float32)
    all_near = np.concatenate([old_near, near.astype(np.int32)])
    all_far = np.concatenate([old_far.astype(np.float32), far.astype(np.float32)])

    new, places = np.nonzero((near < n_before) & np.isfinite(far))
    targets, lengths = near[new, places], far[new, places]
    nearer = lengths < all_far[targets, -1]
    _insert(all_near, all_far, targets[nearer], n_before + new[nearer], lengths[nearer])
    grown = replace(graph, indices=all_near, distances=all_far, fingerprint=fingerprint(rows))
    return Growth(grown, n_before)


def _insert(
    near: NDArray[np.int32],
    far: NDArray[np.float32],
    rows: NDArray[Any],
    added: NDArray[Any],
    lengths: NDArray[np.float32],
) -> None:
    """Put edges into sorted lists of a fixed length, in place."""
    touched, place = np.unique(rows, return_inverse=True)
    if not len(touched):
        return
    k = near.shape[1]
    row = np.concatenate([np.repeat(np.arange(len(touched)), k), place])
    column = np.concatenate([near[touched].ravel(), added])
    length = np.concatenate([far[touched].ravel(), lengths])
    order = np.lexsort((column, length, row))
    starts = np.searchsorted(row[order], np.arange(len(touched)))
    kept = order[starts[:, None] + np.arange(k)]
    near[touched] = column[kept]
    far[touched] = length[kept]


def neighborhood(growth: Growth, labels: NDArray[np.int64], cutoff: float) -> NDArray[np.int64]:
    """Return the faces that decide where new ones go: these, and all of the people they are near.

    Parameters
    ----------
    growth : Growth
        The graph.
    labels : ndarray of int64, shape (n_before,)
        People, numbered from 0.
    cutoff : float
        Distance beyond which two faces are hardly ever one person.

    Returns
    -------
    ndarray of int64
        Rows, increasing.
    """
    graph, n_before = growth.graph, growth.n_before
    near = graph.indices[n_before:]
    close = graph.distances[n_before:] < KernelParameters().longest_edge * cutoff
    touched = np.zeros(int(labels.max()) + 1, bool)
    touched[labels[near[close & (near < n_before)]]] = True
    new = np.arange(n_before, graph.n_samples)
    return np.concatenate([np.flatnonzero(touched[labels]), new])
