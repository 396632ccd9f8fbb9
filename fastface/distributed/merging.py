"""Lists of neighbours from several places, merged as one search would have ordered them.

Compiled on first use, cached on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["NOBODY", "empty_lists", "merge_found", "merge_lists"]

NOBODY = -1
_LANES = 16  # partial sums of the definition of a distance (fastface/backends/reference.py)
_SMALLEST_SQUARED_NORM = 1e-280
_METRIC_CODES = {"sqeuclidean": 0, "euclidean": 0, "cosine": 1, "inner_product": 2}


def empty_lists(n_rows: int, k: int, dtype: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return lists in which nobody stands yet: keys of infinity, names of `NOBODY`."""
    return np.full((n_rows, k), np.inf, dtype), np.full((n_rows, k), NOBODY, np.int64)


def merge_found(
    keys: NDArray[np.float64],
    names: NDArray[np.int64],
    X: NDArray[Any],
    Y: NDArray[Any],
    found: NDArray[np.int32],
    first: int,
    metric: str,
) -> None:
    """Let what a search found compete in lists, by the float64 definition of a distance.

    Parameters
    ----------
    keys, names : ndarray of shape (n_rows, k)
        Lists sorted by (key, name), changed in place.
    X, Y : ndarray
        The rows that were searched for, and those that were searched.
    found : ndarray of int32, shape (n_rows, m)
        Rows of `Y`, nearest first.
    first : int
        Name of the first row of `Y`; names increase.
    metric : str
        What distance.
    """
    x, y = (M.astype(np.float32) if M.dtype == np.float16 else M for M in (X, Y))
    code = _METRIC_CODES[metric]
    y_norms = _norms(y) if code == 1 else np.empty(0)
    _merge_found(keys, names, x, y, y_norms, found, first, code)


@njit(cache=True, nogil=True)
def _total(lanes: NDArray[np.float64]) -> float:
    """Sum 16 numbers pairwise, l with l + 8, 4, 2, 1; they are used up."""
    half = _LANES // 2
    while half:
        for lane in range(half):
            lanes[lane] += lanes[half + lane]
        half //= 2
    return float(lanes[0])


@njit(cache=True, nogil=True)
def _key(x, y, x_norm, y_norm, code, lanes):  # type: ignore[no-untyped-def]
    """Return the float64 value by which neighbours are ordered."""
    lanes[:] = 0.0
    for i in range(len(x)):
        if code == 0:
            difference = np.float64(x[i]) - np.float64(y[i])
            lanes[i % _LANES] += difference * difference
        else:
            lanes[i % _LANES] += np.float64(x[i]) * np.float64(y[i])
    total = _total(lanes)
    if code == 0:
        return total
    if code == 2:
        return -total
    if x_norm == 0.0 or y_norm == 0.0:
        return 1.0
    return min(max(1.0 - total / (x_norm * y_norm), 0.0), 2.0)


@njit(cache=True, nogil=True)
def _norm(x, lanes):  # type: ignore[no-untyped-def]
    lanes[:] = 0.0
    for i in range(len(x)):
        lanes[i % _LANES] += np.float64(x[i]) * np.float64(x[i])
    squared = _total(lanes)
    return 0.0 if squared < _SMALLEST_SQUARED_NORM else np.sqrt(squared)


@njit(cache=True, nogil=True)
def _norms(X):  # type: ignore[no-untyped-def]
    lanes = np.empty(_LANES)
    norms = np.empty(len(X))
    for row in range(len(X)):
        norms[row] = _norm(X[row], lanes)
    return norms


@njit(cache=True, nogil=True)
def _merge_found(keys, names, x, y, y_norms, found, first, code):  # type: ignore[no-untyped-def]
    n, k = keys.shape
    lanes = np.empty(_LANES)
    old_keys, old_names = np.empty(k), np.empty(k, np.int64)
    x_norm, y_norm = 0.0, 0.0
    for row in range(n):
        old_keys[:], old_names[:] = keys[row], names[row]
        old, place, at = 0, 0, 0
        if code == 1:
            x_norm = _norm(x[row], lanes)
        while at < found.shape[1] and place < k:
            if code == 1:
                y_norm = y_norms[found[row, at]]
            key = _key(x[row], y[found[row, at]], x_norm, y_norm, code, lanes)
            name = first + found[row, at]
            # Those who stand there and come before it.
            while place < k and (
                old_keys[old] < key or (old_keys[old] == key and 0 <= old_names[old] < name)
            ):
                keys[row, place], names[row, place] = old_keys[old], old_names[old]
                old += 1
                place += 1
            if place < k:
                keys[row, place], names[row, place] = key, name
                place += 1
                at += 1
        while place < k:
            keys[row, place], names[row, place] = old_keys[old], old_names[old]
            old += 1
            place += 1


@njit(cache=True, nogil=True)
def merge_lists(
    distances: NDArray[Any],
    names: NDArray[np.int64],
    rows: NDArray[np.int64],
    more: NDArray[Any],
    more_names: NDArray[np.int64],
) -> None:
    """Let other lists of some rows compete in lists; whoever is in both stands there once.

    Parameters
    ----------
    distances, names : ndarray of shape (n_rows, k)
        Lists sorted by (distance, name), changed in place.
    rows : ndarray of int64
        Rows that have other lists.
    more, more_names : ndarray of shape (len(rows), m)
        Those, sorted likewise; equal names are at equal distances.
    """
    k = distances.shape[1]
    old_distances, old_names = np.empty(k, distances.dtype), np.empty(k, np.int64)
    for i in range(len(rows)):
        row = rows[i]
        old_distances[:], old_names[:] = distances[row], names[row]
        old, at = 0, 0
        for place in range(k):
            if at < more.shape[1] and old_names[old] == more_names[i, at]:
                at += 1
            is_old = at >= more.shape[1] or (
                old_names[old] != NOBODY
                and (
                    old_distances[old] < more[i, at]
                    or (old_distances[old] == more[i, at] and old_names[old] < more_names[i, at])
                )
            )
            if is_old:
                distances[row, place], names[row, place] = old_distances[old], old_names[old]
                old += 1
            else:
                distances[row, place], names[row, place] = more[i, at], more_names[i, at]
                at += 1
