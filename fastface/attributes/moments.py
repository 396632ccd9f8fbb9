"""One pass over many rows: means, covariances, projections, and kurtosis in every direction.

Rows are read in blocks, so that memory stays bounded whatever their number and memory-mapped
arrays are never copied whole; sums are float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axes", "Kurtosis", "blocks", "mean_and_covariance", "principal_axes", "project"]

_BLOCK_VALUES = 1 << 21


def blocks(n_rows: int, width: int) -> Iterator[slice]:
    """Yield slices that cover `n_rows` rows of `width` numbers, about 16 MiB of float64 each."""
    step = max(1, _BLOCK_VALUES // max(1, width))
    for start in range(0, n_rows, step):
        yield slice(start, min(n_rows, start + step))


def mean_and_covariance(X: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean row and the covariance (divided by n) of the columns."""
    n, d = X.shape
    mean = np.zeros(d)
    for part in blocks(n, d):
        mean += X[part].sum(axis=0, dtype=np.float64)
    mean /= n
    scatter = np.zeros((d, d))
    for part in blocks(n, d):
        rows = X[part] - mean
        scatter += rows.T @ rows
    return mean, scatter / n


@dataclass(frozen=True)
class Axes:
    """Principal axes of a set of rows.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        The centre.
    basis : ndarray of shape (n_features, n_axes)
        Orthonormal columns, largest variance first.
    variances : ndarray of shape (n_axes,)
        Variance along each.
    total_variance : float
        Sum over all features.
    """

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]
    variances: NDArray[np.float64]
    total_variance: float


def principal_axes(X: NDArray[Any], n_axes: int) -> Axes:
    """Return the leading principal axes of `X`, without those along which nothing varies."""
    mean, covariance = mean_and_covariance(X)
    variances, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-variances, kind="stable")[:n_axes]
    # Rounding leaves about 1e-16 of the largest variance in directions that hold none.
    order = order[variances[order] > 1e-10 * max(variances[-1], 0.0)]
    basis = vectors[:, order]
    # An eigenvector's sign is the library's whim: the largest entry is made positive.
    largest = np.abs(basis).argmax(axis=0)
    basis = basis * np.sign(basis[largest, np.arange(len(order))])
    return Axes(mean, basis, variances[order], float(np.trace(covariance)))


def project(X: NDArray[Any], axes: Axes) -> NDArray[np.float64]:
    """Return the coordinates of every row on the axes, shape (n_samples, n_axes)."""
    found = np.empty((len(X), axes.basis.shape[1]))
    for part in blocks(*X.shape):
        found[part] = (X[part] - axes.mean) @ axes.basis
    return found


class Kurtosis:
    """The fourth moment of sphered rows in every direction, from one matrix product.

    For rows z and a direction w, E[(z·w)⁴] = f(w)ᵀ M f(w) with f(w) the products w_a w_b, a ≤ b
    (twice where a < b), and M the second moments of the products z_a z_b.  After M is known,
    neither the moment nor its gradient looks at the rows again, so that a search costs the same
    for a thousand rows as for a million.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_axes)
        Coordinates on principal axes.
    scales : ndarray of shape (n_axes,)
        Standard deviations, by which the coordinates are divided.
    """

    def __init__(self, Z: NDArray[Any], scales: NDArray[np.float64]) -> None:
        n, p = Z.shape
        self.n_axes = p
        self._a, self._b = np.triu_indices(p)
        self._weight = np.where(self._a == self._b, 1.0, 2.0)
        moments = np.zeros((len(self._a), len(self._a)))
        for part in blocks(n, len(self._a)):
            rows = Z[part] / scales
            products = rows[:, self._a] * rows[:, self._b]
            moments += products.T @ products
        self._moments = moments / n

    def along(self, W: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fourth moment along each row of `W` (k, n_axes)."""
        features = self._features(W)
        moments: NDArray[np.float64] = np.einsum("ij,ij->i", features @ self._moments, features)
        return moments

    def gradient(self, W: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return E[z (z·w)³], a quarter of the gradient, for each row of `W` (k, n_axes)."""
        k, p = W.shape
        # Row i holds E[z_a z_b (z·w_i)²]; unfolded to a symmetric matrix and applied to w_i.
        folded = self._features(W) @ self._moments
        matrices = np.empty((k, p, p))
        matrices[:, self._a, self._b] = folded
        matrices[:, self._b, self._a] = folded
        gradient: NDArray[np.float64] = np.einsum("iab,ib->ia", matrices, W)
        return gradient

    def _features(self, W: NDArray[np.float64]) -> NDArray[np.float64]:
        return W[:, self._a] * W[:, self._b] * self._weight
