"""Whether a split is there: found again in halves of the people, and wider than luck makes it.

Any rows can be divided, and among many directions some divide a sample well by luck.  How well is
seen on rows without structure: normally distributed, with the same number and covariance, searched
in the same way.
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
    """How sure it is that a split is there.

    Attributes
    ----------
    agreement : float
        Mean absolute correlation, on rows not searched, of its sides with those of the best
        matching split of the other half of the rows.
    luck : float
        Median separation of the widest split of rows without structure.
    p_value : float
        Share of collections without structure whose widest split is separated as much, at least
        ``1 / (n_repeats + 1)``.
    """

    agreement: float
    luck: float
    p_value: float


def split_stability(
    X: NDArray[Any],
    splits: Sequence[Split],
    *,
    rng: np.random.Generator,
    parameters: SearchParameters | None = None,
    n_repeats: int = 19,
    n_halves: int = 5,
) -> list[Stability]:
    """Find splits again in random halves, and in rows without structure.

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
        Collections without structure.
    n_halves : int
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
    agreement = np.mean([_agreement(X, splits, rng, parameters) for _ in range(n_halves)], axis=0)
    mean, covariance = mean_and_covariance(X)
    widest = np.zeros(n_repeats)
    for repeat in range(n_repeats):
        noise = rng.multivariate_normal(mean, covariance, size=len(X), method="eigh")
        lucky = find_splits(noise, max_splits=len(splits), rng=rng, parameters=parameters)
        widest[repeat] = max((split.separation for split in lucky), default=0.0)
    return [
        Stability(
            float(value),
            float(np.median(widest)),
            float((1 + (widest >= split.separation).sum()) / (1 + n_repeats)),
        )
        for value, split in zip(agreement, splits, strict=True)
    ]


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
            total += _correlations(sides(X[rest], splits), sides(X[rest], again)).max(axis=1) / 2
    return total


def _correlations(A: NDArray[np.int8], B: NDArray[np.int8]) -> NDArray[np.float64]:
    a, b = (side.astype(np.float64) - side.mean(axis=0) for side in (A, B))
    scale = np.sqrt(np.outer((a**2).sum(axis=0), (b**2).sum(axis=0)))
    correlations: NDArray[np.float64] = np.abs(a.T @ b) / np.maximum(scale, 1e-12)
    return correlations
