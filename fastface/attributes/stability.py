"""Whether a split would be found again: the same search on halves of the people.

A direction that a sample has by luck is not there in the other half.  The level to compare with
comes from rows without any structure: normally distributed, with the same number and variances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.moments import mean_and_covariance
from fastface.attributes.splits import SearchParameters, Split, find_splits, sides

__all__ = ["Stability", "split_stability"]

_MOST_ROWS = 20_000


@dataclass(frozen=True)
class Stability:
    """How well a split is found again.

    Attributes
    ----------
    agreement : float
        Mean absolute correlation of its sides with those of the best matching split of a half.
    without_structure : float
        The same for the best split of normally distributed rows, the 95th percentile over
        repetitions: a split that does not exceed it may be luck.
    """

    agreement: float
    without_structure: float


def split_stability(
    X: NDArray[Any],
    splits: Sequence[Split],
    *,
    rng: np.random.Generator,
    parameters: SearchParameters | None = None,
    n_repeats: int = 10,
) -> list[Stability]:
    """Find splits again in random halves of the rows.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        The rows (people's means) in which `splits` were found; of more than 20,000 a random part
        is used.
    splits : sequence of Split
        Splits.
    rng : Generator
        For halves, and for the rows without structure.
    parameters : SearchParameters, optional
        Of the search.
    n_repeats : int
        Pairs of halves.

    Returns
    -------
    list of Stability
        One a split; empty where there are too few rows for halves (below 16).
    """
    if len(X) < 16 or not splits:
        return []
    if len(X) > _MOST_ROWS:
        X = X[np.sort(rng.choice(len(X), _MOST_ROWS, replace=False))]
    agreement = np.zeros(len(splits))
    nothing = []
    mean, covariance = mean_and_covariance(X)
    for _ in range(n_repeats):
        agreement += _agreement(X, splits, rng, parameters) / n_repeats
        noise = rng.multivariate_normal(mean, covariance, size=len(X), method="eigh")
        lucky = find_splits(noise, max_splits=len(splits), rng=rng, parameters=parameters)
        if lucky:
            nothing.append(_agreement(noise, lucky, rng, parameters).max())
    level = float(np.quantile(nothing, 0.95)) if nothing else 0.0
    return [Stability(float(value), level) for value in agreement]


def _agreement(
    X: NDArray[Any],
    splits: Sequence[Split],
    rng: np.random.Generator,
    parameters: SearchParameters | None,
) -> NDArray[np.float64]:
    """Return the mean over two halves of each split's best match among the half's splits."""
    order = rng.permutation(len(X))
    total = np.zeros(len(splits))
    for half, rest in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        again = find_splits(
            X[np.sort(half)], max_splits=2 * len(splits), rng=rng, parameters=parameters
        )
        if again:
            # Compared on the rows that the half has not seen.
            total += _correlations(sides(X[rest], splits), sides(X[rest], again)).max(axis=1) / 2
    return total


def _correlations(A: NDArray[np.int8], B: NDArray[np.int8]) -> NDArray[np.float64]:
    a, b = (side.astype(np.float64) - side.mean(axis=0) for side in (A, B))
    scale = np.sqrt(np.outer((a**2).sum(axis=0), (b**2).sum(axis=0)))
    correlations: NDArray[np.float64] = np.abs(a.T @ b) / np.maximum(scale, 1e-12)
    return correlations
