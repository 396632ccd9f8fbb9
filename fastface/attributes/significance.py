"""How good a split is at a question, and how good it would be by luck.

The best of several splits, each read in its better direction, is right more than half the time even
for labels drawn at random.  So every accuracy stands beside that random level, a permutation
p-value that knows how many splits were tried, and an interval by resampling people.  Neither needs
the rows: which splits' sides a row is on, and its label, say all there is, so that permuting is a
draw from the multivariate hypergeometric distribution and resampling one from the multinomial,
at the same cost for any number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

__all__ = [
    "AttributeScore",
    "control_false_discoveries",
    "interval",
    "score_between",
    "score_within",
]


# More people hardly narrow an interval, and every one of them is drawn thousands of times.
_MOST_PEOPLE = 5000


@dataclass(frozen=True)
class AttributeScore:
    """How well the best split answers one question.

    Attributes
    ----------
    name : str
        The question.
    level : {"between", "within", "shared"}
        Whether people are told apart, the photos of each person by that person's own division, or
        by directions that are the same for everybody.
    split : int
        Index of the best split: in `AttributeDiscovery.splits_`, or among the divisions scored.
    turned : bool
        Whether side 0 of that split stands for class 1.
    n_units, n_positive : int
        People (or photos) with a known answer, and how many of them have class 1; within people:
        people whose photos are of both classes, and photos of class 1.
    balanced_accuracy : float
        Mean of the shares of both classes that are on the right side; within people, the mean
        over people, each read in the better direction.
    low, high : float
        95 % interval, resampling people.
    random_level : float
        What labels in random order get in the same way, on average.
    p_value : float
        Share of random orders that do as well.
    q_value : float
        The p-value after control of the false discovery rate over all questions scored together.
    above_random : float
        ``(balanced_accuracy − random_level) / (1 − random_level)``: 0 is luck, 1 is perfect.
    accuracy : float
        Share on the right side under the best one-to-one matching, with the classes as large as
        they are; ``share of the larger class`` is what saying always the same would get.
    aligned : float or None
        Within people: balanced accuracy when one direction must serve everybody.
    """

    name: str
    level: str
    split: int
    turned: bool
    n_units: int
    n_positive: int
    balanced_accuracy: float
    low: float
    high: float
    random_level: float
    p_value: float
    q_value: float
    accuracy: float
    aligned: float | None = None

    @property
    def above_random(self) -> float:
        """What lies above the random level, as a share of what could."""
        return (self.balanced_accuracy - self.random_level) / (1 - self.random_level)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values for JSON and tables."""
        return {**vars(self), "above_random": self.above_random}


def score_between(
    name: str,
    sides: NDArray[Any],
    truth: NDArray[Any],
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
) -> AttributeScore:
    """Score splits of rows against one question.

    Parameters
    ----------
    name : str
        The question.
    sides : ndarray of shape (n_samples, n_splits)
        Side, 0 or 1, of every row in every split.
    truth : ndarray of shape (n_samples,)
        0 or 1; no missing ones, and both there.
    rng : Generator
        For permutations and resampling.
    n_resamples : int
        How many of each.

    Returns
    -------
    AttributeScore
        Of the split with the best balanced accuracy.
    """
    patterns, pattern = np.unique(sides, axis=0, return_inverse=True)
    pattern = pattern.ravel()
    counts = np.stack([np.bincount(pattern[truth == v], minlength=len(patterns)) for v in (0, 1)])
    n_zero, n_one = (int(c) for c in counts.sum(axis=1))

    leaning = _leaning(counts[1], counts[0], patterns)
    best = int(np.abs(leaning).argmax())
    observed = 0.5 + abs(float(leaning[best])) / 2

    permuted_ones = rng.multivariate_hypergeometric(counts.sum(axis=0), n_one, size=n_resamples)
    lucky = _leaning(permuted_ones, counts.sum(axis=0) - permuted_ones, patterns)
    luck = 0.5 + np.abs(lucky).max(axis=1) / 2

    chosen = patterns[:, [best]]
    cells = np.stack([np.bincount(chosen[:, 0], weights=c, minlength=2) for c in counts])
    drawn = rng.multinomial(n_zero + n_one, cells.ravel() / cells.sum(), size=n_resamples)
    drawn = drawn.reshape(-1, 2, 2)
    both = (drawn.sum(axis=2) > 0).all(axis=1)
    again = _leaning(drawn[both, 1], drawn[both, 0], np.array([[0], [1]]))[:, 0]
    # Resampling keeps the direction: a split that is read the other way is a worse one.
    low, high = interval(0.5 + np.sign(leaning[best]) * again / 2)
    right = cells[0, 0] + cells[1, 1]
    return AttributeScore(
        name=name,
        level="between",
        split=best,
        turned=bool(leaning[best] < 0),
        n_units=n_zero + n_one,
        n_positive=n_one,
        balanced_accuracy=observed,
        low=low,
        high=high,
        random_level=float(luck.mean()),
        p_value=_p_value(luck, observed),
        q_value=float("nan"),
        accuracy=float(max(right, cells.sum() - right) / cells.sum()),
    )


def score_within(
    name: str,
    sides: Sequence[NDArray[Any]],
    truth: NDArray[Any],
    codes: NDArray[np.int64],
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    min_photos_per_class: int = 2,
) -> AttributeScore | None:
    """Score divisions of each person's photos against one question.

    Of more than 5,000 people who can be scored, a random part is.

    Parameters
    ----------
    name : str
        The question.
    sides : sequence of ndarray of shape (n_samples,)
        Divisions: 0, 1, or −1 for photos that were not divided.
    truth : ndarray of shape (n_samples,)
        0, 1, or −1 where nothing is known.
    codes : ndarray of shape (n_samples,)
        Person of every row.
    rng : Generator
        For permutations and resampling.
    n_resamples : int
        How many of each.
    min_photos_per_class : int
        People with fewer photos of either class are left out.

    Returns
    -------
    AttributeScore or None
        Of the best division; None where no two people have enough photos of both classes.
    """
    found = [_score_division(side, truth, codes, rng, n_resamples, min_photos_per_class)
             for side in sides]  # fmt: skip
    scored = [(j, division) for j, division in enumerate(found) if division is not None]
    if not scored:
        return None
    best, division = max(scored, key=lambda item: (item[1].each.mean(), -item[0]))
    # Each division has random orders of its own.  Divisions that resemble each other would share
    # their luck, and its maximum would be smaller: this errs on the careful side.
    luck = np.max([d.luck for _, d in scored], axis=0)
    n = len(division.each)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples)
    low, high = interval(drawn @ division.each / n)
    observed = float(division.each.mean())
    return AttributeScore(
        name=name,
        level="within",
        split=best,
        turned=division.signed.mean() < 0,
        n_units=n,
        n_positive=division.n_positive,
        balanced_accuracy=observed,
        low=low,
        high=high,
        random_level=float(luck.mean()),
        p_value=_p_value(luck, observed),
        q_value=float("nan"),
        accuracy=division.accuracy,
        aligned=0.5 + abs(float(division.signed.mean())) / 2,
    )


@dataclass(frozen=True)
class _Division:
    each: NDArray[np.float64]
    signed: NDArray[np.float64]
    luck: NDArray[np.float64]
    n_positive: int
    accuracy: float


def _score_division(
    side: NDArray[Any],
    truth: NDArray[Any],
    codes: NDArray[np.int64],
    rng: np.random.Generator,
    n_resamples: int,
    fewest: int,
) -> _Division | None:
    known = (side >= 0) & (truth >= 0)
    person = codes[known]
    cell = 4 * person + 2 * truth[known].astype(np.int64) + side[known]
    table = np.bincount(cell, minlength=4 * (int(codes.max()) + 1)).reshape(-1, 2, 2)
    table = table[(table.sum(axis=2) >= fewest).all(axis=1)]
    if len(table) < 2:
        return None
    if len(table) > _MOST_PEOPLE:
        table = table[np.sort(rng.choice(len(table), _MOST_PEOPLE, replace=False))]
    zeros, ones = table[:, 0].sum(axis=1), table[:, 1].sum(axis=1)
    on_one = table[:, :, 1].sum(axis=1)

    def leaning(true_ones: NDArray[Any]) -> NDArray[np.float64]:
        gap: NDArray[np.float64] = true_ones / ones - (on_one - true_ones) / zeros
        return gap

    signed = leaning(table[:, 1, 1])
    random_ones = np.asarray(
        hypergeom.rvs(zeros + ones, ones, on_one, size=(n_resamples, len(table)), random_state=rng)
    )
    luck = (0.5 + np.abs(leaning(random_ones)) / 2).mean(axis=1)
    right = table[:, 0, 0] + table[:, 1, 1]
    accuracy = np.maximum(right, zeros + ones - right) / (zeros + ones)
    return _Division(
        0.5 + np.abs(signed) / 2, signed, luck, int(ones.sum()), float(accuracy.mean())
    )


def control_false_discoveries(scores: Sequence[AttributeScore]) -> list[AttributeScore]:
    """Fill in q-values by Benjamini & Hochberg's step-up procedure (JRSS B 57, 1995)."""
    if not scores:
        return []
    p = np.array([score.p_value for score in scores])
    order = np.argsort(p, kind="stable")
    ranked = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return [replace(score, q_value=float(v)) for score, v in zip(scores, q, strict=True)]


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the middle 95 % of resampled values; NaN where there are none."""
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _leaning(ones: NDArray[Any], zeros: NDArray[Any], patterns: NDArray[Any]) -> Any:
    """Return P(side 1 | class 1) − P(side 1 | class 0) for every split, last axis."""
    return ones @ patterns / ones.sum(axis=-1, keepdims=True) - zeros @ patterns / zeros.sum(
        axis=-1, keepdims=True
    )


def _p_value(luck: NDArray[np.float64], observed: float) -> float:
    return float((1 + (luck >= observed - 1e-12).sum()) / (1 + len(luck)))
