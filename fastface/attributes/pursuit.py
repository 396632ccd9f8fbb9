"""Projection pursuit: the directions along which rows fall into two bumps.

A distribution with two equal bumps has the least kurtosis there is, so directions of least kurtosis
are looked for among sphered rows: Peña & Prieto, "Cluster identification using projections", JASA
96, 2001.  A split in two is what a binary attribute looks like.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.moments import Kurtosis

__all__ = ["least_kurtosis_directions"]

_STEP = 0.3
_MAX_STEPS = 300
_SETTLED = 1e-9
_SAME_DIRECTION = 0.9


def least_kurtosis_directions(
    kurtosis: Kurtosis, *, n_starts: int, n_keep: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return unit directions of least kurtosis, the least first.

    Parameters
    ----------
    kurtosis : Kurtosis
        Of the sphered rows.
    n_starts : int
        Random starts, beside one at each principal axis.
    n_keep : int
        Most directions to return.  Of two that agree (|cos| ≥ 0.9) only the better is kept.
    rng : Generator
        Where the starts come from.

    Returns
    -------
    ndarray of shape (n_directions, n_axes)
        In the coordinates of the sphered rows.
    """
    p = kurtosis.n_axes
    directions = _unit(np.vstack([np.eye(p), rng.standard_normal((n_starts, p))]))
    for _ in range(_MAX_STEPS):
        moved = _unit(directions + _STEP * (3.0 * directions - kurtosis.gradient(directions)))
        change = np.abs(moved - directions).max()
        directions = moved
        if change < _SETTLED:
            break
    kept: list[NDArray[np.float64]] = []
    for row in np.argsort(kurtosis.along(directions), kind="stable"):
        direction = directions[row]
        if all(abs(direction @ other) < _SAME_DIRECTION for other in kept):
            kept.append(direction)
        if len(kept) == n_keep:
            break
    return np.array(kept)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
