"""Random levels, p-values and intervals against brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from fastface.attributes.labels import binary_attributes, majority
from fastface.attributes.significance import (
    control_false_discoveries,
    score_between,
    score_within,
)
from fastface.errors import InvalidInputError


def balanced(side: np.ndarray, truth: np.ndarray) -> float:
    return 0.5 + abs(side[truth == 1].mean() - side[truth == 0].mean()) / 2


def test_score_between_counts_what_is_there() -> None:
    sides = np.array([[0, 1], [0, 0], [1, 1], [1, 0], [1, 1], [0, 0]])
    truth = np.array([0, 0, 1, 1, 1, 1])
    score = score_between("q", sides, truth, rng=np.random.default_rng(0))
    assert score.split == 0
    assert score.balanced_accuracy == pytest.approx((1 + 3 / 4) / 2)
    assert score.accuracy == pytest.approx(5 / 6)
    assert not score.turned
    turned = score_between("q", 1 - sides, truth, rng=np.random.default_rng(0))
    assert turned.turned
    assert turned.balanced_accuracy == score.balanced_accuracy


def test_random_level_and_p_value_are_those_of_all_orders() -> None:
    rng = np.random.default_rng(3)
    sides = rng.integers(0, 2, (7, 3))
    sides[:, 0] = [0, 0, 0, 0, 1, 1, 1]
    truth = np.array([0, 0, 0, 1, 1, 1, 1])
    score = score_between("q", sides, truth, rng=rng, n_resamples=20_000)
    every = [
        max(balanced(sides[:, j], np.array(order)) for j in range(3))
        for order in set(permutations(truth.tolist()))
    ]
    assert score.random_level == pytest.approx(np.mean(every), abs=0.005)
    assert score.p_value == pytest.approx(
        np.mean(np.array(every) >= score.balanced_accuracy - 1e-12), abs=0.01
    )


def test_interval_between_covers_what_repetition_gives() -> None:
    rng = np.random.default_rng(11)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        truth = rng.integers(0, 2, 150)
        return np.where(rng.random(150) < 0.8, truth, 1 - truth)[:, None], truth

    inside = 0
    for _ in range(60):
        score = score_between("q", *draw(), rng=rng, n_resamples=400)
        inside += score.low <= 0.8 <= score.high
    assert inside >= 51  # 95 % of 60, less what luck takes


def test_score_within_against_brute_force() -> None:
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(8), 7)
    truth = np.array([0, 1, 0, 1, 0, 1, 1] * 8)
    side = rng.integers(0, 2, 56)
    side[codes == 0] = truth[codes == 0]
    side[codes == 7] = -1  # not divided
    score = score_within("q", [side], truth, codes, rng=rng, n_resamples=3000)
    assert score is not None
    each = [balanced(side[codes == p], truth[codes == p]) for p in range(7)]
    assert score.n_units == 7
    assert score.n_positive == 28
    assert score.balanced_accuracy == pytest.approx(np.mean(each))
    assert score.low < score.balanced_accuracy < score.high

    def shuffled() -> float:
        return float(
            np.mean([balanced(side[codes == p], rng.permutation(truth[:7])) for p in range(7)])
        )

    lucky = [shuffled() for _ in range(1000)]
    assert score.random_level == pytest.approx(np.mean(lucky), abs=0.01)
    assert score.random_level > 0.6  # far above one half at seven photos
    assert score.p_value == pytest.approx(
        np.mean(np.array(lucky) >= score.balanced_accuracy), abs=0.05
    )


def test_best_of_several_divisions_needs_a_higher_random_level() -> None:
    rng = np.random.default_rng(4)
    codes = np.repeat(np.arange(20), 8)
    truth = np.tile([0, 1], 80)
    divisions = [rng.integers(0, 2, 160) for _ in range(10)]
    one = score_within("q", divisions[:1], truth, codes, rng=rng)
    ten = score_within("q", divisions, truth, codes, rng=rng)
    assert one is not None
    assert ten is not None
    assert ten.random_level > one.random_level + 0.01
    assert ten.p_value > 0.01


def test_within_needs_two_people_with_both_classes() -> None:
    codes, side = np.repeat([0, 1], 6), np.tile([0, 1], 6)
    truth = np.r_[np.tile([0, 1], 3), np.zeros(6, int)]
    assert score_within("q", [side], truth, codes, rng=np.random.default_rng(0)) is None


def test_false_discoveries_are_controlled() -> None:
    rng = np.random.default_rng(0)
    sides, truth = rng.integers(0, 2, (200, 1)), rng.integers(0, 2, 200)
    from dataclasses import replace

    score = score_between("q", sides, truth, rng=rng)
    given = [replace(score, p_value=p) for p in (0.011, 0.04, 0.03, 0.01, 0.5)]
    q = [s.q_value for s in control_false_discoveries(given)]
    # 0.01·5/1, 0.011·5/2, 0.03·5/3, 0.04·5/4, 0.5, and none above a later one.
    assert q == pytest.approx([0.0275, 0.05, 0.05, 0.0275, 0.5])
    assert control_false_discoveries([]) == []


def test_labels_become_questions() -> None:
    labels = {
        "sex": ["m", "f", "", "m", "f", "f"],
        "on": [1, 0, -1, 1.0, 0, 1],
        "race": ["a", "b", "c", "a", None, "b"],
    }
    found = binary_attributes(labels, 6, missing=[-1])
    assert [q.name for q in found] == ["sex", "on", "race = a", "race = b", "race = c"]
    assert found[0].classes == ("f", "m")
    assert found[0].values.tolist() == [1, 0, -1, 1, 0, 0]
    assert found[1].values.tolist() == [1, 0, -1, 1, 0, 1]
    assert found[2].values.tolist() == [1, 0, 0, 1, -1, 0]


def test_numbers_become_the_ends_of_their_range() -> None:
    ages = np.arange(20, 80)
    (third,) = binary_attributes({"age": ages}, 60)
    assert (third.values == 1).sum() == (third.values == 0).sum() == 21
    assert third.name == "age ≥ 59"
    (cut,) = binary_attributes({"age": ages}, 60, cuts={"age": (25, 65)})
    assert cut.classes == ("≤ 25", "≥ 65")
    assert (cut.values == 0).sum() == 6
    assert (cut.values == 1).sum() == 15


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ({"x": [1, 1, 1]}, {}, "column 'x' holds only '1'"),
        ({"x": [None, "", np.nan]}, {}, "'x' holds nothing"),
        ({"x": [1, 0]}, {}, "'x' must hold one value for each of the 3 rows"),
        ({"x": [1, 0, 1]}, {"cuts": {"y": (0, 1)}}, "no column y to cut"),
        ({"x": [1, 2, 3]}, {"cuts": {"x": (2, 2)}}, "something between"),
        ({"x": [1, 2, 3]}, {"cuts": {"x": (5, 9)}}, "leaves one class only"),
    ],
)
def test_labels_that_ask_nothing(labels: dict, options: dict, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        binary_attributes(labels, 3, **options)


def test_too_many_classes_name_their_rows() -> None:
    names = [f"n{i}" for i in range(20)]
    with pytest.raises(InvalidInputError, match=r"'who' has 20 .* no numbers \(20 rows: 0, 1, 2"):
        binary_attributes({"who": names}, 20)
    skipped: dict[str, str] = {}
    found = binary_attributes({"who": names, "ok": np.arange(20) % 2}, 20, skipped=skipped)
    assert [q.name for q in found] == ["ok"]
    assert list(skipped) == ["who"]


def test_majority_of_a_person() -> None:
    values = np.array([1, 1, 0, 0, 1, -1, -1], np.int8)
    codes = np.array([0, 0, 0, 1, 1, 2, 2])
    assert majority(values, codes, 3).tolist() == [1, -1, -1]
