"""What sets the rows apart most: splits in two, strongest first, found without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.moments import Axes, Kurtosis, blocks, principal_axes, project
from fastface.attributes.pursuit import least_kurtosis_directions
from fastface.attributes.refine import refine

__all__ = ["SearchParameters", "Split", "find_splits", "margins", "sides"]


@dataclass(frozen=True)
class SearchParameters:
    """Constants of the search.

    Directions are looked for on few principal axes, because among many axes and few rows every
    sample has a direction with two bumps; what is found is refined on more, where more of the
    attribute lies.

    Attributes
    ----------
    search_axes, rows_per_search_axis : int
        At most so many axes, and at most one for every so many rows, but 4.
    refine_axes, rows_per_refine_axis : int
        The same for the refinement.
    shrinkage : float
        Of the within-side covariance towards the identity.
    n_starts : int
        Random starts of the search.
    n_candidates : int
        Directions that are refined.
    min_share : float
        Splits with a side below this share of the rows are dropped.
    same_split : float
        Of two splits whose sides correlate this much only the stronger is kept.
    most_rows : int
        Of more rows than this a random part is searched: a direction among 64 axes does not get
        better by more, and time and memory stay bounded.
    """

    search_axes: int = 20
    rows_per_search_axis: int = 12
    refine_axes: int = 64
    rows_per_refine_axis: int = 6
    shrinkage: float = 0.1
    n_starts: int = 40
    n_candidates: int = 10
    min_share: float = 0.1
    same_split: float = 0.8
    most_rows: int = 50_000


@dataclass(frozen=True)
class Split:
    """One division of embeddings in two by a hyperplane.

    Attributes
    ----------
    direction : ndarray of float64, shape (n_features,)
        Unit normal: a row x is on side 1 where ``x @ direction > threshold``.
    threshold : float
        Where the sides meet.
    spread : float
        Standard deviation within the sides along `direction`.
    strength : float
        Share of the variance of all rows that lies between the means of the sides, in [0, 1].
    share : float
        Share of rows on side 1, the rarer side.
    separation : float
        Distance of the two means along `direction`, in units of `spread`.
    """

    direction: NDArray[np.float64]
    threshold: float
    spread: float
    strength: float
    share: float
    separation: float


def find_splits(
    X: NDArray[Any],
    *,
    max_splits: int,
    rng: np.random.Generator,
    parameters: SearchParameters | None = None,
) -> list[Split]:
    """Find splits of the rows of `X`, strongest first.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        A matrix from `fastface.validation.check_matrix`.
    max_splits : int
        Most splits to return; there may be fewer, and none where nothing varies.
    rng : Generator
        Where random starts come from.
    parameters : SearchParameters, optional
        Constants.

    Returns
    -------
    list of Split
        By decreasing `Split.strength`.
    """
    p = parameters or SearchParameters()
    if len(X) > p.most_rows:
        X = X[np.sort(rng.choice(len(X), p.most_rows, replace=False))]
    n = len(X)
    few = min(p.search_axes, max(4, n // p.rows_per_search_axis))
    many = max(few, min(p.refine_axes, n // p.rows_per_refine_axis))
    axes = principal_axes(X, min(many, n - 1, X.shape[1])) if n > 1 else None
    if axes is None or not len(axes.variances):
        return []
    few = min(few, len(axes.variances))
    Z = project(X, axes)
    scales = np.sqrt(axes.variances[:few])
    found = least_kurtosis_directions(
        Kurtosis(Z[:, :few], scales), n_starts=p.n_starts, n_keep=p.n_candidates, rng=rng
    )
    start = (found / scales).T
    start /= np.linalg.norm(start, axis=0)
    rough = refine(Z[:, :few], axes.variances[:few], start, shrinkage=p.shrinkage)
    widened = np.zeros((len(axes.variances), rough.directions.shape[1]))
    widened[:few] = rough.directions
    halves = refine(Z, axes.variances, widened, shrinkage=p.shrinkage)

    normals = axes.basis @ halves.directions
    thresholds = halves.thresholds + axes.mean @ normals
    splits: list[Split] = []
    kept_sides: list[NDArray[np.bool_]] = []
    described = {
        j: _describe(
            X,
            Z @ halves.directions[:, j],
            halves.sides[:, j],
            normals[:, j],
            float(thresholds[j]),
            axes,
        )
        for j, count in enumerate(halves.sides.sum(axis=0))
        if 0 < min(count, n - count) >= p.min_share * n
    }
    for j, split in sorted(described.items(), key=lambda item: (-item[1].strength, item[0])):
        side = halves.sides[:, j]
        if all(abs(2 * (side == other).mean() - 1) < p.same_split for other in kept_sides):
            kept_sides.append(side)
            splits.append(split)
    return splits[:max_splits]


def _describe(
    X: NDArray[Any],
    along: NDArray[np.float64],
    side: NDArray[np.bool_],
    normal: NDArray[np.float64],
    threshold: float,
    axes: Axes,
) -> Split:
    """Measure a split; `along` holds the rows' coordinates on its normal."""
    count = int(side.sum())
    if 2 * count > len(X):
        side, normal, threshold, along, count = ~side, -normal, -threshold, -along, len(X) - count
    share = count / len(X)
    total = np.zeros(X.shape[1])
    for part in blocks(*X.shape):
        total += X[part][side[part]].sum(axis=0, dtype=np.float64)
    gap = (total / count - axes.mean) / (1 - share)
    high, low = along[side], along[~side]
    spread = float(np.sqrt(share * high.var() + (1 - share) * low.var()))
    distance = float(high.mean() - low.mean())
    return Split(
        direction=normal,
        threshold=threshold,
        spread=spread,
        strength=float(share * (1 - share) * (gap @ gap) / axes.total_variance),
        share=share,
        separation=distance / spread if spread > 0 else float("inf"),
    )


def margins(X: NDArray[Any], splits: Sequence[Split]) -> NDArray[np.floating[Any]]:
    """Return how far every row lies on side 1 of every split.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    splits : sequence of Split
        Splits.

    Returns
    -------
    ndarray of shape (n_samples, n_splits)
        float32, or float64 where `X` is.  Distance from the threshold in standard deviations within
        the sides; positive on side 1.
    """
    directions = np.array([split.direction for split in splits]).reshape(-1, X.shape[1]).T
    thresholds = np.array([split.threshold for split in splits])
    spreads = np.array([max(split.spread, np.finfo(np.float32).tiny) for split in splits])
    dtype = np.float64 if X.dtype == np.float64 else np.float32
    found: NDArray[np.floating[Any]] = np.empty((len(X), len(splits)), dtype)
    for part in blocks(*X.shape):
        found[part] = (X[part] @ directions - thresholds) / spreads
    return found


def sides(X: NDArray[Any], splits: Sequence[Split]) -> NDArray[np.int8]:
    """Return the side, 0 or 1, of every row in every split, shape (n_samples, n_splits)."""
    return (margins(X, splits) > 0).astype(np.int8)
