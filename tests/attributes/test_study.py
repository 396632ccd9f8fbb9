"""Importance, audit, stability, probes, and the study of all of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastface.attributes import AttributeDiscovery
from fastface.attributes.audit import audit_groups
from fastface.attributes.importance import (
    attribute_importance,
    attribute_subspace,
    subspace_overlap,
)
from fastface.attributes.probe import linear_probe, probe_within
from fastface.attributes.stability import split_stability
from fastface.attributes.study import study_attributes
from fastface.attributes.verification import Pairs, Verification, choose_faces, unit
from fastface.errors import InvalidInputError

Labelled = tuple[np.ndarray, dict[str, np.ndarray]]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_acceptance_at_a_rate_is_that_of_its_definition() -> None:
    X, codes = rng().standard_normal((60, 5)), np.repeat(np.arange(15), 4)
    pairs = Pairs.of(codes)
    distances = pairs.distances(X)
    cosine = unit(X) @ unit(X).T
    np.testing.assert_allclose(distances, 1 - cosine[np.triu_indices(60, 1)], atol=1e-6)
    at = Verification.at(distances, pairs.same, 0.05)
    different = distances[~pairs.same]
    assert (different <= at.threshold).mean() == at.false_acceptance <= 0.05
    assert (different <= np.nextafter(at.threshold, 9)).sum() <= int(0.05 * len(different)) + 1
    assert at.true_acceptance == (distances[pairs.same] <= at.threshold).mean()
    none = Verification.at(distances, pairs.same, 0.0)
    assert none.false_acceptance == 0


def test_faces_to_compare_are_whole_people() -> None:
    codes = np.repeat(np.arange(50), rng().integers(1, 9, 50))
    rows = choose_faces(codes, rng(1), most=60)
    assert 40 <= len(rows) <= 60
    for person in np.unique(codes[rows]):
        assert (codes[rows] == person).sum() == (codes == person).sum()
    assert len(choose_faces(codes, rng(1), most=10_000)) == len(codes)


def test_subspace_hides_the_attribute_from_a_probe() -> None:
    y = rng().integers(0, 2, 400)
    X = rng(1).standard_normal((400, 10))
    X[:, 2] += 4 * y
    X[:, 6] += 4 * y
    found = attribute_subspace(X, y, np.arange(400), rng=rng(2))
    assert found is not None
    basis, before, after = found
    assert before > 0.95
    assert after <= 0.6
    assert basis.shape[1] <= 3
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-9)
    assert abs(basis[2, 0]) > 0.6
    assert abs(basis[6, 0]) > 0.6
    assert attribute_subspace(X, rng(9).integers(0, 2, 400), np.arange(400), rng=rng(2)) is None


def test_importance_tells_what_recognition_uses() -> None:
    """One attribute is half of what tells people apart, the other is noise of each photo."""
    people = np.repeat(np.arange(80), 5)
    used = rng(1).integers(0, 2, 80)[people]
    unused = rng(2).integers(0, 2, 400)
    X = 0.3 * (rng(3).standard_normal((80, 16))[people] + rng(4).standard_normal((400, 16)))
    X[:, 0] += 3 * (used - 0.5)
    X[:, 1] += 1.5 * (unused - 0.5)
    found = attribute_importance(
        X, people, {"used": used, "unused": unused}, rng=rng(5), false_acceptance=0.01
    )
    by_name = {importance.name: importance for importance in found}
    assert by_name["used"].high < 0
    assert by_name["used"].change < by_name["used"].random_low
    assert by_name["unused"].low > 0  # without it photos of one person are nearer
    assert by_name["used"].variance_share > 0.3 > by_name["unused"].variance_share
    overlap = subspace_overlap(found)
    assert overlap[0, 1] < 0.6
    assert overlap[0, 0] == overlap[1, 1] == 1


def test_audit_finds_the_worse_group() -> None:
    people = np.repeat(np.arange(120), 4)
    worse = (np.arange(120) >= 60)[people]
    X = rng(1).standard_normal((120, 20))[people]
    X += np.where(worse, 0.9, 0.3)[:, None] * rng(2).standard_normal(X.shape)
    found_ids = people.copy()
    found_ids[worse] = 1000 + people[worse] // 2  # two people taken for one
    good, bad = audit_groups(
        X,
        people,
        {"camera": {"good": ~worse, "bad": worse}},
        rng=rng(3),
        found_ids=found_ids,
    )
    assert (good.group, bad.group) == ("good", "bad")
    assert good.n_people == bad.n_people == 60
    assert bad.false_non_match.low > good.false_non_match.high
    assert good.clustering_f is not None
    assert bad.clustering_f is not None
    assert good.clustering_f.value == 1
    assert bad.clustering_f.value == pytest.approx(2 / 3, abs=0.02)
    json.dumps([good.as_dict(), bad.as_dict()])


def test_audit_rates_are_those_of_their_definition() -> None:
    people = np.repeat(np.arange(20), 3)
    X, half = rng(1).standard_normal((60, 4)), np.arange(60) < 30
    (first, _) = audit_groups(
        X, people, {"half": {"a": half, "b": ~half}}, rng=rng(), false_acceptance=0.1
    )
    pairs = Pairs.of(people)
    distances = pairs.distances(X)
    threshold = Verification.at(distances, pairs.same, 0.1).threshold
    inside = half[pairs.first] & half[pairs.second]
    near = distances <= threshold
    assert first.false_match.value == pytest.approx(near[inside & ~pairs.same].mean())
    assert first.false_non_match.value == pytest.approx((~near)[inside & pairs.same].mean())
    assert first.false_match.low <= first.false_match.value <= first.false_match.high


def test_stability_tells_structure_from_luck() -> None:
    X = rng().standard_normal((300, 12))
    nothing = AttributeDiscovery(4, max_depth=0).fit(X)
    X[:, 3] += 6 * (rng(1).random(300) < 0.4)
    something = AttributeDiscovery(4, max_depth=0).fit(X)
    lucky = split_stability(X, nothing.hyperplanes_, rng=rng(2))
    sure, *_ = split_stability(X, something.hyperplanes_, rng=rng(2))
    assert sure.p_value == 0.05
    assert sure.agreement > 0.95
    assert max(s.agreement for s in lucky) < 0.9
    assert split_stability(X[:9], something.hyperplanes_, rng=rng()) == []


def test_probe_is_a_ceiling_on_people_not_seen() -> None:
    people = np.repeat(np.arange(60), 4)
    y = rng().integers(0, 2, 60)[people]
    X = 3 * rng(1).standard_normal((60, 6))[people] + 0.1 * rng(2).standard_normal((240, 6))
    # Photos of one person resemble each other, which says nothing about others.
    luck = linear_probe(X, y, people, rng=rng(3))
    assert luck is not None
    assert luck.low < 0.5 < luck.high
    X[:, 0] += 12 * y
    ceiling = linear_probe(X, y, people, rng=rng(3))
    assert ceiling is not None
    assert ceiling.balanced_accuracy > 0.95
    assert ceiling.n_people == 60
    assert linear_probe(X, (people == 0).astype(int), people, rng=rng(3)) is None


def test_probe_within_looks_for_one_direction() -> None:
    people, y = np.repeat(np.arange(30), 8), np.tile([0, 0, 0, 0, 0, 0, 1, 1], 30)
    X = 5 * rng(1).standard_normal((30, 6))[people] + 0.4 * rng(2).standard_normal((240, 6))
    X[:, 2] += 1.5 * y
    shared = probe_within(X, y, people, rng=rng(3))
    assert shared is not None
    assert shared.balanced_accuracy > 0.93
    own = rng(4).standard_normal((30, 6))[people]
    each = probe_within(X - 1.5 * y[:, None] * (np.eye(6)[2] - own), y, people, rng=rng(3))
    assert each is not None
    assert each.balanced_accuracy < 0.75


def test_study_of_everything(crowd: Labelled) -> None:
    X, truth = crowd
    study = study_attributes(
        X,
        truth["person"],
        {name: truth[name] for name in ("tall", "old", "glasses")},
        true_ids=truth["person"],
    )
    document = json.loads(json.dumps(study.as_dict(), allow_nan=False))
    assert document["people"] == 60
    assert document["people_divided_within"] == 60
    answers = {(a.score.name, a.score.level): a for a in study.answers}
    tall, glasses = answers["tall", "between"], answers["glasses", "within"]
    assert tall.plain is not None
    assert tall.ceiling is not None
    assert tall.ceiling.balanced_accuracy == 1
    assert answers["old", "between"].score.balanced_accuracy == 1
    # The direction is everybody's own: one for all cannot tell it.
    assert glasses.ceiling is not None
    assert glasses.score.balanced_accuracy > glasses.ceiling.balanced_accuracy + 0.1
    assert {k for match in study.kmeans_matches.values() for k in match} == set(range(2, 17))
    names = [importance.name for importance in study.importances]
    assert "split 1" in names
    assert "tall" in names
    assert study.overlap[names.index("split 1"), names.index("tall")] > 0.9
    assert {row.attribute for row in study.audit} >= {"split 1", "tall", "glasses"}
    assert all(row.clustering_f is not None for row in study.audit)


def test_study_without_people_or_labels(crowd: Labelled) -> None:
    study = study_attributes(crowd[0][::5])
    assert study.answers == []
    assert study.importances == []
    assert any("No people were given" in note for note in study.notes)
    json.dumps(study.as_dict(), allow_nan=False)


def test_study_refuses_labels_that_ask_nothing(crowd: Labelled) -> None:
    with pytest.raises(InvalidInputError, match="no label column can be compared with"):
        study_attributes(crowd[0], labels={"x": ["same"] * 600})
    study = study_attributes(crowd[0], labels={"x": ["same"] * 600, "tall": crowd[1]["tall"]})
    assert list(study.skipped) == ["x"]
    assert [answer.score.name for answer in study.answers] == ["tall"]
