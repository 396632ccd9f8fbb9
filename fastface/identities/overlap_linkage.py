"""Neighbour-overlap linkage: average linkage on the self-tuned neighbour-overlap kernel.

1. The distance between two unit vectors and the overlap of their neighbourhoods give a similarity
   (`fastface.identities.kernel`).
2. Average linkage joins faces over the edges of the graph (`fastface.identities.linkage`).
3. People with more photos than the graph has neighbours fall into several groups; a few more
   passes compare the neighbourhoods of groups, which do not suffer from that limit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fastface.graph import NeighborGraph
from fastface.identities.kernel import KernelParameters, neighbor_probabilities, square_root
from fastface.identities.linkage import link

__all__ = ["overlap_linkage"]


def _group_sums(values: NDArray[np.float64], groups: csr_matrix) -> NDArray[np.float64]:
    return np.asarray(groups.T @ values)


def _photos_of(photo_ids: NDArray[np.int64] | None, labels: NDArray[np.int64]) -> Any:
    n_groups = int(labels.max()) + 1
    if photo_ids is None:
        return np.zeros(n_groups + 1, np.int64), np.empty(0, np.int64)
    order = np.lexsort((photo_ids, labels))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=n_groups))])
    return offsets.astype(np.int64), photo_ids[order]


def _group_edges(
    edges: tuple[NDArray[np.int32], NDArray[np.int32]], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    a, b = labels[edges[0]], labels[edges[1]]
    low, high = np.minimum(a, b), np.maximum(a, b)
    n_groups = int(labels.max()) + 1
    keys = np.unique((low * n_groups + high)[low != high])
    return (keys // n_groups).astype(np.int32), (keys % n_groups).astype(np.int32)


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
    probabilities = neighbor_probabilities(graph, parameters)
    edges = graph.edges(below=parameters.longest_edge * parameters.cutoff)
    rows = X.astype(np.float64)
    squares = np.einsum("ij,ij->i", rows, rows)

    labels = np.arange(len(X), dtype=np.int64)
    for turn in range(1 + parameters.group_passes):
        n_groups = int(labels.max()) + 1
        groups = csr_matrix(
            (np.ones(len(X)), labels, np.arange(len(X) + 1)), shape=(len(X), n_groups)
        )
        counts = np.bincount(labels, minlength=n_groups).astype(np.int64)
        overlap = _overlap_sums(probabilities, groups, counts)
        joined = link(
            _group_sums(rows, groups),
            _group_sums(squares, groups),
            counts,
            (overlap.indptr.astype(np.int64), overlap.indices.astype(np.int32), overlap.data),
            _photos_of(photo_ids, labels),
            _group_edges(edges, labels),
            cutoff=parameters.cutoff,
            overlap_weight=parameters.overlap_weight,
            stop=parameters.stop if turn == 0 else parameters.stop_between_groups,
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
