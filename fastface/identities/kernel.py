"""The self-tuned neighbour-overlap kernel: how alike two faces are, judged with their neighbours.

Every length is a multiple of one `cutoff`, the distance between unit vectors beyond which two
faces are hardly ever one person.  It belongs to the embedding model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, identity

from fastface.graph import NeighborGraph

__all__ = ["DLIB_CUTOFF", "KernelParameters", "neighbor_probabilities", "square_root"]

# dlib's descriptors have a typical norm of 1.43 and are told apart at 0.55.
DLIB_CUTOFF = 0.55 / 1.43


@dataclass(frozen=True)
class KernelParameters:
    """Constants of the kernel; lengths are multiples of `cutoff`.

    The only number taken from the data is each face's local radius: its mean distance to its
    `radius_neighbors` nearest neighbours, so that a set where everybody looks alike is judged by
    its own measure.
    """

    cutoff: float = DLIB_CUTOFF
    radius_neighbors: int = 10
    smallest_radius: float = 0.15 / 0.55
    radius_factor: float = 1.3
    overlap_weight: float = 0.6
    longest_edge: float = 0.65 / 0.55
    stop: float = 0.30
    stop_between_groups: float = 0.50
    group_passes: int = 3


def _local_radii(graph: NeighborGraph, parameters: KernelParameters) -> NDArray[np.float64]:
    nearest = graph.distances[:, : parameters.radius_neighbors].astype(np.float64)
    mean = nearest.mean(axis=1) if nearest.shape[1] else np.zeros(graph.n_samples)
    cutoff = parameters.cutoff
    return np.clip(mean, parameters.smallest_radius * cutoff, cutoff)


def neighbor_probabilities(graph: NeighborGraph, parameters: KernelParameters) -> csr_matrix:
    """Return how each face divides itself among itself and its mutual near neighbours.

    Parameters
    ----------
    graph : NeighborGraph
        Of unit rows, with Euclidean distances.
    parameters : KernelParameters
        Constants.

    Returns
    -------
    scipy.sparse.csr_matrix of float64, shape (n_samples, n_samples)
        Rows sum to one; column indices increase.
    """
    n = graph.n_samples
    radii = _local_radii(graph, parameters)
    near = graph.symmetric(mutual=True, below=parameters.cutoff)
    rows = np.repeat(np.arange(n), np.diff(near.indptr))
    distances = near.data.astype(np.float64)
    product = radii[rows] * radii[near.indices]
    kept = distances < parameters.radius_factor * np.sqrt(product)
    weights = np.exp(-(distances[kept] ** 2) / (2 * product[kept]))

    affinity = coo_matrix((weights, (rows[kept], near.indices[kept])), shape=(n, n)).tocsr()
    affinity = (affinity + identity(n, format="csr")).tocsr()
    affinity.sort_indices()
    totals = np.asarray(affinity.sum(axis=1)).ravel()
    affinity.data /= np.repeat(totals, np.diff(affinity.indptr))
    return affinity


def square_root(probabilities: csr_matrix) -> csr_matrix:
    """Return the element-wise square root: rows of unit length, whose dot product is overlap."""
    root = probabilities.copy()
    root.data = np.sqrt(root.data)
    return root
