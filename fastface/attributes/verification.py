"""Same person or not, from the distance of two photos: error rates, and what carries them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs", "Verification", "choose_faces", "unit"]

_MOST_FACES = 3000


def unit(X: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rows scaled to length one; a zero row stays zero."""
    rows = np.asarray(X, np.float64)
    scaled: NDArray[np.float64] = rows / np.maximum(
        np.linalg.norm(rows, axis=1, keepdims=True), 1e-300
    )
    return scaled


def choose_faces(
    codes: NDArray[np.int64], rng: np.random.Generator, most: int = _MOST_FACES
) -> NDArray[np.int64]:
    """Choose whole people at random until there are `most` faces; return their rows in order."""
    if len(codes) <= most:
        return np.arange(len(codes))
    sizes = np.bincount(codes)
    # People of one photo give no pair of the same person; they come last.
    order = rng.permutation(len(sizes))
    order = order[np.argsort(sizes[order] < 2, kind="stable")]
    kept = order[np.cumsum(sizes[order]) <= most]
    if not len(kept):
        kept = order[:1]
    return np.flatnonzero(np.isin(codes, kept))[:most]


@dataclass(frozen=True)
class Pairs:
    """All pairs of some faces, by whether they show one person.

    Attributes
    ----------
    first, second : ndarray of int64
        Faces of each pair.
    same : ndarray of bool
        Whether they show one person.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]

    @classmethod
    def of(cls, codes: NDArray[np.int64]) -> Pairs:
        """Return all pairs of faces with these people."""
        first, second = np.triu_indices(len(codes), 1)
        return cls(first, second, codes[first] == codes[second])

    def distances(self, X: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the cosine distance of every pair, which orders pairs as unit rows' distance."""
        rows = unit(X).astype(np.float32)
        distances: NDArray[np.float32] = 1 - (rows @ rows.T)[self.first, self.second]
        return distances


@dataclass(frozen=True)
class Verification:
    """Acceptance of pairs at one false acceptance rate.

    Attributes
    ----------
    threshold : float
        Pairs at this distance or nearer are taken for one person.
    true_acceptance : float
        Share of pairs of one person that are accepted (TAR).
    false_acceptance : float
        Share of pairs of two people that are accepted (FAR).
    """

    threshold: float
    true_acceptance: float
    false_acceptance: float

    @classmethod
    def at(
        cls, distances: NDArray[np.float32], same: NDArray[np.bool_], false_acceptance: float
    ) -> Verification:
        """Set the threshold where the wanted share of pairs of two people is accepted."""
        different = distances[~same]
        allowed = int(false_acceptance * len(different))
        if allowed == 0:
            threshold = float(np.nextafter(different.min(), np.float32(-1)))
        else:
            threshold = float(np.partition(different, allowed - 1)[allowed - 1])
        return cls(
            threshold,
            float((distances[same] <= threshold).mean()),
            float((different <= threshold).mean()),
        )
