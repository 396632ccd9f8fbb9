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

__all__ = ["join_groups", "overlap_linkage"]


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
        labels, n_merged = join_groups(
            turn, indices, distances, X, shares, labels, n_groups, constraints.of_faces, parameters,
            n_threads=n_threads,
        )  # fmt: skip
        if turn > 0 and n_merged == n_groups:
            break
        n_groups = n_merged
    return by_first_appearance(labels)


def join_groups(
    turn: int,
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    X: NDArray[np.float32],
    shares: _kernels.NeighborShares,
    labels: NDArray[np.int32],
    n_groups: int,
    exclusions: _kernels.Exclusions,
    parameters: KernelParameters,
    *,
    stop: float | None = None,
    n_threads: int = 1,
) -> tuple[NDArray[np.int32], int]:
    """Take one turn: join groups, best pair first.

    Parameters
    ----------
    turn : int
        0 for faces, from 1 on for the groups they made.
    indices, distances, X, shares
        The graph, the unit rows, and `neighbor_shares`.
    labels : ndarray of int32, shape (n_samples,)
        Group of each face, numbered from 0 in order of their first faces.
    n_groups : int
        How many.
    exclusions : Exclusions
        What may not be joined.
    parameters : KernelParameters
        Constants.
    stop : float, optional
        Another one than that of the turn.
    n_threads : int
        Threads.

    Returns
    -------
    labels : ndarray of int32, shape (n_samples,)
        Numbered likewise.
    n_groups : int
    """
    usual = parameters.stop if turn == 0 else parameters.stop_between_groups
    joined = _kernels.average_linkage(
        indices,
        distances,
        X,
        shares,
        labels,
        n_groups,
        exclusions,
        parameters.cutoff,
        parameters.overlap_weight,
        parameters.longest_edge * parameters.cutoff,
        usual if stop is None else stop,
        0 if turn == 0 else indices.shape[1],
        n_threads,
    )
    merged = np.unique(joined[labels], return_inverse=True)[1].astype(np.int32)
    return merged, int(merged.max()) + 1
