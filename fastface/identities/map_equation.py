"""Map-equation communities: people are the groups in which a random walker on links stays.

M. Rosvall, D. Axelsson, C. Bergstrom, "The map equation" (2009), on either of two kinds of links:

* `fc_es`: neighbour-based edge probabilities with early stopping, J. Liu, "Face clustering via
  early stopping and edge recall" (arXiv 2408.13431).  Two faces are linked by how much of each
  other's neighbourhood they share, from the nearest neighbour on until the first that shares too
  little.  Links count both ways here, where the paper's walk follows them one way, and neighbours
  farther than 0.9 cutoffs are none.
* `map_equation`: the self-tuned kernel of `fastface.identities.kernel`, where it is large enough.
  It cuts at a distance of the embedding model's own, without which people of few photos melt
  together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from fastface import _kernels
from fastface.graph import NeighborGraph
from fastface.identities.constraints import Constraints
from fastface.identities.kernel import (
    DLIB_CUTOFF,
    KernelParameters,
    lists,
    neighbor_shares,
)
from fastface.identities.numbering import by_first_appearance
from fastface.identities.on_gpu import open_graph

__all__ = ["code_length", "communities", "fc_es", "kernel_links", "map_equation", "probable_links"]

N_NEIGHBORS = 40
# Multiples of the cutoff, the first of its square.  Without a farthest neighbour, which the paper
# does not have, people of few photos are linked to strangers: their lists hold nobody else.
SIGMA = 0.5 / 0.55**2
FARTHEST = 0.9
THETA = 0.5
N_TRIALS = 1
# Of the kernel; chosen on half of the people of labelled photos.
KERNEL_THETA = 0.45
_BLOCK_PAIRS = 1 << 19

Network = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]


def probable_links(
    graph: NeighborGraph,
    *,
    cutoff: float = DLIB_CUTOFF,
    theta: float = THETA,
    n_threads: int = 1,
    device: str = "cpu",
) -> csr_matrix:
    """Return the links of FC-ES, added up over both directions.

    Parameters
    ----------
    graph : NeighborGraph
        Of unit rows, with Euclidean distances; the first 40 neighbours are read.
    cutoff : float
        Distance beyond which two faces are hardly ever one person.
    theta : float
        Least edge probability: higher makes smaller groups.
    n_threads : int
        Threads.
    device : str
        ``"cuda"`` is a GPU.  The links are the same.

    Returns
    -------
    scipy.sparse.csr_matrix of float32, shape (n_samples, n_samples)
    """
    k = min(N_NEIGHBORS, graph.n_neighbors)
    on_gpu = open_graph(device, graph)
    if on_gpu is not None:
        links = on_gpu.probable_links(k, SIGMA * cutoff**2, FARTHEST * cutoff, theta)
    else:
        offsets, columns, values = _kernels.probable_links(
            *lists(graph), k, SIGMA * cutoff**2, FARTHEST * cutoff, theta, n_threads
        )
        shape = (graph.n_samples, graph.n_samples)
        links = csr_matrix((values, columns, offsets), shape=shape)
    both: csr_matrix = (links + links.T).tocsr()
    return both


def _network(links: csr_matrix) -> Network:
    links.sort_indices()
    return (
        links.indptr.astype(np.int64),
        links.indices.astype(np.int32),
        links.data.astype(np.float32),
    )


def communities(
    links: csr_matrix,
    *,
    constraints: Constraints | None = None,
    seed: int = 0,
    n_trials: int = N_TRIALS,
) -> tuple[NDArray[np.int64], float]:
    """Group the nodes of a network by the two-level map equation.

    Parameters
    ----------
    links : scipy.sparse.csr_matrix, shape (n, n)
        Symmetric, no weights below zero, nothing on the diagonal.
    constraints : Constraints, optional
        On the nodes; respected.
    seed : int
        Of the orders in which nodes are visited.  The result depends on nothing else.
    n_trials : int
        Searches; the one with the shortest code wins.

    Returns
    -------
    labels : ndarray of int64, shape (n,)
        Numbered by first appearance.
    code_length : float
        Bits a step of the walk.
    """
    constraints = constraints or Constraints(links.shape[0])
    network = _network(constraints.between_items(links))
    found = [
        _kernels.map_equation(*network, constraints.of_items, seed + trial)
        for trial in range(n_trials)
    ]
    labels, length = min(found, key=lambda trial: trial[1])
    return by_first_appearance(labels[constraints.items]), length


def code_length(links: csr_matrix, labels: ArrayLike) -> float:
    """Return the bits a step that given groups need.

    Parameters
    ----------
    links : scipy.sparse.csr_matrix, shape (n, n)
        As for `communities`.
    labels : array-like of int, shape (n,)
        Groups.
    """
    codes = by_first_appearance(np.asarray(labels)).astype(np.int32)
    return float(_kernels.code_length(*_network(links), codes))


def kernel_links(
    X: NDArray[np.float32],
    graph: NeighborGraph,
    *,
    parameters: KernelParameters,
    theta: float = KERNEL_THETA,
    n_threads: int = 1,
) -> csr_matrix:
    """Return the pairs of neighbours whose kernel is `theta` or more, with its value.

    Parameters
    ----------
    X : ndarray of float32, shape (n_samples, n_features)
        Unit rows.
    graph : NeighborGraph
        Built from `X` with Euclidean distances.
    parameters : KernelParameters
        Constants.
    theta : float
        Least kernel: higher makes smaller groups.
    n_threads : int
        Threads.

    Returns
    -------
    scipy.sparse.csr_matrix of float32, shape (n_samples, n_samples)
        Symmetric.
    """
    n = len(X)
    offsets, columns, values = neighbor_shares(graph, parameters, n_threads=n_threads).rows()
    roots = csr_matrix((np.sqrt(values), columns, offsets), shape=(n, n))
    weight, cutoff = parameters.overlap_weight, parameters.cutoff
    # Beyond this not even a full overlap would do.
    farthest = cutoff * np.sqrt(max(0.0, 1 - (theta - weight) / (1 - weight)))
    pairs = graph.symmetric(below=min(parameters.longest_edge * cutoff, farthest)).tocoo()
    upper = pairs.row < pairs.col
    rows, cols, lengths = pairs.row[upper], pairs.col[upper], pairs.data[upper]
    kernel = (1 - weight) * (1 - lengths.astype(np.float64) ** 2 / cutoff**2)
    for start in range(0, len(rows), _BLOCK_PAIRS):
        block = slice(start, start + _BLOCK_PAIRS)
        shared = roots[rows[block]].multiply(roots[cols[block]])
        kernel[block] += weight * np.asarray(shared.sum(axis=1)).ravel()
    kept = kernel >= theta
    ends = (rows[kept], cols[kept])
    half = csr_matrix((kernel[kept].astype(np.float32), ends), shape=(n, n))
    return (half + half.T).tocsr()


def map_equation(
    X: NDArray[np.float32],
    graph: NeighborGraph,
    *,
    parameters: KernelParameters | None = None,
    constraints: Constraints | None = None,
    theta: float = KERNEL_THETA,
    seed: int = 0,
    n_threads: int = 1,
) -> NDArray[np.int64]:
    """Group faces by the map equation on links of the kernel.

    Parameters
    ----------
    X, graph, parameters, theta, n_threads
        As for `kernel_links`; the result does not depend on the threads.
    constraints : Constraints, optional
        Respected.
    seed : int
        Of the search.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    links = kernel_links(
        X, graph, parameters=parameters or KernelParameters(), theta=theta, n_threads=n_threads
    )
    return communities(links, constraints=constraints, seed=seed)[0]


def fc_es(
    graph: NeighborGraph,
    *,
    cutoff: float,
    constraints: Constraints | None = None,
    theta: float = THETA,
    seed: int = 0,
    n_threads: int = 1,
    device: str = "cpu",
) -> NDArray[np.int64]:
    """Group faces by FC-ES.

    Parameters
    ----------
    graph : NeighborGraph
        Of unit rows, with Euclidean distances.
    cutoff : float
        Distance beyond which two faces are hardly ever one person.
    constraints : Constraints, optional
        Respected.
    theta : float
        Least edge probability.
    seed : int
        Of the search.
    n_threads : int
        Threads; the result does not depend on them.
    device : str
        Where the links are found.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    links = probable_links(graph, cutoff=cutoff, theta=theta, n_threads=n_threads, device=device)
    return communities(links, constraints=constraints, seed=seed)[0]
