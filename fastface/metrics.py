"""Scores of a grouping against true labels, and of distances against who is who.

References
----------
E. Amigó, J. Gonzalo, J. Artiles, F. Verdejo. "A comparison of extrinsic clustering evaluation
metrics based on formal constraints." Information Retrieval 12, 2009.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.errors import InvalidInputError

__all__ = [
    "Scores",
    "bcubed_scores",
    "normalized_mutual_information",
    "pairwise_scores",
    "verification_rates",
]


class Scores(NamedTuple):
    """Precision, recall and their harmonic mean F, each in [0, 1].

    Attributes
    ----------
    precision : float
        Share of what was joined that belongs together.
    recall : float
        Share of what belongs together that was joined.
    f : float
        Harmonic mean of the two.
    """

    precision: float
    recall: float
    f: float


class _Contingency(NamedTuple):
    """How many rows share a true and a predicted label, with the sizes of both groups."""

    cells: NDArray[np.int64]
    true_sizes: NDArray[np.int64]
    predicted_sizes: NDArray[np.int64]
    cell_true: NDArray[np.int64]
    cell_predicted: NDArray[np.int64]


def _codes(labels: ArrayLike, name: str) -> NDArray[np.int64]:
    array: NDArray[Any] = np.asarray(labels)
    if array.ndim != 1:
        raise InvalidInputError(f"{name} must be one label a row, got shape {array.shape}")
    if array.dtype.kind in "biu":
        return np.unique(array, return_inverse=True)[1].astype(np.int64)
    # Counting names through a dictionary is several times faster than sorting them, and names of
    # different types need no order.
    codes: dict[object, int] = {}
    try:
        found = [codes.setdefault(label, len(codes)) for label in array.tolist()]
    except TypeError:
        raise InvalidInputError(f"{name} holds labels that cannot be compared as keys") from None
    if any(label != label for label in codes):
        raise InvalidInputError(f"{name} holds NaN; every row needs a label")
    return np.array(found, np.int64)


def _contingency(labels_true: ArrayLike, labels_pred: ArrayLike) -> _Contingency:
    true = _codes(labels_true, "labels_true")
    predicted = _codes(labels_pred, "labels_pred")
    if len(true) != len(predicted):
        raise InvalidInputError(
            f"labels_true has {len(true)} rows and labels_pred has {len(predicted)};"
            " they must agree"
        )
    if len(true) == 0:
        raise InvalidInputError("no labels to score: both arrays are empty")
    width = int(predicted.max()) + 1
    keys, cells = np.unique(true * width + predicted, return_counts=True)
    return _Contingency(
        cells.astype(np.int64),
        np.bincount(true).astype(np.int64),
        np.bincount(predicted).astype(np.int64),
        keys // width,
        keys % width,
    )


def _f(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _pairs(sizes: NDArray[np.int64]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def pairwise_scores(labels_true: ArrayLike, labels_pred: ArrayLike) -> Scores:
    """Score the pairs of rows that a grouping puts together.

    Precision is the share of predicted pairs that belong together, recall the share of true pairs
    that were found.  Without predicted pairs precision is 1; without true pairs recall is 1.

    Parameters
    ----------
    labels_true, labels_pred : array-like of shape (n_samples,)
        Labels of any type.

    Returns
    -------
    Scores
        Precision, recall and F, from exact counts in O(n log n) time and O(n) memory.

    Raises
    ------
    InvalidInputError
        If the lengths differ, are zero, or a label is NaN.
    """
    table = _contingency(labels_true, labels_pred)
    together = _pairs(table.cells)
    predicted, true = _pairs(table.predicted_sizes), _pairs(table.true_sizes)
    precision = together / predicted if predicted else 1.0
    recall = together / true if true else 1.0
    return Scores(precision, recall, _f(precision, recall))


def bcubed_scores(labels_true: ArrayLike, labels_pred: ArrayLike) -> Scores:
    """Score a grouping row by row, so that large groups do not drown small ones.

    Parameters
    ----------
    labels_true, labels_pred : array-like of shape (n_samples,)
        Labels of any type.

    Returns
    -------
    Scores
        Means over rows of the share of the row's predicted group that is right, and of the share
        of its true group that was found; and their F.

    Raises
    ------
    InvalidInputError
        If the lengths differ, are zero, or a label is NaN.
    """
    table = _contingency(labels_true, labels_pred)
    n = int(table.cells.sum())
    squares = table.cells**2  # below 2^63 for three thousand million rows
    precision = float((squares / table.predicted_sizes[table.cell_predicted]).sum() / n)
    recall = float((squares / table.true_sizes[table.cell_true]).sum() / n)
    return Scores(precision, recall, _f(precision, recall))


def normalized_mutual_information(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Score what a grouping tells of the true one, over the mean of what both tell.

    Parameters
    ----------
    labels_true, labels_pred : array-like of shape (n_samples,)
        Labels of any type.

    Returns
    -------
    float
        In [0, 1]: mutual information over the arithmetic mean of both entropies; 1 where both
        groupings are one group.

    Raises
    ------
    InvalidInputError
        If the lengths differ, are zero, or a label is NaN.
    """
    table = _contingency(labels_true, labels_pred)
    n = table.cells.sum()

    def entropy(sizes: NDArray[np.int64]) -> float:
        shares = sizes / n
        return float(-(shares * np.log(shares)).sum())

    true, predicted = entropy(table.true_sizes), entropy(table.predicted_sizes)
    if true + predicted == 0:
        return 1.0
    shared = true + predicted - entropy(table.cells)
    return float(np.clip(2 * shared / (true + predicted), 0.0, 1.0))


def verification_rates(
    distances: ArrayLike, same_person: ArrayLike, false_accept_rates: ArrayLike
) -> NDArray[np.float64]:
    """Return the share of pairs of one person that are accepted at given false accept rates.

    Parameters
    ----------
    distances : array-like of shape (n_pairs,)
        Smaller is more alike.
    same_person : array-like of bool, shape (n_pairs,)
        Whether each pair is one person.
    false_accept_rates : array-like of shape (n_rates,)
        Greatest shares of pairs of strangers to accept, in [0, 1].

    Returns
    -------
    ndarray of float64, shape (n_rates,)
        True accept rates, each at the largest threshold that accepts no more strangers; pairs that
        are as far as the first stranger too many are refused.

    Raises
    ------
    InvalidInputError
        If the lengths differ, a distance is NaN, a rate is outside [0, 1], or there are no pairs of
        either kind.
    """
    apart = np.asarray(distances, np.float64)
    same = np.asarray(same_person, bool)
    rates = np.asarray(false_accept_rates, np.float64)
    if apart.ndim != 1 or apart.shape != same.shape:
        raise InvalidInputError(
            f"distances of shape {apart.shape} and same_person of shape {same.shape} must be one"
            " value a pair"
        )
    if np.isnan(apart).any():
        raise InvalidInputError("distances holds NaN")
    if not ((rates >= 0) & (rates <= 1)).all():
        raise InvalidInputError("false_accept_rates are shares, between 0 and 1")
    if same.all() or not same.any():
        raise InvalidInputError("pairs of one person and pairs of strangers are both needed")
    strangers = np.sort(apart[~same])
    mates = np.sort(apart[same])
    allowed = np.floor(rates * len(strangers) + 1e-9).astype(np.int64)
    bars = np.append(strangers, np.inf)[allowed]
    accepted: NDArray[np.float64] = np.searchsorted(mates, bars, side="left") / len(mates)
    return accepted
