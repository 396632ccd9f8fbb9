"""The splits of an `AttributeDiscovery` against label columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.labels import BinaryAttribute, majority
from fastface.attributes.people import People
from fastface.attributes.significance import (
    AttributeScore,
    control_false_discoveries,
    score_between,
    score_within,
)
from fastface.attributes.splits import Split, sides

__all__ = ["score_new_rows", "score_questions"]


def score_questions(
    questions: Sequence[BinaryAttribute],
    splits: Sequence[NDArray[np.int8]],
    within_splits: Sequence[NDArray[np.int8]],
    people: People | None,
    *,
    seed: int,
    n_resamples: int,
) -> list[AttributeScore]:
    """Score every question between people and, where there are people, within them.

    Within people the division of each person by what sets that person's photos apart is scored
    for itself, and the directions shared by everybody as ``"shared"``: the best of several needs a
    higher random level.

    Parameters
    ----------
    questions : sequence of BinaryAttribute
        One answer a row.
    splits, within_splits : sequence of ndarray of shape (n_samples,)
        Sides of the rows.
    people : People or None
        Whose the rows are; between people, each counts once, with the commonest answer.
    seed, n_resamples : int
        Of permutations and resamplings.

    Returns
    -------
    list of AttributeScore
        With q-values over all of them; questions that nobody can be scored on are left out.
    """

    def scores() -> Iterator[AttributeScore]:
        for question in questions:
            if splits:
                units, answers = np.stack(splits, axis=1), question.values
                if people is not None:
                    units = units[people.order[people.starts[:-1]]]
                    answers = majority(question.values, people.codes, len(people))
                known = answers >= 0
                if len(np.unique(answers[known])) == 2:
                    yield score_between(
                        question.name,
                        units[known],
                        answers[known],
                        rng=np.random.default_rng([seed, 3]),
                        n_resamples=n_resamples,
                    )
            if people is None:
                continue
            for level, divisions in (("within", within_splits[:1]), ("shared", within_splits[1:])):
                within = score_within(
                    question.name,
                    divisions,
                    question.values,
                    people.codes,
                    rng=np.random.default_rng([seed, 4]),
                    n_resamples=n_resamples,
                )
                if within is not None:
                    yield replace(within, level=level)

    return control_false_discoveries(list(scores()))


def score_new_rows(
    X: NDArray[Any], questions: Sequence[BinaryAttribute], hyperplanes: Sequence[Split]
) -> float:
    """Return the balanced accuracy of the best split on new rows, averaged over questions."""
    if not hyperplanes or not questions:
        return 0.5
    found = []
    for question in questions:
        known = question.values >= 0
        score = score_between(
            question.name,
            sides(X[known], hyperplanes),
            question.values[known],
            rng=np.random.default_rng(0),
            n_resamples=1,
        )
        found.append(score.balanced_accuracy)
    return float(np.mean(found))
