"""Very many small groups of rows: spatial signs, and the best division of each group in two."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["spatial_signs", "two_means_of_each"]

_MAX_ROUNDS = 100
_MEDIAN_ROUNDS = 50


@njit(cache=True, nogil=True)
def spatial_signs(
    rows: NDArray[np.float64], starts: NDArray[np.int64]
) -> NDArray[np.float64]:  # pragma: no cover - compiled
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
    d = rows.shape[1]
    signs = np.empty_like(rows)
    center, total = np.empty(d), np.empty(d)
    for group in range(len(starts) - 1):
        low, high = starts[group], starts[group + 1]
        center[:] = 0.0
        for i in range(low, high):
            center += rows[i]
        center /= high - low
        for _ in range(_MEDIAN_ROUNDS):
            total[:] = 0.0
            weights = 0.0
            for i in range(low, high):
                square = 0.0
                for j in range(d):
                    square += (rows[i, j] - center[j]) ** 2
                weight = 1 / max(np.sqrt(square), 1e-12)
                weights += weight
                for j in range(d):
                    total[j] += weight * rows[i, j]
            for j in range(d):
                center[j] = total[j] / weights
        for i in range(low, high):
            square = 0.0
            for j in range(d):
                signs[i, j] = rows[i, j] - center[j]
                square += signs[i, j] ** 2
            signs[i] /= max(np.sqrt(square), 1e-12)
    return signs


@njit(cache=True, nogil=True)
def _next(state):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Return the next number of a generator of our own (Steele et al., SplitMix, OOPSLA 2014).

    Numba's generator is shared by the whole process, whose other users would see it jump.
    """
    state = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@njit(cache=True, nogil=True)
def _two_means(gram, first, second, side):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Run Lloyd's iteration from two rows as centers; return the sum of squares between sides.

    With the products of all pairs of rows, a distance to a mean needs only sums of products.
    """
    n = gram.shape[0]
    for i in range(n):
        to_first = gram[first, first] - 2 * gram[i, first]
        to_second = gram[second, second] - 2 * gram[i, second]
        side[i] = 1 if to_second < to_first else 0
    sums = np.empty((n, 2))
    for _ in range(_MAX_ROUNDS):
        count = np.zeros(2)
        square = np.zeros(2)
        for i in range(n):
            count[side[i]] += 1
            sums[i, 0] = 0.0
            sums[i, 1] = 0.0
            for j in range(n):
                sums[i, side[j]] += gram[i, j]
            square[side[i]] += sums[i, side[i]]
        if count[0] == 0 or count[1] == 0:
            return -1.0
        changed = False
        for i in range(n):
            to_zero = square[0] / count[0] ** 2 - 2 * sums[i, 0] / count[0]
            to_one = square[1] / count[1] ** 2 - 2 * sums[i, 1] / count[1]
            nearest = 1 if to_one < to_zero else 0
            if nearest != side[i]:
                changed = True
                side[i] = nearest
        if not changed:
            break
    return square[0] / count[0] + square[1] / count[1]


@njit(cache=True, nogil=True)
def two_means_of_each(
    rows: NDArray[np.float64], starts: NDArray[np.int64], n_starts: int, seed: int
) -> NDArray[np.int8]:  # pragma: no cover - compiled
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
    sides = np.zeros(len(rows), np.int8)
    for group in range(len(starts) - 1):
        low, high = starts[group], starts[group + 1]
        n = high - low
        gram = np.ascontiguousarray(rows[low:high]) @ np.ascontiguousarray(rows[low:high]).T
        side, best = np.zeros(n, np.int64), np.zeros(n, np.int64)
        best_score = -1.0
        n_pairs = n * (n - 1) // 2
        state = np.uint64(seed)
        for start in range(min(n_starts, n_pairs)):
            if n_pairs <= n_starts:
                # The pair with this number in the order (0, 1), (0, 2), (1, 2), (0, 3), …
                second = np.int64((1 + np.sqrt(8.0 * start + 1)) // 2)
                first = start - second * (second - 1) // 2
            else:
                # Two draws without replacement, the second among the rows that are left.
                state = _next(state)
                first = np.int64(state % np.uint64(n))
                state = _next(state)
                second = (first + 1 + np.int64(state % np.uint64(n - 1))) % n
            score = _two_means(gram, first, second, side)
            # Starts that meet in one answer differ by rounding; the first of them stands.
            if score > best_score + 1e-9 * abs(best_score):
                best_score = score
                best[:] = side
        for i in range(n):
            sides[low + i] = best[i] ^ best[0]
    return sides
