"""From a direction to a split: a threshold, then sides and direction in turn until both agree.

The alternation is linear discriminant analysis with labels of its own making (Ding & Li, "Adaptive
dimension reduction using discriminant analysis and K-means clustering", ICML 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.moments import blocks

__all__ = ["Halves", "refine", "two_means_threshold"]

_MAX_ROUNDS = 100
# Below ten thousand rows this is none: a split is settled when no row changes sides.
_STILL_MOVING = 1e-4


def two_means_threshold(values: NDArray[Any]) -> float:
    """Return where the best two-group k-means of numbers cuts them: exact, by one sort."""
    ordered = np.sort(values).astype(np.float64)
    n = len(ordered)
    left = np.cumsum(ordered)[:-1]
    sizes = np.arange(1, n)
    # The sum of squares between two groups, up to what does not depend on the cut.
    between = left**2 / sizes + (ordered.sum() - left) ** 2 / (n - sizes)
    # Between two equal numbers there is no cut.
    between[ordered[1:] == ordered[:-1]] = -np.inf
    cut = int(between.argmax())
    return float((ordered[cut] + ordered[cut + 1]) / 2)


@dataclass(frozen=True)
class Halves:
    """Splits of the same rows, one a column.

    Attributes
    ----------
    directions : ndarray of shape (n_axes, n_splits)
        A row z is on side 1 of split j where ``z @ directions[:, j] > thresholds[j]``.
    thresholds : ndarray of shape (n_splits,)
        Where the sides meet.
    sides : ndarray of bool, shape (n_samples, n_splits)
        The side of every row.
    """

    directions: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    sides: NDArray[np.bool_]


def refine(
    Z: NDArray[np.float64],
    variances: NDArray[np.float64],
    directions: NDArray[np.float64],
    *,
    shrinkage: float,
) -> Halves:
    """Refine directions into splits, all of them together.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_axes)
        Centred coordinates on principal axes.
    variances : ndarray of shape (n_axes,)
        Variance along each axis.
    directions : ndarray of shape (n_axes, n_splits)
        Where to begin.
    shrinkage : float
        Share of the within-side covariance that is replaced by a multiple of the identity.

    Returns
    -------
    Halves
        The settled splits.
    """
    n = len(Z)
    directions = directions.copy()
    thresholds = np.array([two_means_threshold(along) for along in (Z @ directions).T])
    sides = _sides(Z, directions, thresholds)
    moving = np.arange(directions.shape[1])
    for _ in range(_MAX_ROUNDS):
        counts = sides[:, moving].sum(axis=0)
        moving = moving[(counts > 0) & (counts < n)]
        if not len(moving):
            break
        before = sides[:, moving]
        sums = _side_sums(Z, before)
        for j, total, count in zip(moving, sums.T, before.sum(axis=0), strict=True):
            directions[:, j], thresholds[j] = _discriminant(
                total / count, count / n, variances, shrinkage
            )
        after = _sides(Z, directions[:, moving], thresholds[moving])
        sides[:, moving] = after
        moving = moving[(after != before).sum(axis=0) > _STILL_MOVING * n]
    return Halves(directions, thresholds, sides)


def _discriminant(
    mean: NDArray[np.float64], share: float, variances: NDArray[np.float64], shrinkage: float
) -> tuple[NDArray[np.float64], float]:
    """Return the unit direction and threshold that tell side 1 from side 0.

    All rows are centred, so side 0 lies at −π/(1 − π) times the `mean` of side 1, and the
    covariance within the sides is that of all rows less what lies between the two means.
    """
    gap = mean / (1 - share)
    within = np.diag(variances) - share * (1 - share) * np.outer(gap, gap)
    level = max(float(np.trace(within)), 1e-12 * float(variances.sum())) / len(gap)
    within = (1 - shrinkage) * within + shrinkage * level * np.eye(len(gap))
    normal = np.linalg.solve(within, gap)
    direction: NDArray[np.float64] = (normal / np.linalg.norm(normal)).astype(np.float64)
    return direction, float((0.5 - share) * (gap @ direction))


def _sides(
    Z: NDArray[np.float64], directions: NDArray[np.float64], thresholds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    sides = np.empty((len(Z), directions.shape[1]), np.bool_)
    for part in blocks(len(Z), max(Z.shape[1], directions.shape[1])):
        sides[part] = Z[part] @ directions > thresholds
    return sides


def _side_sums(Z: NDArray[np.float64], sides: NDArray[np.bool_]) -> NDArray[np.float64]:
    sums = np.zeros((Z.shape[1], sides.shape[1]))
    for part in blocks(len(Z), max(Z.shape[1], sides.shape[1])):
        sums += Z[part].T @ sides[part].astype(np.float64)
    return sums
