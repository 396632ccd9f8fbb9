"""Rows to measure on where real ones are too few."""

from __future__ import annotations

import numpy as np

__all__ = ["face_like"]

ROWS_A_PERSON = 40


def face_like(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors as a face network gives them.

    People are unit vectors drawn around one common direction, which has 0.8 of the length of the
    rest; each has 40 faces on average.  A face is its person plus a normal deviate of norm 0.75,
    scaled to one again: two faces of a person have a cosine of 0.64 on average.
    """
    rng = np.random.default_rng(seed)
    people = rng.standard_normal((max(1, n // ROWS_A_PERSON), dim), dtype=np.float32)
    people[:, 0] += 0.8 * np.sqrt(dim)
    people /= np.linalg.norm(people, axis=1, keepdims=True)
    rows = rng.standard_normal((n, dim), dtype=np.float32)
    rows *= np.float32(0.75 / np.sqrt(dim))
    rows += people[rng.integers(0, len(people), n)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
