"""Connected components: faces nearer than a threshold are one person, and so on transitively."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface.graph import NeighborGraph
from fastface.identities.constraints import Constraints

__all__ = ["components"]


def components(
    graph: NeighborGraph, *, threshold: float, constraints: Constraints | None = None
) -> NDArray[np.int64]:
    """Join all faces nearer than a threshold: single linkage, cut there.

    Parameters
    ----------
    graph : NeighborGraph
        Neighbours.
    threshold : float
        Distance.
    constraints : Constraints, optional
        Respected: links go nearest first, those that would break one are skipped.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    constraints = constraints or Constraints(graph.n_samples)
    rows, places = np.nonzero(graph.distances < threshold)
    return constraints.join(rows, graph.indices[rows, places], graph.distances[rows, places])
