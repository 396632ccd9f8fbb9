"""Rows by direction alone, and a name for what a matrix holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InvalidInputError

__all__ = ["fingerprint", "unit_rows"]

_BLOCK_BYTES = 1 << 24


def _blocks(X: NDArray[Any]) -> Iterator[slice]:
    step = max(1, _BLOCK_BYTES // (8 * X.shape[1]))
    for start in range(0, len(X), step):
        yield slice(start, min(len(X), start + step))


def unit_rows(X: NDArray[Any]) -> NDArray[np.float32]:
    """Scale every row to length one.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        A matrix from `fastface.validation.check_matrix`.

    Returns
    -------
    ndarray of float32, shape (n_samples, n_features)
        A new array.

    Raises
    ------
    InvalidInputError
        If rows are zero everywhere; they are named.
    """
    unit = np.empty(X.shape, np.float32)
    zero: list[int] = []
    for block in _blocks(X):
        rows = X[block].astype(np.float64)
        # Dividing by the peak first keeps the squares of tiny rows from vanishing.
        peaks = np.abs(rows).max(axis=1, keepdims=True)
        zero.extend((block.start + np.flatnonzero(peaks == 0)).tolist())
        peaks[peaks == 0] = 1
        rows /= peaks
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
        unit[block] = rows / np.where(lengths == 0, 1, lengths)
    if zero:
        listed = ", ".join(map(str, zero[:5])) + (", …" if len(zero) > 5 else "")
        raise InvalidInputError(
            f"{len(zero)} of {len(X)} rows of X are all zero and have no direction to compare"
            f" (rows {listed}): drop them"
        )
    return unit


def fingerprint(X: NDArray[Any]) -> str:
    """Return the SHA-256 of a matrix's shape and of its values as float32."""
    digest = hashlib.sha256(f"{X.shape[0]} {X.shape[1]}".encode())
    for block in _blocks(X):
        values = np.ascontiguousarray(X[block], "<f4")  # no copy where it is that already
        digest.update(values.data)
    return digest.hexdigest()
