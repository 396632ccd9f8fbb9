"""Plain k-means: the method of the paper, kept beside the project's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.distances import assign
from fastface.kmeans import KMeans

__all__ = ["plain_k_means"]

_N_INIT = 10
_FEW_ROWS = 10_000
_MOST_ROWS = 50_000


def plain_k_means(
    X: NDArray[Any], n_clusters: int, *, seed: int, device: str = "auto"
) -> NDArray[np.int32]:
    """Return the cluster of each row by k-means from k-means++ seeds.

    Up to 10,000 rows the best of ten runs counts, beyond there is one.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; of more than 50,000 a random part is clustered and the others join the nearest
        center.
    n_clusters : int
        How many.
    seed : int
        Of the first centers.
    device : str
        Where to compute; see `fastface.KMeans`.

    Returns
    -------
    ndarray of int32, shape (n_samples,)
        Clusters, numbered from 0.
    """
    rows = np.asarray(X)
    if len(rows) > _MOST_ROWS:
        rng = np.random.default_rng([seed, n_clusters])
        rows = rows[np.sort(rng.choice(len(rows), _MOST_ROWS, replace=False))]
    n_init = _N_INIT if len(rows) <= _FEW_ROWS else 1
    model = KMeans(n_clusters, n_init=n_init, random_state=seed, device=device).fit(rows)
    return assign(X, model.cluster_centers_, device=device)[0]
