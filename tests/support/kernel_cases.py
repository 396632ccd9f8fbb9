"""Rows that kernels get wrong: ties, zeros, numbers of every size, sizes that fill no tile."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHAPES", "same_bits", "tricky_rows"]

# Rows, candidates, features.
SHAPES = [(1, 1, 1), (3, 2, 97), (17, 129, 8), (130, 260, 37)]


def tricky_rows(
    n: int, m: int, dim: int, dtype: str, seed: int = 0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return rows and candidates with duplicates, near duplicates, zeros and tiny numbers."""
    random = np.random.default_rng(seed)
    X, Y = random.standard_normal((n, dim)), random.standard_normal((m, dim))
    if m > 8:
        Y[5] = Y[7] = Y[2]  # three equal candidates: the first one wins
        Y[6] = Y[3] * (1 + 1e-6)  # closer than BF16 and TF32 can tell
        Y[4] = 0.0
    if n > 8:
        X[0], X[1] = 0.0, Y[2 % m]
        X[2] = Y[3 % m] * (1 + 2e-6)
        X[3] *= 1e-30 if dtype != "float16" else 1e-6
        X[4] *= 1e12 if dtype != "float16" else 100.0
    return X.astype(dtype), Y.astype(dtype)


def same_bits(got: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Fail unless two arrays agree in dtype, shape and every byte."""
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    np.testing.assert_array_equal(got, wanted)
    assert got.tobytes() == np.ascontiguousarray(wanted).tobytes()
