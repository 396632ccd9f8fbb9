"""Each step against its definition."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kurtosis

from fastface.attributes.kmeans import plain_k_means
from fastface.attributes.matching import match_clusters
from fastface.attributes.moments import Kurtosis, mean_and_covariance, principal_axes, project
from fastface.attributes.people import group_people
from fastface.attributes.pursuit import least_kurtosis_directions
from fastface.attributes.refine import refine, two_means_threshold
from fastface.attributes.splits import find_splits, margins, sides
from fastface.attributes.two_means import spatial_signs, two_means_of_each
from fastface.attributes.within import divide_within, fit_whitening
from fastface.errors import InvalidInputError

RNG = np.random.default_rng(1)


def test_moments_are_those_of_numpy_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastface.attributes.moments._BLOCK_VALUES", 50)
    X = RNG.standard_normal((101, 7)).astype(np.float32) + 4
    mean, covariance = mean_and_covariance(X)
    np.testing.assert_allclose(mean, X.mean(axis=0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(X.T, bias=True), atol=1e-6)
    axes = principal_axes(X, 3)
    Z = project(X, axes)
    np.testing.assert_allclose(np.cov(Z.T, bias=True), np.diag(axes.variances), atol=1e-5)


def test_axes_without_variance_are_left_out() -> None:
    X = RNG.standard_normal((50, 2)) @ RNG.standard_normal((2, 9))
    assert len(principal_axes(X, 9).variances) == 2
    assert len(principal_axes(np.ones((5, 4)), 4).variances) == 0


def test_kurtosis_matrix_gives_moment_and_gradient() -> None:
    Z = RNG.standard_t(5, size=(400, 6))
    Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    W = RNG.standard_normal((4, 6))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    found = Kurtosis(Z, np.ones(6))
    along = Z @ W.T
    np.testing.assert_allclose(found.along(W), (along**4).mean(axis=0))
    np.testing.assert_allclose(found.gradient(W), (along**3).T @ Z / len(Z))


def test_pursuit_finds_the_two_bumps() -> None:
    Z = RNG.standard_normal((3000, 8))
    Z[:, 5] = np.where(RNG.random(3000) < 0.5, 1, -1) + 0.3 * Z[:, 5]
    Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    turn = np.linalg.qr(RNG.standard_normal((8, 8)))[0]  # no axis is the answer
    Z = Z @ turn
    first = least_kurtosis_directions(
        Kurtosis(Z, np.ones(8)), n_starts=10, n_keep=3, rng=np.random.default_rng(0)
    )[0]
    assert abs(turn[5] @ first) > 0.99
    assert kurtosis(Z @ first, fisher=False) < 1.5


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=12))
@settings(deadline=None, max_examples=60)
def test_threshold_is_the_best_of_all_cuts(numbers: list[int]) -> None:
    values = np.array(numbers, float)
    if len(np.unique(values)) < 2:
        return

    def scatter(cut: float) -> float:
        parts = [values[values > cut], values[values <= cut]]
        return sum(((p - p.mean()) ** 2).sum() for p in parts if len(p))

    best = min(scatter(cut) for cut in np.unique(values)[:-1])
    assert scatter(two_means_threshold(values)) == pytest.approx(best)


def test_refinement_reaches_discriminant_analysis() -> None:
    truth = RNG.random(2000) < 0.3
    Z = RNG.standard_normal((2000, 5)) * [3, 2, 1, 1, 1]
    Z[:, 2] += 4 * truth
    Z = (Z - Z.mean(axis=0)).astype(np.float32)
    values, vectors = np.linalg.eigh(np.cov(Z.T, bias=True))
    Z = Z @ vectors.astype(np.float32)
    start = vectors.T @ np.array([[0.2], [0.2], [0.9], [0.2], [0.1]])
    found = refine(Z, values, start / np.linalg.norm(start), shrinkage=0.0)
    assert (found.sides[:, 0] == truth).mean() > 0.96
    assert abs((vectors @ found.directions[:, 0])[2]) > 0.98


def test_split_is_described_as_it_lies() -> None:
    truth = RNG.random(1000) < 0.3
    X = RNG.standard_normal((1000, 10)) * 0.5
    X[:, 4] += 6 * truth
    split, *_ = find_splits(X, max_splits=3, rng=np.random.default_rng(0))
    assert np.array_equal(sides(X, [split])[:, 0], truth)  # 1 is the rarer side
    gap = X[truth].mean(axis=0) - X[~truth].mean(axis=0)
    share = truth.mean()
    assert split.share == pytest.approx(share)
    assert split.strength == pytest.approx(
        share * (1 - share) * gap @ gap / X.var(axis=0).sum(), rel=1e-6
    )
    along = margins(X, [split])[:, 0].astype(float)
    assert along[truth].mean() - along[~truth].mean() == pytest.approx(split.separation, rel=1e-3)


@pytest.mark.parametrize("X", [np.ones((20, 3)), np.eye(2), np.arange(30.0).reshape(30, 1)])
def test_splits_of_next_to_nothing(X: np.ndarray) -> None:
    found = find_splits(X, max_splits=4, rng=np.random.default_rng(0))
    assert len(found) <= 1
    assert all(np.isfinite(split.direction).all() for split in found)


def test_splits_of_many_rows_are_found_in_a_part() -> None:
    from dataclasses import replace

    from fastface.attributes.splits import SearchParameters

    truth = RNG.random(4000) < 0.5
    X = RNG.standard_normal((4000, 8))
    X[:, 1] += 7 * truth
    few = replace(SearchParameters(), most_rows=500)
    found = find_splits(X, max_splits=1, rng=np.random.default_rng(0), parameters=few)
    assert abs(2 * (sides(X, found)[:, 0] == truth).mean() - 1) > 0.99


@given(st.integers(2, 9), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_two_means_is_the_best_division(n: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((n, 3))

    def between(side: np.ndarray) -> float:
        return sum(len(rows[side == v]) * (rows[side == v].mean(axis=0) ** 2).sum() for v in (0, 1))

    best = max(between(np.array((0, *rest))) for rest in product((0, 1), repeat=n - 1) if any(rest))
    side = two_means_of_each(rows, np.array([0, n]), 1000, 0)
    assert side[0] == 0
    assert between(side) <= best + 1e-9
    # Lloyd's iteration from every pair of rows hardly ever misses it on so few.
    assert between(side) >= 0.9 * best


def test_groups_are_divided_alone() -> None:
    rows = RNG.standard_normal((30, 4))
    starts = np.array([0, 7, 19, 30])
    together = two_means_of_each(rows, starts, 20, 3)
    for low, high in pairwise(starts):
        alone = two_means_of_each(rows[low:high].copy(), np.array([0, high - low]), 20, 3)
        assert np.array_equal(together[low:high], alone)


def test_spatial_median_has_no_pull() -> None:
    rows = RNG.standard_normal((24, 5))
    rows[3] += 100  # one odd row does not move it far
    starts = np.array([0, 12, 24])
    signs = spatial_signs(rows, starts)
    np.testing.assert_allclose(np.linalg.norm(signs, axis=1), 1)
    for low, high in ((0, 12), (12, 24)):
        assert np.linalg.norm(signs[low:high].sum(axis=0)) < 0.05


def test_whitening_leaves_unit_covariance_inside_people() -> None:
    ids = np.repeat(np.arange(40), 25)
    X = RNG.standard_normal((40, 6))[ids] * 9 + RNG.standard_normal((1000, 6)) * [5, 3, 2, 2, 1, 1]
    people = group_people(ids, len(X))
    whitening = fit_whitening(X, people)
    assert whitening is not None
    inside = (X - people.means(X)[people.codes]) @ whitening.matrix
    spread = np.linalg.eigvalsh(inside.T @ inside / (1000 - 40))
    assert 0.3 < spread.min() < spread.max() < 1.0  # the ridge holds small directions down
    assert fit_whitening(X, group_people(np.arange(len(X)), len(X))) is None


def test_people_of_very_many_photos_are_divided_too() -> None:
    truth = np.arange(1300) % 2
    X = RNG.standard_normal((1310, 5)) * 0.1
    X[:1300, 0] += truth
    people = group_people(np.r_[np.zeros(1300), np.arange(1, 11)], len(X))
    whitening = fit_whitening(X, people)
    assert whitening is not None
    side = divide_within(X, people, whitening, 4, 0)
    assert set(side[:1300]) == {0, 1}
    assert (side[1300:] == -1).all()
    assert abs(2 * (side[:1300] == truth).mean() - 1) > 0.95


def test_plain_k_means_agrees_with_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.cluster import KMeans

    centers = RNG.standard_normal((4, 6)) * 6
    X = centers[RNG.integers(0, 4, 500)] + RNG.standard_normal((500, 6))
    ours = plain_k_means(X, 4, seed=0)
    theirs = KMeans(4, n_init=10, random_state=0).fit_predict(X)
    assert match_clusters(ours, theirs, rng=np.random.default_rng(0)).one_to_one == 1
    assert np.array_equal(ours, plain_k_means(X, 4, seed=0))
    monkeypatch.setattr("fastface.attributes.kmeans._MOST_ROWS", 100)
    part = plain_k_means(X, 4, seed=0)
    assert match_clusters(part, theirs, rng=np.random.default_rng(0)).one_to_one > 0.95


def test_matching() -> None:
    clusters = [0, 0, 0, 1, 1, 1, 2, 2]
    classes = ["a", "a", "b", "b", "b", "b", "a", "a"]
    found = match_clusters(clusters, classes, rng=np.random.default_rng(0))
    assert found.one_to_one == 5 / 8  # two clusters serve two classes, the third is wrong
    assert found.many_to_one == 7 / 8
    assert found.balanced == pytest.approx((4 / 4 + 3 / 4) / 2)
    assert 0.4 < found.one_to_one_random < found.many_to_one_random < 0.9
    with pytest.raises(InvalidInputError, match="one label a row"):
        match_clusters([0, 1], [0], rng=np.random.default_rng(0))


def test_random_matches_reach_the_random_level() -> None:
    rng = np.random.default_rng(5)
    classes = rng.integers(0, 3, 60)
    found = match_clusters(rng.integers(0, 5, 60), classes, rng=rng)
    lucky = [
        match_clusters(rng.integers(0, 5, 60), classes, rng=rng, n_resamples=1).many_to_one
        for _ in range(200)
    ]
    assert found.many_to_one_random == pytest.approx(np.mean(lucky), abs=0.02)
