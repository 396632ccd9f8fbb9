"""The ceiling: what a linear classifier that sees the labels can tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedGroupKFold

from fastface.attributes.significance import interval

__all__ = ["Ceiling", "fit_direction", "linear_probe", "probe_within"]

_MOST_ROWS = 20_000


@dataclass(frozen=True)
class Ceiling:
    """Balanced accuracy of a classifier on people it has not seen.

    Attributes
    ----------
    balanced_accuracy : float
        Over all folds.
    low, high : float
        95 % interval, resampling people.
    n_people : int
        How many people there were.
    """

    balanced_accuracy: float
    low: float
    high: float
    n_people: int


def fit_direction(X: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """Return the unit normal of linear discriminant analysis with shrinkage, classes weighed alike.

    The shrinkage is that of Ledoit & Wolf ("A well-conditioned estimator for large-dimensional
    covariance matrices", JMVA 88, 2004).
    """
    model = _classifier().fit(np.asarray(X, np.float64), y)
    normal: NDArray[np.float64] = model.coef_[0] / np.linalg.norm(model.coef_[0])
    return normal


def _classifier() -> Any:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])


def linear_probe(
    X: NDArray[Any],
    y: NDArray[Any],
    people: NDArray[np.int64],
    *,
    rng: np.random.Generator,
    n_folds: int = 5,
    n_resamples: int = 1000,
) -> Ceiling | None:
    """Cross-validate a linear probe, no person being in training and test at once.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; of more than 20,000 a random part is used.
    y : ndarray of shape (n_samples,)
        0 or 1.
    people : ndarray of shape (n_samples,)
        Person of every row.
    rng : Generator
        For folds and resampling.
    n_folds, n_resamples : int
        How many folds, and resamplings for the interval.

    Returns
    -------
    Ceiling or None
        None where a class has fewer than two people.
    """
    if len(X) > _MOST_ROWS:
        chosen = np.sort(rng.choice(len(X), _MOST_ROWS, replace=False))
        X, y, people = X[chosen], y[chosen], people[chosen]
    predicted = _out_of_fold(np.asarray(X, np.float64), y, people, n_folds, rng)
    if predicted is None:
        return None
    return _ceiling(predicted == y, y, people, rng, n_resamples)


def probe_within(
    X: NDArray[Any],
    y: NDArray[Any],
    people: NDArray[np.int64],
    *,
    rng: np.random.Generator,
    n_folds: int = 5,
    n_resamples: int = 1000,
    min_photos_per_class: int = 2,
) -> Ceiling | None:
    """Cross-validate one direction for everybody, on differences from each person's mean.

    A ceiling for one shared direction only: an attribute that shows in a different direction on
    every person can be told apart better person by person.

    Parameters
    ----------
    X, y, people, rng, n_folds, n_resamples
        As for `linear_probe`.
    min_photos_per_class : int
        People with fewer photos of either class are left out.

    Returns
    -------
    Ceiling or None
        The mean of the people's balanced accuracies; None where too few people are left.
    """
    n_people = int(people.max()) + 1
    counts = np.stack([np.bincount(people[y == v], minlength=n_people) for v in (0, 1)])
    usable: NDArray[np.bool_] = counts.min(axis=0) >= min_photos_per_class
    kept = usable[people]
    if usable.sum() < 4:
        return None
    rows, y, people = np.asarray(X[kept], np.float64), y[kept], people[kept]
    # Midway between a person's two class means, so that how often each occurs says nothing.
    middle = np.zeros((n_people, rows.shape[1]))
    for value in (0, 1):
        total = np.zeros_like(middle)
        np.add.at(total, people[y == value], rows[y == value])
        middle += total / np.maximum(counts[value], 1)[:, None] / 2
    predicted = _out_of_fold(rows - middle[people], y, people, n_folds, rng)
    if predicted is None:
        return None
    right = predicted == y
    shares = [
        np.bincount(people[y == v], weights=right[y == v], minlength=n_people)[usable]
        / counts[v][usable]
        for v in (0, 1)
    ]
    each = (shares[0] + shares[1]) / 2
    n = len(each)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples)
    return Ceiling(float(each.mean()), *interval(drawn @ each / n), n_people=n)


def _out_of_fold(
    X: NDArray[np.float64],
    y: NDArray[Any],
    people: NDArray[np.int64],
    n_folds: int,
    rng: np.random.Generator,
) -> NDArray[Any] | None:
    fewest = min(len(np.unique(people[y == value])) for value in (0, 1))
    if fewest < 2:
        return None
    folds = StratifiedGroupKFold(
        min(n_folds, fewest), shuffle=True, random_state=int(rng.integers(2**31))
    )
    predicted = np.zeros_like(y)
    for train, test in folds.split(X, y, people):
        if len(np.unique(y[train])) < 2:
            return None
        predicted[test] = _classifier().fit(X[train], y[train]).predict(X[test])
    return predicted


def _ceiling(
    right: NDArray[np.bool_],
    y: NDArray[Any],
    people: NDArray[np.int64],
    rng: np.random.Generator,
    n_resamples: int,
) -> Ceiling:
    _, codes = np.unique(people, return_inverse=True)
    n = int(codes.max()) + 1
    # For each person and class: photos, and photos that are right.
    seen = np.stack([np.bincount(codes[y == v], minlength=n) for v in (0, 1)])
    hits = np.stack([np.bincount(codes[y == v], right[y == v], minlength=n) for v in (0, 1)])
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples)
    totals = drawn @ seen.T
    whole = (totals > 0).all(axis=1)
    accuracies = ((drawn @ hits.T)[whole] / totals[whole]).mean(axis=1)
    value = float((hits.sum(axis=1) / seen.sum(axis=1)).mean())
    return Ceiling(value, *interval(accuracies), n_people=n)
