"""New faces for people who are known: where `IdentityClustering.update` looks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface.graph import NeighborGraph
from fastface.identities.kernel import KernelParameters

__all__ = ["neighborhood"]


def neighborhood(
    graph: NeighborGraph, labels: NDArray[np.int64], cutoff: float
) -> NDArray[np.int64]:
    """Return the faces that decide where new ones go: these, and all of the people they are near.

    Parameters
    ----------
    graph : NeighborGraph
        Of known faces, then new ones.
    labels : ndarray of int64, shape (n_known,)
        People, numbered from 0.
    cutoff : float
        Distance beyond which two faces are hardly ever one person.

    Returns
    -------
    ndarray of int64
        Rows, increasing.
    """
    n_known = len(labels)
    near = graph.indices[n_known:]
    close = graph.distances[n_known:] < KernelParameters().longest_edge * cutoff
    touched = np.zeros(int(labels.max()) + 1, bool)
    touched[labels[near[close & (near < n_known)]]] = True
    new = np.arange(n_known, graph.n_samples)
    return np.concatenate([np.flatnonzero(touched[labels]), new])
