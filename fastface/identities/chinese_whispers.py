"""Chinese whispers: every face takes the label most of its near neighbours have.

The method of dlib's ``chinese_whispers_clustering`` (C. Biemann, "Chinese whispers", TextGraphs
2006), made deterministic: faces are visited in an order drawn once from `seed`, ties go to the
lowest label, and sweeps end when nothing changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface import _kernels
from fastface.graph import NeighborGraph
from fastface.identities.constraints import Constraints
from fastface.identities.numbering import by_first_appearance
from fastface.identities.on_gpu import open_graph

__all__ = ["chinese_whispers"]


def chinese_whispers(
    graph: NeighborGraph,
    *,
    threshold: float,
    constraints: Constraints | None = None,
    max_sweeps: int = 100,
    seed: int = 0,
    device: str = "cpu",
) -> NDArray[np.int64]:
    """Group faces that are nearer than a threshold.

    Parameters
    ----------
    graph : NeighborGraph
        Neighbours; edges count from either end.
    threshold : float
        Two faces are linked when nearer than this.
    constraints : Constraints, optional
        Respected: faces that must be one person whisper with one voice.
    max_sweeps : int
        Most passes over all faces.
    seed : int
        Of the order in which faces are visited.
    device : str
        ``"cuda"`` is a GPU.  The labels are the same: faces that do not see each other are visited
        together.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    constraints = constraints or Constraints(graph.n_samples)
    on_gpu = open_graph(device, graph)
    links = (graph if on_gpu is None else on_gpu).symmetric(below=threshold)
    links.data = np.ones(links.nnz)
    links = constraints.between_items(links)
    order = np.random.Generator(np.random.Philox(seed)).permutation(constraints.n_items)
    if on_gpu is not None:
        found = on_gpu.chinese_whispers(links, constraints.incidence, order, max_sweeps)
        return by_first_appearance(found[constraints.items])
    labels = _kernels.chinese_whispers(
        links.indptr.astype(np.int64),
        links.indices.astype(np.int32),
        links.data.astype(np.float32),
        constraints.of_items,
        order.astype(np.int64),
        max_sweeps,
    )
    return by_first_appearance(labels[constraints.items])
