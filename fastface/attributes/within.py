"""Inside one person: what tells the photos of the same face apart.

The photos of one person differ most by pose, light and blur.  How the photos of *all* people differ
around their own person's mean shows those nuisances without labels: where that pooled covariance
is large, distances count for less.  What is left is compared by direction alone (spatial signs
around the spatial median: Oja, "Multivariate Nonparametric Methods with R", 2010), so that one odd
photo is not a side of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.moments import blocks
from fastface.attributes.people import People
from fastface.attributes.splits import Split, sides
from fastface.attributes.two_means import spatial_signs, two_means_of_each

__all__ = [
    "Whitening",
    "WithinRows",
    "divide_within",
    "fit_whitening",
]

_RIDGE = 0.1
# Pairs of photos from which the best division of a person's photos is looked for.
_PAIRS = 64
# The products of all pairs of a person's photos are held at once.
_MOST_PHOTOS = 512


@dataclass(frozen=True)
class Whitening:
    """The scale of differences between photos of one person.

    Attributes
    ----------
    covariance : ndarray of shape (n_features, n_features)
        Pooled covariance around each person's mean.
    matrix : ndarray of shape (n_features, n_features)
        ``x @ matrix`` has about unit covariance inside a person.
    """

    covariance: NDArray[np.float64]
    matrix: NDArray[np.float64]

    @classmethod
    def from_covariance(cls, covariance: NDArray[np.float64]) -> Whitening:
        """Return the whitening of a covariance: eigenvectors times (λ + 0.1 mean λ)^−½."""
        values, vectors = np.linalg.eigh(covariance)
        level = max(float(values.mean()), np.finfo(np.float64).tiny)
        return cls(covariance, vectors / np.sqrt(np.maximum(values, 0.0) + _RIDGE * level))


def fit_whitening(X: NDArray[Any], people: People) -> Whitening | None:
    """Learn the whitening from everybody with two photos or more; None where nobody has."""
    means = people.means(X)
    degrees = int((people.sizes - 1).sum())
    if degrees == 0:
        return None
    scatter = np.zeros((X.shape[1], X.shape[1]))
    for part in blocks(*X.shape):
        rows = X[part] - means[people.codes[part]]
        scatter += rows.T @ rows
    if not np.trace(scatter) > 0:
        return None
    return Whitening.from_covariance(scatter / degrees)


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths


def divide_within(
    X: NDArray[Any],
    people: People,
    whitening: Whitening,
    min_photos: int,
    seed: int,
) -> NDArray[np.int8]:
    """Divide the photos of each person in two.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    people : People
        Whose they are.
    whitening : Whitening
        Learned from these people or from others.
    min_photos : int
        People with fewer are left out.
    seed : int
        Of the pairs of photos to begin from.

    Returns
    -------
    ndarray of int8, shape (n_samples,)
        0 or 1, turned so that sides mean the same for different people as far as that goes;
        −1 for people with fewer than `min_photos` photos.  Of people with more than 512 photos,
        512 spread evenly are divided and the others join the nearer side.
    """
    sides = np.full(len(X), -1, np.int8)
    chosen = np.flatnonzero(people.sizes >= min_photos)
    if not len(chosen):
        return sides
    differences = np.zeros((len(chosen), X.shape[1]))
    for batch in _batches(people.sizes[chosen], X.shape[1]):
        rows = [_spread(people.rows(int(person))) for person in chosen[batch]]
        starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
        flat = np.concatenate(rows)
        signs = spatial_signs(X[flat] @ whitening.matrix, starts)
        found = two_means_of_each(signs, starts, _PAIRS, seed)
        sides[flat] = found
        differences[batch] = _differences(signs, found, starts)
    turn = _common_sense(differences)
    for person, flip in zip(chosen, turn, strict=True):
        rows_of = people.rows(int(person))
        if len(rows_of) > _MOST_PHOTOS:
            _join_nearer(X, rows_of, sides, whitening)
        if flip:
            sides[rows_of] ^= 1
    return sides


def _batches(sizes: NDArray[np.int64], width: int) -> list[slice]:
    """Cut a list of people so that the rows of each piece stay small."""
    most = max(1, (1 << 22) // width)
    piece = np.cumsum(np.minimum(sizes, _MOST_PHOTOS)) // most
    ends = np.flatnonzero(np.r_[piece[1:] != piece[:-1], True]) + 1
    return [slice(int(a), int(b)) for a, b in zip(np.r_[0, ends[:-1]], ends, strict=True)]


def _spread(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(rows) <= _MOST_PHOTOS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, _MOST_PHOTOS).round().astype(np.int64)]


def _differences(
    signs: NDArray[np.float64], sides: NDArray[np.int8], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the unit vector from side 0 to side 1 of each group."""
    one = sides == 1
    n_one = np.add.reduceat(one.astype(np.float64), starts[:-1])[:, None]
    sum_one = np.add.reduceat(signs * one[:, None], starts[:-1], axis=0)
    sum_all = np.add.reduceat(signs, starts[:-1], axis=0)
    n_zero = np.diff(starts)[:, None] - n_one
    gap: NDArray[np.float64] = sum_one / np.maximum(n_one, 1) - (sum_all - sum_one) / np.maximum(
        n_zero, 1
    )
    gap /= np.maximum(_lengths(gap), 1e-12)[:, None]
    return gap


def _common_sense(differences: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which people's sides to exchange so that directions agree as well as they can."""
    _, vectors = np.linalg.eigh(differences.T @ differences)
    common = vectors[:, -1]
    common *= np.sign(common[np.abs(common).argmax()])
    flip: NDArray[np.bool_] = differences @ common < 0
    return flip


def _join_nearer(
    X: NDArray[Any], rows: NDArray[np.int64], sides: NDArray[np.int8], whitening: Whitening
) -> None:
    """Give the undivided rows of a person with very many photos the side of the nearer mean."""
    signs = spatial_signs(X[rows] @ whitening.matrix, np.array([0, len(rows)]))
    known = sides[rows]
    one, zero = signs[known == 1].mean(axis=0), signs[known == 0].mean(axis=0)
    nearer = signs @ (one - zero) > (one @ one - zero @ zero) / 2
    sides[rows] = np.where(known >= 0, known, nearer.astype(np.int8))


class WithinRows:
    """Rows as whitened differences from their own person's mean, made a block at a time.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    people : People
        Whose they are.
    whitening : Whitening
        The scale of the differences.
    """

    def __init__(self, X: NDArray[Any], people: People, whitening: Whitening) -> None:
        self._x, self._codes, self._matrix = X, people.codes, whitening.matrix
        self._means = people.means(X)

    def differences(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return them for some rows, shape (n_rows, n_features)."""
        found = np.empty((len(rows), self._x.shape[1]), np.float32)
        for part in blocks(*found.shape):
            here = rows[part]
            found[part] = (self._x[here] - self._means[self._codes[here]]) @ self._matrix
        return found

    def sides(self, rows: NDArray[np.int64], splits: Sequence[Split]) -> NDArray[np.int8]:
        """Return their sides of hyperplanes, shape (n_rows, n_splits)."""
        found = np.empty((len(rows), len(splits)), np.int8)
        for part in blocks(len(rows), self._x.shape[1]):
            found[part] = sides(self.differences(rows[part]), splits)
        return found
