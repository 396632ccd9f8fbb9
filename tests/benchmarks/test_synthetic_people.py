from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

REPO = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The generator, which is no part of the package."""
    monkeypatch.syspath_prepend(str(REPO))
    monkeypatch.delitem(sys.modules, "benchmarks", raising=False)
    import benchmarks.synthetic_people as module

    return module


def test_pieces_make_the_whole(people: ModuleType) -> None:
    n = 40_000
    rows, ids = people.make(n, 1_000, dim=24, seed=3)
    again = people.SyntheticPeople(n, 1_000, dim=24, seed=3)
    np.testing.assert_array_equal(np.concatenate(list(again.chunks(7_001))), rows)
    np.testing.assert_array_equal(again.rows(16_000, 33_000), rows[16_000:33_000])
    np.testing.assert_array_equal(again.person_ids, ids)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert not np.array_equal(people.make(n, 1_000, dim=24, seed=4)[0], rows)


def test_everybody_has_a_photo_and_some_have_many(people: ModuleType) -> None:
    photos = np.bincount(people.SyntheticPeople(20_000, 1_000, dim=4).person_ids, minlength=1_000)
    assert photos.sum() == 20_000
    assert photos.min() >= 1
    assert np.median(photos) < 15 < 200 < photos.max()
    assert (np.bincount(people.SyntheticPeople(50, 50, dim=4).person_ids) == 1).all()
    with pytest.raises(ValueError, match="3 faces cannot be of 4 people"):
        people.SyntheticPeople(3, 4)


def test_distances_are_those_of_real_faces(people: ModuleType) -> None:
    """Medians and tails that the labelled sets have, within a tenth."""
    alike = dataclasses.replace(people.DLIB, photos_tail=50.0)  # nobody dominates the pairs
    made = people.SyntheticPeople(3_000, 300, model=alike)
    rows, ids = made.rows(0, 3_000), made.person_ids
    distances = np.sqrt(np.maximum(0, 2 - 2 * rows @ rows.T))
    same = ids[:, None] == ids
    others = ~np.eye(3_000, dtype=bool)
    expected = {"same": (0.218, 0.304, 0.42), "different": (0.46, 0.572, 0.69)}
    for name, pairs in {"same": same & others, "different": ~same}.items():
        found = np.percentile(distances[pairs], (5, 50, 95))
        np.testing.assert_allclose(found, expected[name], rtol=0.1)


def test_lookalikes_and_bad_faces_are_what_they_say(people: ModuleType) -> None:
    made = people.SyntheticPeople(6_000, 600, dim=64)
    rows, ids = made.rows(0, 6_000), made.person_ids
    distances = np.sqrt(np.maximum(0, 2 - 2 * rows @ rows.T))
    impostor = np.where(ids[:, None] == ids, 9, distances).min(axis=1)
    like = made.is_lookalike[ids]
    assert np.median(impostor[like]) < np.median(impostor[~like])
    own = np.where(ids[:, None] == ids, distances, 0).sum(axis=1) / np.bincount(ids)[ids]
    assert np.median(own[made.is_bad]) > 1.15 * np.median(own[~made.is_bad])
