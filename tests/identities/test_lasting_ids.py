from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastface import IdentityClustering
from fastface.errors import InvalidInputError
from fastface.identities.stable_ids import Change, match_people


def people(seed: int, n: int = 300, n_people: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((n_people, 32))
    labels = rng.integers(0, n_people, n)
    return (centers[labels] + rng.standard_normal((n, 32)) * 0.2).astype(np.float32), labels


def same_grouping(a: np.ndarray, b: np.ndarray) -> bool:
    n_pairs = len(np.unique(np.stack([a, b]), axis=1).T)
    return n_pairs == len(np.unique(a)) == len(np.unique(b))


def test_people_who_stay_the_same_keep_their_ids() -> None:
    before = np.array([4, 4, 4, 9, 9, 2])
    ids, changes = match_people(before, np.array([1, 1, 1, 0, 0, 7]))
    assert ids.tolist() == before.tolist()
    assert changes == []


def test_changes_are_told() -> None:
    #                   split 4      merge 9, 2    born
    before = np.array([4, 4, 4, 4, 9, 9, 9, 2, -1, -1])
    labels = np.array([0, 0, 0, 1, 2, 2, 2, 2, 3, 3])
    ids, changes = match_people(before, labels)
    assert ids.tolist() == [4, 4, 4, 11, 9, 9, 9, 9, 10, 10]
    assert changes == [
        Change("merged", 9, 2, 1),
        Change("born", 10, None, 2),
        Change("split", 11, 4, 1),
    ]
    assert str(changes[0]) == "person 2 became part of person 9, with 1 face"


@settings(deadline=None)
@given(
    before=st.lists(st.integers(-1, 6), min_size=12, max_size=12),
    labels=st.lists(st.integers(0, 6), min_size=12, max_size=12),
)
def test_ids_are_the_grouping_itself(before: list[int], labels: list[int]) -> None:
    ids, changes = match_people(np.array(before), np.array(labels))
    assert same_grouping(ids, np.array(labels))
    told = {change.other for change in changes if change.kind == "merged"}
    assert set(before) - {-1} - set(ids.tolist()) == told
    fresh = {change.person for change in changes if change.kind != "merged"}
    assert set(ids.tolist()) - set(before) == fresh


def test_ids_survive_a_second_fit_with_more_faces() -> None:
    rows, _ = people(0)
    first = IdentityClustering().fit(rows[:200])
    known = np.append(first.person_ids_, np.full(100, -1))
    second = IdentityClustering().fit(rows, previous_ids=known)
    assert (second.person_ids_[:200] == first.person_ids_).all()


def test_update_finds_what_fit_would() -> None:
    rows, truth = people(1)
    model = IdentityClustering().fit(rows[:220])
    ids = model.person_ids_.copy()
    for start in (220, 260):
        model.update(rows[start : start + 40])
    assert (model.person_ids_[:220] == ids).all()
    assert same_grouping(model.person_ids_, truth)
    assert same_grouping(model.person_ids_, model.labels_)
    assert model.confidence_.shape == (300,)
    assert model.n_people_ == 20
    whole = IdentityClustering().fit(rows)
    edges = [
        set(zip(*m.graph_.symmetric(mutual=True).nonzero(), strict=True)) for m in (model, whole)
    ]
    assert edges[1] <= edges[0]


def test_update_opens_people_and_says_so() -> None:
    rows, truth = people(2)
    model = IdentityClustering().fit(rows[truth < 18])
    model.update(rows[truth >= 18])
    assert [change.kind for change in model.changes_] == ["born", "born"]
    assert sorted({c.person for c in model.changes_}) == [18, 19]
    assert model.n_people_ == 20


def test_update_never_joins_people_or_faces_of_a_photo() -> None:
    rows, truth = people(3)
    old, new = rows[:200], rows[200:]
    model = IdentityClustering().fit(old, cannot_link=[np.flatnonzero(truth[:200] == 0)[:2]])
    n_people = len(np.unique(model.person_ids_))
    before = model.person_ids_.copy()
    model.update(new)
    assert len(np.unique(model.person_ids_[:200])) == n_people
    assert (model.person_ids_[:200] == before).all()

    model = IdentityClustering().fit(old, photo_ids=np.arange(200))
    model.update(new, photo_ids=np.full(100, 7))
    mine = model.person_ids_[200:]
    assert len(np.unique(mine)) == 100
    assert not np.isin(mine, model.person_ids_[7]).any()


def test_update_knows_photos_that_repeat_people() -> None:
    rows, truth = people(3)
    old, new = rows[:200], rows[200:]
    photos = np.arange(200)
    mine = np.flatnonzero(truth[200:] == truth[7])
    assert len(mine) > 1

    def where(fitted: tuple[int, ...], updated: tuple[int, ...]) -> set[bool]:
        model = IdentityClustering().fit(old, photo_ids=photos, repeating_photos=fitted)
        model.update(new[mine], photo_ids=np.full(len(mine), 7), repeating_photos=updated)
        return set((model.person_ids_[200:] == model.person_ids_[7]).tolist())

    assert where((), ()) == {False}
    assert where((7,), ()) == {True}  # fit's are kept
    assert where((), (7,)) == {True}
    assert where((3, 7), ()) == {True}  # a photo of none of the faces that decide
    with pytest.raises(InvalidInputError, match="names 500"):
        where((), (500,))


def test_one_face_then_another() -> None:
    model = IdentityClustering().fit(np.eye(3)[:1]).update(np.eye(3)[:1]).update(np.eye(3)[1:])
    assert model.labels_.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (np.ones((2, 5)), {}, "5 features, those of fit 32"),
        (np.ones((2, 32)), {"photo_ids": [1, 2]}, "both fit and update"),
        (np.zeros((2, 32)), {}, "all zero"),
    ],
)
def test_update_refuses(X, options, message) -> None:
    model = IdentityClustering().fit(people(0)[0])
    with pytest.raises(InvalidInputError, match=message):
        model.update(X, **options)
    assert len(model.labels_) == 300  # nothing was half done


def test_faces_of_low_quality_never_bridge_people() -> None:
    """Blurred faces between two people join one of them, or nobody, but not both to one."""
    rng = np.random.default_rng(5)
    rows, truth = people(5, n=120, n_people=2)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    means = np.stack([unit[truth == i].mean(axis=0) for i in (0, 1)])
    share = rng.random((60, 1))
    between = share * means[0] + (1 - share) * means[1] + rng.standard_normal((60, 32)) * 0.02
    faces = np.concatenate([unit, between])
    quality = np.repeat([0.9, 0.1], [120, 60])
    free = IdentityClustering("components", cutoff=0.6).fit(faces)
    assert free.n_people_ == 1
    guarded = IdentityClustering("components", cutoff=0.6, min_quality=0.5)
    guarded.fit(faces, quality=quality)
    assert same_grouping(guarded.labels_[:120], truth)
    assert not set(guarded.labels_[truth.size :].tolist()).isdisjoint({0, 1})
