"""DBSCAN and HDBSCAN on the sparse graph, by scikit-learn; noise becomes people of one face.

M. Ester, H.-P. Kriegel, J. Sander, X. Xu (KDD 1996); R. Campello, D. Moulavi, J. Sander (PAKDD
2013).  Neither knows constraints: groups that break one are repaired (`Constraints.enforce`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from fastface.graph import NeighborGraph
from fastface.identities.constraints import Constraints

__all__ = ["dbscan", "hdbscan"]

_FARTHEST = 2.0  # distance between opposite unit vectors


def _without_noise(labels: NDArray[Any]) -> NDArray[np.int64]:
    alone = labels < 0
    people = labels.astype(np.int64)
    people[alone] = labels.max(initial=-1) + 1 + np.arange(alone.sum())
    return people


def dbscan(
    graph: NeighborGraph,
    *,
    threshold: float,
    min_samples: int = 2,
    constraints: Constraints | None = None,
) -> NDArray[np.int64]:
    """Group faces by density at one distance.

    Parameters
    ----------
    graph : NeighborGraph
        Neighbours; edges count from either end.
    threshold : float
        Distance, DBSCAN's ``eps``.
    min_samples : int
        Faces within it, itself among them, that make a face a core face.
    constraints : Constraints, optional
        Respected, by repair.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    from sklearn.cluster import DBSCAN

    constraints = constraints or Constraints(graph.n_samples)
    links = graph.symmetric(below=threshold)
    model = DBSCAN(eps=threshold, min_samples=min_samples, metric="precomputed")
    return constraints.enforce(_without_noise(model.fit_predict(_with_itself(links))), graph)


def hdbscan(
    graph: NeighborGraph,
    *,
    min_cluster_size: int = 2,
    constraints: Constraints | None = None,
) -> NDArray[np.int64]:
    """Group faces by density at whatever distance each group is most stable.

    Parameters
    ----------
    graph : NeighborGraph
        Neighbours; edges count from either end.
    min_cluster_size : int
        Fewest faces of a person that is not a single face.
    constraints : Constraints, optional
        Respected, by repair.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    from sklearn.cluster import HDBSCAN

    constraints = constraints or Constraints(graph.n_samples)
    if graph.n_samples <= min_cluster_size:
        return constraints.enforce(np.arange(graph.n_samples), graph)
    model = HDBSCAN(
        min_cluster_size=min_cluster_size,
        min_samples=1,
        metric="precomputed",
        copy=True,
    )
    labels = model.fit_predict(_connected(graph.symmetric()))
    return constraints.enforce(_without_noise(labels), graph)


def _with_itself(links: csr_matrix) -> csr_matrix:
    """Store a distance of zero to itself: scikit-learn counts what is stored."""
    n = links.shape[0]
    coo = links.tocoo()
    diagonal = np.arange(n)
    return coo_matrix(
        (
            np.concatenate([coo.data, np.zeros(n, coo.data.dtype)]),
            (np.concatenate([coo.row, diagonal]), np.concatenate([coo.col, diagonal])),
        ),
        shape=links.shape,
    ).tocsr()


def _connected(links: csr_matrix) -> csr_matrix:
    """Add the longest possible edges between parts: HDBSCAN wants one connected graph."""
    links.data = np.maximum(links.data, np.finfo(np.float32).tiny)  # a stored zero is an edge
    count, parts = connected_components(links, directed=False)
    if count == 1:
        return links
    first = np.unique(parts, return_index=True)[1]
    a, b = first[:-1], first[1:]
    rows, columns = np.concatenate([a, b]), np.concatenate([b, a])
    bridges = coo_matrix((np.full(len(rows), _FARTHEST), (rows, columns)), shape=links.shape)
    joined: csr_matrix = (links + bridges.tocsr()).tocsr()
    return joined
