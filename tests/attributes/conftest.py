"""Embeddings drawn with known attributes, and real labelled ones."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Labelled = tuple[np.ndarray, dict[str, np.ndarray]]


@pytest.fixture(scope="session")
def labelled(shared_faces: Path) -> Callable[[str], Labelled]:
    """Read embeddings of a set with its columns."""

    def read(name: str) -> Labelled:
        with np.load(shared_faces / name / "embeddings.npz", allow_pickle=False) as file:
            embeddings = file["emb"]
        with (shared_faces / name / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return embeddings, {key: np.array([row[key] for row in rows]) for key in rows[0]}

    return read


@pytest.fixture(scope="session")
def crowd() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Sixty people of ten photos each: two attributes between them, one within, and nuisance.

    Everybody has the within attribute (say, glasses) in a direction of their own.
    """
    rng = np.random.default_rng(7)
    n_people, n_photos, width = 60, 10, 24
    person = np.repeat(np.arange(n_people), n_photos)
    tall, old = rng.random(n_people) < 0.5, rng.random(n_people) < 0.4
    glasses = np.tile(np.arange(n_photos) < n_photos // 2, n_people)
    means = 0.5 * rng.standard_normal((n_people, width))
    means[:, 3] += 5 * tall
    means[:, 9] += 3.5 * old
    own = rng.standard_normal((n_people, width))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    rows = means[person] + 1.2 * np.where(glasses, 1, -1)[:, None] * own[person]
    rows += 0.3 * rng.standard_normal(rows.shape)
    rows[:, 15] += 3 * rng.standard_normal(len(rows))  # pose: large, and of no interest
    return rows.astype(np.float32), {
        "person": person,
        "tall": tall[person],
        "old": old[person],
        "glasses": glasses,
    }
