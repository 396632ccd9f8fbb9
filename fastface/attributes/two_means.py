"""Very many small groups of rows: spatial signs, and the best division of each group in two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface.backends.registry import get_kernels, get_num_threads

__all__ = ["spatial_signs", "two_means_of_each"]


def spatial_signs(rows: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return unit vectors from each group's spatial median to its rows.

    Parameters
    ----------
    rows : ndarray of float64, shape (n_samples, n_features)
        Group g has the rows ``starts[g]`` to ``starts[g + 1]``.
    starts : ndarray of int64, shape (n_groups + 1,)
        Where groups begin.

    Returns
    -------
    ndarray of float64, shape (n_samples, n_features)
        The median, the point of least summed distance, is found by Weiszfeld's iteration.
    """
    signs: NDArray[np.float64] = get_kernels().spatial_signs(
        np.ascontiguousarray(rows), starts, get_num_threads()
    )
    return signs


def two_means_of_each(
    rows: NDArray[np.float64], starts: NDArray[np.int64], n_starts: int, seed: int
) -> NDArray[np.int8]:
    """Divide each group of rows in two.

    Parameters
    ----------
    rows : ndarray of float64, shape (n_samples, n_features)
        Group g has the rows ``starts[g]`` to ``starts[g + 1]``, at most a few hundred.
    starts : ndarray of int64, shape (n_groups + 1,)
        Where groups begin.
    n_starts : int
        Pairs of rows to begin from: all pairs where there are no more, else random ones.
    seed : int
        Of those; a group's answer depends on the seed and on its own rows alone.

    Returns
    -------
    ndarray of int8, shape (n_samples,)
        0 or 1; side 0 holds the group's first row.
    """
    sides: NDArray[np.int8] = get_kernels().two_means_of_each(
        np.ascontiguousarray(rows), starts, n_starts, seed, get_num_threads()
    )
    return sides
