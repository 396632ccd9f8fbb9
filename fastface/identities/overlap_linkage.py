"""Neighbour-overlap linkage: average linkage on the self-tuned neighbour-overlap kernel.

1. The distance between two unit vectors and the overlap of their neighbourhoods give a similarity
   (`fastface.identities.kernel`).
2. Average linkage joins faces over the edges of the graph (``csrc/people/linkage``).
3. People with more photos than the graph has neighbours fall into several groups; a few more
   passes compare the neighbourhoods of groups that together are larger than a list, which do not
   suffer from that limit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface import _kernels
from fastface.graph import NeighborGraph
from fastface.identities.constraints import Constraints
from fastface.identities.kernel import KernelParameters, lists, neighbor_shares
from fastface.identities.numbering import by_first_appearance

__all__ = ["overlap_linkage"]


def overlap_linkage(
    X: NDArray[np.float32],
    graph: NeighborGraph,
    *,
    constraints: Constraints | None = None,
    parameters: KernelParameters | None = None,
    n_threads: int = 1,
) -> NDArray[np.int64]:
    """Group unit vectors into people.

    Parameters
    ----------
    X : ndarray of float32, shape (n_samples, n_features)
        Unit rows.
    graph : NeighborGraph
        Built from `X` with Euclidean distances.
    constraints : Constraints, optional
        Respected.
    parameters : KernelParameters, optional
        Constants.
    n_threads : int
        Threads; the result does not depend on them.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    parameters = parameters or KernelParameters()
    constraints = constraints or Constraints(len(X))
    indices, distances = lists(graph)
    shares = neighbor_shares(graph, parameters, n_threads=n_threads)
    labels, n_groups = constraints.items, constraints.n_items
    for turn in range(1 + parameters.group_passes):
        joined = _kernels.average_linkage(
            indices,
            distances,
            X,
            shares,
            labels,
            n_groups,
            constraints.of_faces,
            parameters.cutoff,
            parameters.overlap_weight,
            parameters.longest_edge * parameters.cutoff,
            parameters.stop if turn == 0 else parameters.stop_between_groups,
            0 if turn == 0 else graph.n_neighbors,
            n_threads,
        )
        merged = np.unique(joined[labels], return_inverse=True)[1].astype(np.int32)
        n_merged = int(merged.max()) + 1
        if turn > 0 and n_merged == n_groups:
            break
        labels, n_groups = merged, n_merged
    return by_first_appearance(labels)
