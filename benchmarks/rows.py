"""Rows to measure on where real ones are too few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.synthetic_people import DLIB, SyntheticPeople

__all__ = ["face_like", "flat_faces", "population"]

ROWS_A_PERSON = 40
_FITTED_DIM = 128  # of the network whose spectra the model was fitted to


def population(n: int, dim: int, seed: int = 0) -> SyntheticPeople:
    """Return people with 40 photos on average, spread as `synthetic_people.DLIB` says.

    Rows of other widths have the same shape of spectrum, stretched over all their dimensions:
    wider networks use them all.
    """
    stretch = dim / _FITTED_DIM
    model = replace(
        DLIB,
        person_decay=DLIB.person_decay * stretch,
        variation_decay=DLIB.variation_decay * stretch,
    )
    return SyntheticPeople(n, max(1, n // ROWS_A_PERSON), dim=dim, seed=seed, model=model)


def face_like(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors as a face network gives them: all faces of a `population`."""
    return population(n, dim, seed).rows(0, n)


def flat_faces(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors of people whose faces vary alike in all dimensions: the hard case.

    People are unit vectors drawn around one common direction, which has 0.8 of the length of the
    rest; each has 40 faces on average.  A face is its person plus a normal deviate of norm 0.75,
    scaled to one again: two faces of a person have a cosine of 0.64 on average.  No direction tells
    more than another, so that bounds have the least to go by.
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
