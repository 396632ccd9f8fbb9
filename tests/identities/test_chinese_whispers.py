from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fastface import NeighborGraph
from fastface.identities.chinese_whispers import chinese_whispers
from fastface.identities.constraints import Constraints

THRESHOLD = 0.5


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rng = np.random.default_rng(5)
    centers = rng.standard_normal((8, 16))
    return (centers[rng.integers(0, 8, 90)] + rng.standard_normal((90, 16)) * 0.09).astype("f4")


def by_definition(
    rows: np.ndarray, order: np.ndarray, photos: np.ndarray | None = None
) -> list[int]:
    """The method over all pairs, in plain Python."""
    n = len(rows)
    distances = np.linalg.norm(rows[:, None] - rows, axis=2)
    labels = list(range(n))
    while True:
        before = list(labels)
        for i in order:
            votes = Counter(labels[j] for j in range(n) if j != i and distances[i, j] < THRESHOLD)
            if photos is not None:
                for j in np.flatnonzero(photos == photos[i]):
                    if j != i:
                        votes.pop(labels[j], None)
            most = max(votes.values(), default=0)
            if most:
                labels[i] = min(label for label in votes if votes[label] == most)
        if labels == before:
            return labels


def as_sets(labels: object) -> set[frozenset[int]]:
    array = np.asarray(labels)
    return {frozenset(np.flatnonzero(array == label).tolist()) for label in np.unique(array)}


@pytest.mark.parametrize("with_photos", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_its_definition(rows: np.ndarray, with_photos: bool, seed: int) -> None:
    graph = NeighborGraph.build(rows, n_neighbors=len(rows))
    photos = np.random.default_rng(seed).integers(0, 40, len(rows)) if with_photos else None
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(rows))
    known = Constraints(len(rows), photo_ids=photos)
    labels = chinese_whispers(graph, threshold=THRESHOLD, constraints=known, seed=seed)
    expected = as_sets(by_definition(rows, order, photos))
    assert as_sets(labels) == expected
    assert 5 < len(expected) < 60


def test_labels_are_numbered_by_first_appearance(rows: np.ndarray) -> None:
    labels = chinese_whispers(NeighborGraph.build(rows), threshold=THRESHOLD)
    _, first = np.unique(labels, return_index=True)
    assert first.tolist() == sorted(first)
    assert labels[0] == 0
