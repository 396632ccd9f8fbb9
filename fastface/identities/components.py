"""Connected components: faces nearer than a threshold are one person, and so on transitively."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface.graph import NeighborGraph
from fastface.identities.constraints import Constraints
from fastface.identities.numbering import by_first_appearance
from fastface.identities.on_gpu import open_graph

__all__ = ["components"]


def components(
    graph: NeighborGraph,
    *,
    threshold: float,
    constraints: Constraints | None = None,
    device: str = "cpu",
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
    device : str
        ``"cuda"`` is a GPU, but where constraints exclude: one link after the other is no work for
        one.  The labels are the same.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    constraints = constraints or Constraints(graph.n_samples)
    on_gpu = None if constraints.has_exclusions else open_graph(device, graph)
    if on_gpu is not None:
        return by_first_appearance(on_gpu.components(threshold, constraints))
    rows, places = np.nonzero(graph.distances < threshold)
    return constraints.join(rows, graph.indices[rows, places], graph.distances[rows, places])
