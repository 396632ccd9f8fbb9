"""Approximate rank-order clustering: neighbours of each other whose neighbour lists agree.

C. Otto, D. Wang, A. K. Jain, "Clustering millions of faces by identity" (IEEE TPAMI 2018, first
arXiv 1604.00989 of 2016), section 4: the rank-order distance with a neighbour counted by its
presence in the other list, links below a threshold joined in one transitive pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface import _kernels
from fastface.graph import NeighborGraph
from fastface.identities.constraints import Constraints
from fastface.identities.kernel import lists

__all__ = ["rank_order"]

N_NEIGHBORS = 20
THRESHOLD = 0.1


def rank_order(
    graph: NeighborGraph,
    *,
    threshold: float = THRESHOLD,
    n_neighbors: int = N_NEIGHBORS,
    constraints: Constraints | None = None,
    n_threads: int = 1,
) -> NDArray[np.int64]:
    """Group faces by rank order.

    Parameters
    ----------
    graph : NeighborGraph
        Neighbours; only their order counts.
    threshold : float
        Rank-order distance below which two faces are one person.
    n_neighbors : int
        Length of the lists that are compared: about the number of photos of a person.
    constraints : Constraints, optional
        Respected: links go nearest first, those that would break one are skipped.
    n_threads : int
        Threads; the result does not depend on them.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    constraints = constraints or Constraints(graph.n_samples)
    offsets, columns, distances = _kernels.rank_order_links(
        *lists(graph), min(n_neighbors, graph.n_neighbors), threshold, n_threads
    )
    rows = np.repeat(np.arange(graph.n_samples), np.diff(offsets))
    return constraints.join(rows, columns, distances)
