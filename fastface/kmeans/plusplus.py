"""`kmeans_plusplus`: the seeding alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import check_array

from fastface.backends.places import Origin, choose_device
from fastface.backends.registry import get_backend, resolve_threads
from fastface.errors import InvalidInputError
from fastface.kmeans.parameters import METRICS, check_choice, check_weights
from fastface.kmeans.randomness import Draws
from fastface.kmeans.rows import RowBlocks, measure
from fastface.kmeans.seeding import SeedingRows, greedy_plus_plus
from fastface.validation import check_device_matrix, check_integer, gpu_of

__all__ = ["kmeans_plusplus"]


def kmeans_plusplus(
    X: ArrayLike,
    n_clusters: int,
    *,
    sample_weight: ArrayLike | None = None,
    x_squared_norms: ArrayLike | None = None,
    random_state: Any = None,
    n_local_trials: int | None = None,
    metric: str = "sqeuclidean",
    n_threads: int | None = None,
    device: str = "auto",
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Choose initial centers by greedy k-means++.

    The same seed chooses the same rows for any number of threads and any instruction set.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to choose from.
    n_clusters : int
        How many.
    sample_weight : array-like of shape (n_samples,), optional
        Weights, not negative.
    x_squared_norms : array-like of shape (n_samples,), optional
        Accepted for scikit-learn's sake, and not needed.
    random_state : int, RandomState or None
        Seed.
    n_local_trials : int, optional
        Candidates that each step compares; by default ``2 + int(log(n_clusters))``.
    metric : {"sqeuclidean", "cosine"}
        Distance.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.
    device : {"auto", "cpu", "cuda", "cuda:1", "reference"}
        Where to compute; ``"auto"`` is the GPU that the rows lie on, else the CPU.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
        The chosen rows.
    indices : ndarray of int64, shape (n_clusters,)
        Which they are.

    Raises
    ------
    InvalidInputError
        If the rows, the weights or a parameter cannot be used.
    """
    if issparse(X):
        raise InvalidInputError("sparse data is not supported: pass a dense array (X.toarray())")
    backend = get_backend(choose_device(device, {"X": X}))
    rows: Any
    if gpu_of(X):
        check_device_matrix(X)
        rows = backend.rows(X)
    else:
        rows = check_array(
            X, dtype=[np.float64, np.float32, np.float16], order="C", ensure_all_finite=False
        )
    check_integer(n_clusters, name="n_clusters", low=1)
    if len(rows) < n_clusters:
        raise InvalidInputError(f"n_samples={len(rows)} should be >= n_clusters={n_clusters}.")
    if n_local_trials is not None:
        check_integer(n_local_trials, name="n_local_trials", low=1)
    if x_squared_norms is not None and np.shape(x_squared_norms) != (len(rows),):
        raise InvalidInputError(
            f"The length of x_squared_norms {np.shape(x_squared_norms)} should be equal to the"
            f" length of n_samples {len(rows)}."
        )
    weights = check_weights(sample_weight, rows)
    kernels, threads = backend.kmeans, resolve_threads(n_threads)
    measure(RowBlocks(rows), kernels, threads)
    seeding = SeedingRows(rows, weights, check_choice(metric, "metric", METRICS), kernels, threads)
    indices = greedy_plus_plus(seeding, n_clusters, Draws(random_state), n_trials=n_local_trials)
    centers, origin = rows[indices], Origin(X)
    if gpu_of(X):
        return origin.give(rows.bring(centers)), origin.give(rows.bring(indices))
    return origin.give(centers), origin.give(indices)
