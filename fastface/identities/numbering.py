"""Numbers for groups that do not depend on how they were found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["by_first_appearance", "by_size"]


def _ranked(inverse: NDArray[Any], order: NDArray[Any]) -> NDArray[np.int64]:
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    result: NDArray[np.int64] = rank[inverse]
    return result


def by_first_appearance(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Give groups numbers from 0 in the order of their first rows.

    Parameters
    ----------
    labels : ndarray, shape (n,)
        Groups by any names.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return _ranked(inverse, np.argsort(first))


def by_size(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Give groups numbers from 0 by size, largest first, then by first row.

    Parameters
    ----------
    labels : ndarray, shape (n,)
        Groups by any names.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    _, first, inverse, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    return _ranked(inverse, np.lexsort((first, -counts)))
