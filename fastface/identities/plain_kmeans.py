"""Plain k-means on unit vectors, for those who know how many people there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface.graph import NeighborGraph
from fastface.identities.constraints import Constraints
from fastface.kmeans import KMeans

__all__ = ["plain_kmeans"]


def plain_kmeans(
    X: NDArray[np.float32],
    graph: NeighborGraph,
    *,
    n_people: int,
    constraints: Constraints | None = None,
    seed: int = 0,
    device: str = "auto",
    n_threads: int | None = None,
) -> NDArray[np.int64]:
    """Group unit vectors around means.

    Parameters
    ----------
    X : ndarray of float32, shape (n_samples, n_features)
        Unit rows.
    graph : NeighborGraph
        Read where a constraint is broken, to repair it (`Constraints.enforce`).
    n_people : int
        Number of means.
    constraints : Constraints, optional
        Respected, by repair: there may then be more people than asked for.
    seed : int
        Of the start.
    device : str
        See `fastface.KMeans`.
    n_threads : int, optional
        Threads; the result does not depend on them.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Labels, numbered by first appearance.
    """
    constraints = constraints or Constraints(len(X))
    model = KMeans(n_people, random_state=seed, n_init=1, device=device, n_threads=n_threads)
    return constraints.enforce(np.asarray(model.fit_predict(X)), graph)
