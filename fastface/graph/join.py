"""Rows compared with themselves: what is common to exact and approximate graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface import _kernels

__all__ = ["center_of", "join_exactly", "leading_directions", "worth_joining"]

_SAMPLE = 20_000  # rows that directions are taken from
_KEPT = 0.9  # share of the squared lengths that a head keeps
_STEP = 4  # directions are counted in
_MOST = 240  # of the kernels
_FEWEST_ROWS = 4096  # fewer are not worth the directions


def center_of(X: NDArray[Any], sample: int = 4096) -> NDArray[np.float64]:
    """Return the mean of some rows: any value would be right, one near the mean is fast."""
    center: NDArray[np.float64] = X[:: max(1, len(X) // sample)].mean(axis=0, dtype=np.float64)
    return center


def leading_directions(X: NDArray[Any], center: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the directions that hold most of the rows' squared lengths, one a column.

    They only decide what a comparison costs, never its outcome.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    center : ndarray of float64, shape (n_features,)
        What is taken off the rows.

    Returns
    -------
    ndarray of float64, shape (n_features, n_directions)
        At most 240, orthonormal.
    """
    rows = X[:: max(1, len(X) // _SAMPLE)] - center
    rows /= max(float(np.abs(rows).max()), np.finfo(np.float64).tiny)  # squares stay in range
    variances, vectors = np.linalg.eigh(rows.T @ rows)
    shares = np.cumsum(variances[::-1]) / max(float(variances.sum()), np.finfo(np.float64).tiny)
    wanted = int(np.searchsorted(shares, _KEPT)) + 1
    count = min(-(-wanted // _STEP) * _STEP, _MOST, X.shape[1])
    return np.ascontiguousarray(vectors[:, ::-1][:, :count])


def worth_joining(X: NDArray[Any], k: int, metric: str, device: str) -> bool:
    """Tell whether `join_exactly` serves these rows, and faster than a search of all for all."""
    return (
        metric in ("euclidean", "sqeuclidean")
        and device in ("auto", "cpu")
        and len(X) >= _FEWEST_ROWS
        and 16 * k <= len(X)
        and X.shape[1] >= 4 * _STEP
    )


def join_exactly(
    X: NDArray[Any], k: int, metric: str, n_threads: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Find the k nearest other rows of every row, as `fastface.nearest_neighbors` does.

    Rows are compared group by group, the nearest groups first, by their parts along the leading
    directions; whoever that cannot rule out is compared by 8-bit codes, and then by definition
    (``docs/exactness.md``).  Codes and heads take some ``n (n_features + n_directions + 40)``
    bytes.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Checked rows.
    k : int
        Less than the number of rows.
    metric : {"euclidean", "sqeuclidean"}
        Distance.
    n_threads : int
        Threads; the answer does not depend on them.

    Returns
    -------
    distances : ndarray of float32, shape (n_samples, k)
    indices : ndarray of int32, shape (n_samples, k)
    """
    center = center_of(X)
    directions = leading_directions(X, center)
    join = _kernels.SelfJoin(X, _kernels.row_order(X, n_threads), center, directions, n_threads)
    distances = np.empty((len(X), k), np.float32)
    indices = np.empty((len(X), k), np.int32)
    join.exactly(metric, distances, indices, n_threads)
    return distances, indices
