"""Neighbour-overlap linkage: average linkage on the self-tuned neighbour-overlap kernel.

1. The distance between two unit vectors and the overlap of their neighbourhoods give a similarity
   (`fastface.identities.kernel`).
2. Average linkage joins faces over the edges of the graph (`fastface.identities.linkage`).
3. People with more photos than the graph has neighbours fall into several groups; a few more
   passes compare the neighbourhoods of groups, which do not suffer from that limit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fastface.graph import NeighborGraph
from fastface.identities.kernel import KernelParameters, neighbor_probabilities, square_root
from fastface.identities.linkage import Items, Rows, average_linkage

__all__ = ["overlap_linkage"]


def _rows(matrix: csr_matrix) -> Rows:
    return Rows(
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data.astype(np.float32),
    )


def _shared_photos(photo_ids: NDArray[np.int64] | None, n: int) -> csr_matrix:
    """Return which face is in which photo, for photos of several faces."""
    if photo_ids is None:
        return csr_matrix((n, 1))
    _, codes, counts = np.unique(photo_ids, return_inverse=True, return_counts=True)
    faces = np.flatnonzero(counts[codes] > 1)
    columns = np.unique(codes[faces], return_inverse=True)[1]
    shape = (n, int(columns.max(initial=0)) + 1)
    return csr_matrix((np.ones(len(faces)), (faces, columns)), shape=shape)


def overlap_linkage(
    X: NDArray[np.float32],
    graph: NeighborGraph,
    *,
    photo_ids: NDArray[np.int64] | None = None,
    parameters: KernelParameters | None = None,
) -> NDArray[np.int64]:
    """Group unit vectors into people.

    Parameters
    ----------
    X : ndarray of float32, shape (n_samples, n_features)
        Unit rows.
    graph : NeighborGraph
        Built from `X` with Euclidean distances.
    photo_ids : ndarray of int64, shape (n_samples,), optional
        Two rows of one photo are never put together.
    parameters : KernelParameters, optional
        Constants.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    parameters = parameters or KernelParameters()
    n = len(X)
    probabilities = neighbor_probabilities(graph, parameters)
    edges = graph.symmetric(below=parameters.longest_edge * parameters.cutoff)
    edges.data = np.ones_like(edges.data)  # a distance of zero is an edge like any other
    photos = _shared_photos(photo_ids, n)

    labels = np.arange(n, dtype=np.int64)
    for turn in range(1 + parameters.group_passes):
        n_groups = int(labels.max()) + 1
        groups = csr_matrix((np.ones(n), labels, np.arange(n + 1)), shape=(n, n_groups))
        sizes = np.bincount(labels, minlength=n_groups).astype(np.int64)
        between = groups.T @ edges @ groups
        items = Items(
            sizes=sizes,
            vectors=np.ascontiguousarray(groups.T @ X, dtype=np.float32),
            length=1.0,
            overlaps=_rows(_overlap_sums(probabilities, groups, sizes)),
            edges=_rows(between.tocsr()),
            photos=_rows((groups.T @ photos).tocsr()),
        )
        joined = average_linkage(
            items,
            n_groups,
            photos.shape[1],
            parameters.cutoff,
            parameters.overlap_weight,
            parameters.stop if turn == 0 else parameters.stop_between_groups,
        )
        merged = np.unique(joined[labels], return_inverse=True)[1].astype(np.int64)
        if turn > 0 and int(merged.max()) + 1 == n_groups:
            break
        labels = merged
    return labels


def _overlap_sums(
    probabilities: csr_matrix, groups: csr_matrix, counts: NDArray[np.int64]
) -> csr_matrix:
    """Return n_A times the unit neighbour vector of each group A, over groups."""
    weights = csr_matrix(
        (1.0 / counts[groups.indices], groups.indices, groups.indptr), shape=groups.shape
    )
    mean_rows = (weights.T @ probabilities @ groups).tocsr()
    mean_rows.sort_indices()
    summed = square_root(mean_rows)
    summed.data *= np.repeat(counts, np.diff(summed.indptr))
    return summed
