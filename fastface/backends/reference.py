"""The NumPy definition of every kernel: what the answer *is*, whoever computes it.

A distance is a float64 sum over features in a fixed order (`_fixed_order_sum`).  float16 and
float32 rows enter as their exact float64 values.  Neighbours are ordered by (distance, index).
Only whole matrices of distances (`pairwise`) are float32 sums, in a fixed order as well, with the
float64 definition where float32 has lost too many digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.protocol import Neighbors

if TYPE_CHECKING:
    from fastface.backends.reference_kmeans import ReferenceKMeans

__all__ = ["ReferenceBackend", "distance_keys", "pair_keys"]

Matrix = NDArray[Any]
_LANES = 16
_DIM_STEP = 4
# A row with a smaller squared norm counts as zero for the cosine metric: below, float64 itself
# loses digits of the square.
_SMALLEST_SQUARED_NORM = 1e-280


def _fixed_order_sum(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the last axis: 16 interleaved partial sums, then pairwise l with l + 8, 4, 2, 1."""
    *shape, dim = terms.shape
    lanes = np.zeros((*shape, _LANES))
    for start in range(0, dim, _LANES):
        block = terms[..., start : start + _LANES]
        lanes[..., : block.shape[-1]] += block
    half = _LANES // 2
    while half:
        lanes[..., :half] += lanes[..., half : 2 * half]
        half //= 2
    return lanes[..., 0]


def _dots(x: NDArray[np.float64], Y: NDArray[np.float64]) -> NDArray[np.float64]:
    return _fixed_order_sum(x * Y)


def _norms(X: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = _fixed_order_sum(X * X)
    return np.sqrt(np.where(squared < _SMALLEST_SQUARED_NORM, 0.0, squared))


def distance_keys(X: Matrix, Y: Matrix, metric: str) -> NDArray[np.float64]:
    """Return the float64 values by which neighbours are ordered, shape (len(X), len(Y)).

    The squared distance for both Euclidean metrics, ``1 - cos`` clipped to [0, 2] for cosine (a
    zero vector is at distance 1 from everything), the negated dot product for the inner product.
    """
    wide_x, wide_y = X.astype(np.float64), Y.astype(np.float64)
    keys = np.empty((len(X), len(Y)))
    y_norms = _norms(wide_y) if metric == "cosine" else None
    for i, x in enumerate(wide_x):
        if metric == "inner_product":
            keys[i] = -_dots(x, wide_y)
        elif y_norms is not None:
            keys[i] = _cosine_keys(_dots(x, wide_y), _norms(x[None]), y_norms)
        else:
            difference = x - wide_y
            keys[i] = _fixed_order_sum(difference * difference)
    return keys


def pair_keys(X: Matrix, Y: Matrix, metric: str) -> NDArray[np.float64]:
    """Return the `distance_keys` of every row of X to the row of Y beside it, shape (len(X),)."""
    x, y = X.astype(np.float64), Y.astype(np.float64)
    if metric == "inner_product":
        return -_dots(x, y)
    if metric == "cosine":
        return _cosine_keys(_dots(x, y), _norms(x), _norms(y))
    return _fixed_order_sum((x - y) * (x - y))


def _cosine_keys(
    dots: NDArray[np.float64], x_norms: NDArray[np.float64], y_norms: NDArray[np.float64]
) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = 1.0 - dots / (x_norms * y_norms)
    zero = (x_norms == 0.0) | (y_norms == 0.0)
    return np.where(zero, 1.0, np.clip(cosine, 0.0, 2.0))


def _fused_multiply_add(
    x: NDArray[np.float32], y: NDArray[np.float32], addend: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return ``x * y + addend`` rounded once to float32.

    The product is exact in float64 and the sum is rounded to odd, after which rounding to float32
    is as good as rounding the exact sum (Boldo and Melquiond, Emulation of a FMA and
    correctly-rounded sums, 2008).
    """
    product = x.astype(np.float64) * y
    total = product + addend
    part = total - product
    error = (product - (total - part)) + (addend - part)
    even = (total.view(np.int64) & 1) == 0
    odd = np.nextafter(total, np.where(error > 0.0, np.inf, -np.inf))
    return np.where(even & (np.abs(error) > 0.0), odd, total).astype(np.float32)


def _float32_distances(
    X: Matrix, Y: Matrix, metric: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return float32 distances and where they are not good enough (docs/exactness.md)."""
    x, y = (_float32_rows(M, metric) for M in (X, Y))
    dots = np.zeros((len(x), len(y)), dtype=np.float32)
    one = np.float32(1.0)
    for j in range(x.shape[1]):
        dots = _fused_multiply_add(x[:, j, None], y[None, :, j], dots)
    if metric == "cosine":
        distances = one - dots
        doubtful = ~(distances >= np.float32(0.015625))
        return np.minimum(distances, np.float32(2.0)), doubtful
    if metric == "inner_product":
        return -dots, ~(np.abs(dots) <= np.float32(1e37))
    squared_norms = [_fixed_order_sum(M.astype(np.float64) ** 2).astype(np.float32) for M in (x, y)]
    sums = squared_norms[0][:, None] + squared_norms[1][None, :]
    squared = sums - (dots + dots)
    doubtful = ~(squared >= np.maximum(sums * np.float32(0.0625), np.float32(1e-30)))
    doubtful |= ~(sums <= np.float32(1e37))
    return np.sqrt(squared) if metric == "euclidean" else squared, doubtful


def _float32_rows(X: Matrix, metric: str) -> NDArray[np.float32]:
    """Return rows rounded to float32, of norm one for cosine, with zeros up to a multiple of 4."""
    rows = X.astype(np.float64)
    if metric == "cosine":
        norms = _norms(rows)[:, None]
        rows = rows * np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0.0)
    return np.pad(rows.astype(np.float32), ((0, 0), (0, -X.shape[1] % _DIM_STEP)))


def _to_distances(keys: NDArray[np.float64], metric: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return (np.sqrt(keys) if metric == "euclidean" else keys).astype(np.float32)


class ReferenceBackend:
    """Slow, plain and right."""

    name = "reference"
    checks_values = False

    @property
    def kmeans(self) -> ReferenceKMeans:
        """Return the kernels of k-means."""
        from fastface.backends.reference_kmeans import ReferenceKMeans

        return ReferenceKMeans()

    def topk(
        self,
        X: Matrix,
        Y: Matrix,
        k: int,
        metric: str,
        *,
        exclude_self: bool = False,
        n_threads: int = 1,
        memory_limit: int = 0,
    ) -> Neighbors:
        """Return the k nearest rows of Y for every row of X."""
        keys = distance_keys(X, Y, metric)
        indices = np.argsort(keys, axis=1, kind="stable")
        if exclude_self:
            others = indices != np.arange(len(X))[:, None]
            indices = indices[others].reshape(len(X), len(Y) - 1)
        indices = indices[:, :k]
        distances = _to_distances(np.take_along_axis(keys, indices, axis=1), metric)
        return Neighbors(distances, indices.astype(np.int32), 0, len(X))

    def assign(
        self,
        X: Matrix,
        centers: Matrix,
        metric: str,
        *,
        n_threads: int = 1,
        memory_limit: int = 0,
    ) -> Neighbors:
        """Return the nearest center of every row."""
        keys = distance_keys(X, centers, metric)
        labels = keys.argmin(axis=1)[:, None]
        distances = _to_distances(np.take_along_axis(keys, labels, axis=1), metric)
        return Neighbors(distances, labels.astype(np.int32), 0, len(X))

    def radius(
        self,
        X: Matrix,
        Y: Matrix,
        radius: float,
        metric: str,
        *,
        exclude_self: bool = False,
        n_threads: int = 1,
        memory_limit: int = 0,
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Return CSR offsets, indices and distances of the rows of Y within `radius`."""
        keys = distance_keys(X, Y, metric)
        limit = radius
        if metric == "euclidean":
            limit = -1.0 if radius < 0 else radius * radius
        inside = keys <= limit
        if exclude_self:
            np.fill_diagonal(inside, False)
        offsets = np.concatenate([[0], np.cumsum(inside.sum(axis=1))]).astype(np.int64)
        indices = np.nonzero(inside)[1].astype(np.int32)
        return offsets, indices, _to_distances(keys[inside], metric)

    def pairwise(
        self, X: Matrix, Y: Matrix, metric: str, *, out: NDArray[np.float32], n_threads: int = 1
    ) -> None:
        """Write every distance into `out`."""
        with np.errstate(over="ignore", invalid="ignore"):
            out[...], doubtful = _float32_distances(X, Y, metric)
        out[doubtful] = _to_distances(distance_keys(X, Y, metric)[doubtful], metric)

    def rows(self, X: Matrix) -> Matrix:
        """Return `X`."""
        return X

    def to_device(self, array: Matrix) -> Matrix:
        """Return `array`."""
        return array

    def to_host(self, array: Matrix) -> Matrix:
        """Return `array`."""
        return array
