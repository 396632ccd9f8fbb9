"""The self-tuned neighbour-overlap kernel: how alike two faces are, judged with their neighbours.

Every length is a multiple of one `cutoff`, the distance between unit vectors beyond which two
faces are hardly ever one person.  It belongs to the embedding model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastface import _kernels
from fastface.graph import NeighborGraph

__all__ = ["DLIB_CUTOFF", "KernelParameters", "lists", "neighbor_shares"]

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
    # People with more photos than the graph has neighbours fall into several groups, because lists
    # end before they are through; groups that together are larger than a list are compared again.
    # Chosen on half of the people of labelled photos, with lists of 10 to 30 in place of 80.
    stop_between_groups: float = 0.45
    group_passes: int = 6


def lists(graph: NeighborGraph) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return a graph's neighbours and distances as compiled methods want them."""
    return (
        np.ascontiguousarray(graph.indices, np.int32),
        np.ascontiguousarray(graph.distances, np.float32),
    )


def neighbor_shares(
    graph: NeighborGraph, parameters: KernelParameters, *, n_threads: int = 1
) -> _kernels.NeighborShares:
    """Return how each face divides itself among itself and its mutual near neighbours.

    Two faces are mutual near neighbours where each is in the other's list, nearer than the cutoff
    and than `radius_factor` times the geometric mean of their local radii r; the share is in
    proportion to exp(-d^2 / (2 r_i r_j)).

    Parameters
    ----------
    graph : NeighborGraph
        Of unit rows, with Euclidean distances.
    parameters : KernelParameters
        Constants.
    n_threads : int
        Threads.

    Returns
    -------
    NeighborShares
        Its ``rows()`` are offsets, columns and shares of sparse rows, which sum to one; columns
        increase.
    """
    return _kernels.NeighborShares(
        *lists(graph),
        parameters.cutoff,
        parameters.smallest_radius * parameters.cutoff,
        parameters.radius_factor,
        parameters.radius_neighbors,
        n_threads,
    )
