"""Clusters against classes: which cluster stands for which class, and how often that is right."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import random_table
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from fastface.errors import InvalidInputError

__all__ = ["Match", "match_clusters"]


class Match(NamedTuple):
    """Accuracy of clusters read as classes.

    Attributes
    ----------
    one_to_one : float
        Share of rows that are right when each class gets one cluster and each cluster one class,
        at best (Kuhn, "The Hungarian method", 1955).
    one_to_one_random : float
        What random clusters of the same sizes get.
    many_to_one : float
        The same when each cluster takes its commonest class, which grows with their number.
    many_to_one_random : float
        What random clusters of the same sizes get.
    balanced, balanced_random : float
        Mean over classes of the share that is right when each cluster takes the class that has
        the largest share of its own rows there; and what random clusters get.
    adjusted_rand, adjusted_mutual_information : float
        Agreement corrected for chance: 0 is luck, 1 is perfect.
    """

    one_to_one: float
    one_to_one_random: float
    many_to_one: float
    many_to_one_random: float
    balanced: float
    balanced_random: float
    adjusted_rand: float
    adjusted_mutual_information: float


def match_clusters(
    clusters: ArrayLike, classes: ArrayLike, *, rng: np.random.Generator, n_resamples: int = 200
) -> Match:
    """Match clusters with classes.

    Parameters
    ----------
    clusters, classes : array-like of shape (n_samples,)
        Labels of any type.
    rng : Generator
        For the random levels.
    n_resamples : int
        Random tables with the same sizes of clusters and of classes.

    Returns
    -------
    Match
        Accuracies beside their random levels.

    Raises
    ------
    InvalidInputError
        If the two differ in length, or hold nothing.
    """
    found, truth = np.asarray(clusters), np.asarray(classes)
    if found.shape != truth.shape or found.ndim != 1 or not len(found):
        raise InvalidInputError(
            "clusters and classes must be one label a row each,"
            f" got shapes {found.shape} and {truth.shape}"
        )
    found = np.unique(found, return_inverse=True)[1]
    truth = np.unique(truth, return_inverse=True)[1]
    table = np.zeros((found.max() + 1, truth.max() + 1), np.int64)
    np.add.at(table, (found, truth), 1)
    random = random_table(table.sum(axis=1), table.sum(axis=0), seed=rng).rvs(n_resamples)
    return Match(
        one_to_one=_one_to_one(table),
        one_to_one_random=float(np.mean([_one_to_one(t) for t in random])),
        many_to_one=_many_to_one(table),
        many_to_one_random=float(np.mean([_many_to_one(t) for t in random])),
        balanced=_balanced(table),
        balanced_random=float(np.mean([_balanced(t) for t in random])),
        adjusted_rand=float(adjusted_rand_score(truth, found)),
        adjusted_mutual_information=float(adjusted_mutual_info_score(truth, found)),
    )


def _one_to_one(table: NDArray[Any]) -> float:
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def _many_to_one(table: NDArray[Any]) -> float:
    return float(table.max(axis=1).sum() / table.sum())


def _balanced(table: NDArray[Any]) -> float:
    return float((table / table.sum(axis=0)).max(axis=1).sum() / table.shape[1])
