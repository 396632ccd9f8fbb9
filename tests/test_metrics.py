from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastface import metrics
from fastface.errors import InvalidInputError
from fastface.metrics import (
    bcubed_scores,
    normalized_mutual_information,
    pairwise_scores,
    verification_rates,
)

labelings = st.integers(1, 25).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 6), min_size=n, max_size=n) for _ in range(2)])
)


def f(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(labelings)
def test_pairwise_equals_counting_pairs(labels: tuple[list[int], list[int]]) -> None:
    true, predicted = map(np.array, labels)
    i, j = np.triu_indices(len(true), 1)
    same_true, same_predicted = true[i] == true[j], predicted[i] == predicted[j]
    both = (same_true & same_predicted).sum()
    precision = both / same_predicted.sum() if same_predicted.any() else 1.0
    recall = both / same_true.sum() if same_true.any() else 1.0
    assert pairwise_scores(true, predicted) == pytest.approx(
        (precision, recall, f(precision, recall))
    )


@given(labelings)
def test_bcubed_equals_its_definition(labels: tuple[list[int], list[int]]) -> None:
    true, predicted = map(np.array, labels)
    same_true = true[:, None] == true
    same_predicted = predicted[:, None] == predicted
    both = (same_true & same_predicted).sum(axis=1)
    precision = (both / same_predicted.sum(axis=1)).mean()
    recall = (both / same_true.sum(axis=1)).mean()
    assert bcubed_scores(true, predicted) == pytest.approx(
        (precision, recall, f(precision, recall))
    )


def test_labels_of_any_type_score_alike() -> None:
    names = ["ann", "bob", "ann", "cy"]
    assert pairwise_scores(names, [0, 1, 0, 2]) == (1.0, 1.0, 1.0)
    assert bcubed_scores(names, ["x", "y", "x", "z"]).f == 1.0
    mixed = np.array(["ann", None, "ann", 3], dtype=object)
    for labels in (mixed, np.array(names), [True, False, True, False], [0.5, 1.5, 0.5, np.inf]):
        assert bcubed_scores(labels, labels) == (1.0, 1.0, 1.0)
        assert pairwise_scores(labels, [0, 1, 2, 3]).precision == 1.0


def test_counts_do_not_overflow() -> None:
    n = 3_000_000
    labels = np.zeros(n, dtype=np.int8)
    halves = np.arange(n) % 2
    assert pairwise_scores(labels, labels).f == 1.0
    assert pairwise_scores(labels, halves).recall == pytest.approx(0.5, abs=1e-6)


def test_counts_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred million rows in two groups, one row wrong, without holding them."""
    cells = np.array([10**8 - 1, 1, 1])
    table = metrics._Contingency(
        cells,
        np.array([10**8, 1]),
        np.array([10**8 - 1, 2]),
        np.array([0, 0, 1]),
        np.array([0, 1, 1]),
    )
    monkeypatch.setattr(metrics, "_contingency", lambda *_: table)
    together = (10**8 - 1) * (10**8 - 2) // 2
    assert pairwise_scores([], []).precision == together / (together + 1)
    assert pairwise_scores([], []).recall == together / (10**8 * (10**8 - 1) // 2)
    assert bcubed_scores([], []).precision == pytest.approx((10**8 - 1 + 0.5 + 0.5) / (10**8 + 1))


@pytest.mark.parametrize("score", [pairwise_scores, bcubed_scores])
@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([1, 2], [1], "2 rows and labels_pred has 1"),
        ([], [], "empty"),
        ([[1]], [1], "shape"),
        ([1.0, np.nan], [1, 2], "NaN"),
        (np.array([{}, 1], object), [1, 2], "keys"),
    ],
)
def test_bad_labels(score, true, predicted, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        score(true, predicted)


@settings(deadline=None)
@given(labels=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_mutual_information_equals_scikit_learns(labels: list[tuple[int, int]]) -> None:
    from sklearn.metrics import normalized_mutual_info_score

    true, predicted = zip(*labels, strict=True)
    expected = normalized_mutual_info_score(true, predicted)
    assert normalized_mutual_information(true, predicted) == pytest.approx(expected, abs=1e-9)


def test_verification_at_false_accept_rates() -> None:
    distances = [0.1, 0.2, 0.4, 0.6, 0.3, 0.5, 0.5, 0.9]
    same = [True] * 4 + [False] * 4
    rates = verification_rates(distances, same, [0.0, 0.25, 0.5, 1.0])
    # No stranger: nearer than 0.3.  One of four: nearer than 0.5, which two of them share.
    assert rates.tolist() == [0.5, 0.75, 0.75, 1.0]


@pytest.mark.parametrize(
    ("distances", "same", "rates", "message"),
    [
        ([1.0], [True, False], [0.1], "one value a pair"),
        ([1.0, np.nan], [True, False], [0.1], "NaN"),
        ([1.0, 2.0], [True, False], [1.5], "between 0 and 1"),
        ([1.0, 2.0], [True, True], [0.1], "both needed"),
    ],
)
def test_verification_refuses(distances, same, rates, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        verification_rates(distances, same, rates)
