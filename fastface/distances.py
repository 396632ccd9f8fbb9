"""Nearest centers, nearest neighbours, radius neighbours and distance matrices.

Every answer equals the float64 definition in `fastface.backends.reference` to the bit, on every
instruction set and with any number of threads; ties go to the lowest index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.backends.registry import get_backend, resolve_threads
from fastface.errors import InvalidInputError
from fastface.validation import check_integer, check_matrix, check_metric, check_same_width

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["assign", "nearest_neighbors", "pairwise_distances", "radius_neighbors"]


def _check_pair(
    X: ArrayLike, Y: ArrayLike | None, names: tuple[str, str]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Validate two matrices and bring them to one dtype, the wider of the two."""
    x = check_matrix(X, name=names[0])
    if Y is None or Y is X:
        return x, x
    y = check_matrix(Y, name=names[1])
    check_same_width(x, y, names=names)
    dtype = np.promote_types(x.dtype, y.dtype)
    return x.astype(dtype, copy=False), y.astype(dtype, copy=False)


def assign(
    X: ArrayLike,
    centers: ArrayLike,
    *,
    metric: str = "sqeuclidean",
    device: str = "auto",
    n_threads: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Find the nearest center of every row.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        float16, float32 or float64; memory-mapped arrays are read in place.
    centers : array-like of shape (n_centers, n_features)
        Centers.
    metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
        Distance.  The inner product counts as a distance with its sign turned.
    device : {"auto", "cpu", "reference"}
        Where to compute.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.

    Returns
    -------
    labels : ndarray of int32, shape (n_samples,)
        Index of the nearest center, the lowest among equals.
    distances : ndarray of float32, shape (n_samples,)
        Distance to it.

    Raises
    ------
    InvalidInputError
        If an array or a name cannot be used.
    """
    x, y = _check_pair(X, centers, ("X", "centers"))
    found = get_backend(device).assign(
        x, y, check_metric(metric), n_threads=resolve_threads(n_threads)
    )
    return found.indices[:, 0], found.distances[:, 0]


def nearest_neighbors(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    n_neighbors: int,
    metric: str = "cosine",
    exclude_self: bool = False,
    device: str = "auto",
    n_threads: int | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Find the nearest rows of `Y` for every row of `X`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Queries.
    Y : array-like of shape (n_candidates, n_features), optional
        Candidates; by default `X` itself.
    n_neighbors : int
        How many, at most the number of candidates.
    metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
        Distance.
    exclude_self : bool
        Never return row i of `Y` for row i of `X`; duplicates of it in other rows are returned.
    device : {"auto", "cpu", "reference"}
        Where to compute.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.

    Returns
    -------
    distances : ndarray of float32, shape (n_samples, n_neighbors)
        Increasing along a row.
    indices : ndarray of int32, shape (n_samples, n_neighbors)
        Rows of `Y`; equals are in order of index.

    Raises
    ------
    InvalidInputError
        If an array, a name or `n_neighbors` cannot be used.
    """
    x, y = _check_pair(X, Y, ("X", "Y"))
    most = len(y) - (1 if exclude_self else 0)
    if most < 1:
        raise InvalidInputError("exclude_self leaves no candidate: Y has a single row")
    k = check_integer(n_neighbors, name="n_neighbors", low=1, high=most)
    found = get_backend(device).topk(
        x,
        y,
        k,
        check_metric(metric),
        exclude_self=bool(exclude_self),
        n_threads=resolve_threads(n_threads),
    )
    return found.distances, found.indices


def radius_neighbors(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    radius: float,
    metric: str = "cosine",
    exclude_self: bool = False,
    device: str = "auto",
    n_threads: int | None = None,
) -> csr_matrix:
    """Find all rows of `Y` within a distance of every row of `X`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Queries.
    Y : array-like of shape (n_candidates, n_features), optional
        Candidates; by default `X` itself.
    radius : float
        Largest distance, inclusive.
    metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
        Distance.
    exclude_self : bool
        Never return row i of `Y` for row i of `X`.
    device : {"auto", "cpu", "reference"}
        Where to compute.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.

    Returns
    -------
    scipy.sparse.csr_matrix of float32, shape (n_samples, n_candidates)
        Distances, with zero distances stored; columns increase along a row.

    Raises
    ------
    InvalidInputError
        If an array, a name or `radius` cannot be used.
    """
    from scipy.sparse import csr_matrix

    x, y = _check_pair(X, Y, ("X", "Y"))
    try:
        limit = float(radius)
    except (TypeError, ValueError):
        raise InvalidInputError(f"radius must be a number, got {radius!r}") from None
    if not np.isfinite(limit):
        raise InvalidInputError(f"radius must be finite, got {radius!r}")
    offsets, indices, distances = get_backend(device).radius(
        x,
        y,
        limit,
        check_metric(metric),
        exclude_self=bool(exclude_self),
        n_threads=resolve_threads(n_threads),
    )
    return csr_matrix((distances, indices, offsets), shape=(len(x), len(y)))


def pairwise_distances(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    metric: str = "euclidean",
    out: NDArray[np.float32] | None = None,
    device: str = "auto",
    n_threads: int | None = None,
) -> NDArray[np.float32]:
    """Compute the whole matrix of distances.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows.
    Y : array-like of shape (n_candidates, n_features), optional
        Columns; by default `X` itself.
    metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
        Distance.
    out : ndarray of float32, shape (n_samples, n_candidates), optional
        C-contiguous array to write into, a memory map for instance.
    device : {"auto", "cpu", "reference"}
        Where to compute.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.

    Returns
    -------
    ndarray of float32, shape (n_samples, n_candidates)
        `out`, or a new array.

    Raises
    ------
    InvalidInputError
        If an array or a name cannot be used.
    """
    x, y = _check_pair(X, Y, ("X", "Y"))
    check_metric(metric)
    shape = (len(x), len(y))
    if out is None:
        out = np.empty(shape, dtype=np.float32)
    elif (
        not isinstance(out, np.ndarray)
        or out.shape != shape
        or out.dtype != np.float32
        or not (out.flags.c_contiguous and out.flags.writeable)
    ):
        raise InvalidInputError(
            f"out must be a writeable C-contiguous float32 array of shape {shape}"
        )
    get_backend(device).pairwise(x, y, metric, out=out, n_threads=resolve_threads(n_threads))
    return out
