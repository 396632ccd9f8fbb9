"""The whole study of one collection: splits, scores, ceilings, importance and audit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from fastface.attributes.audit import GroupErrors, audit_groups
from fastface.attributes.checks import check_parameters
from fastface.attributes.columns import attribute_columns, audited_groups, by_column
from fastface.attributes.estimator import AttributeDiscovery
from fastface.attributes.importance import Importance, attribute_importance, subspace_overlap
from fastface.attributes.kmeans import plain_k_means
from fastface.attributes.labels import BinaryAttribute, binary_attributes, majority
from fastface.attributes.matching import Match, match_clusters
from fastface.attributes.people import People
from fastface.attributes.probe import Ceiling, linear_probe, probe_within
from fastface.attributes.scoring import score_questions
from fastface.attributes.significance import AttributeScore
from fastface.attributes.stability import Stability, split_stability
from fastface.errors import InvalidInputError
from fastface.progress import NullProgress, Progress

__all__ = ["KMEANS_CLUSTERS", "Answer", "Study", "study_attributes"]

KMEANS_CLUSTERS = tuple(range(2, 17))


@dataclass(frozen=True)
class Answer:
    """One question at one level: how well splits answer it, and how well it can be answered.

    Attributes
    ----------
    score : AttributeScore
        Of the project's own splits.
    plain : AttributeScore or None
        Of plain k-means with k = 2, the method of the paper; between people only.
    ceiling : Ceiling or None
        Of a linear probe that sees the labels.
    """

    score: AttributeScore
    plain: AttributeScore | None
    ceiling: Ceiling | None


@dataclass(frozen=True)
class Study:
    """Everything `study_attributes` finds.

    Attributes
    ----------
    discovery : AttributeDiscovery
        The fitted model.
    n_rows, n_people : int
        Photos, and people (photos where no people were given).
    n_divided : int
        People with photos enough to be divided within.
    stability : list of Stability
        Of each split between people.
    kmeans : mapping of int to ndarray
        Clusters of people by plain k-means, by their number.
    questions : list of BinaryAttribute
        What the labels ask.
    answers : list of Answer
        By question and level.
    kmeans_matches : mapping of str to mapping of int to Match
        For every question and number of clusters.
    importances : list of Importance
        Of splits and questions, where people have several photos.
    overlap : ndarray of shape (n_importances, n_importances)
        Cosines of the smallest angles between their subspaces.
    audit : list of GroupErrors
        Errors by group.
    true_people : bool
        Whether importance and audit rest on known people, or on those a clustering found.
    skipped : mapping of str to str
        Label columns that could not be asked for, and why.
    notes : list of str
        What was left out, and why.
    """

    discovery: AttributeDiscovery
    n_rows: int
    n_people: int
    n_divided: int
    stability: list[Stability]
    kmeans: dict[int, NDArray[np.int32]]
    questions: list[BinaryAttribute] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    kmeans_matches: dict[str, dict[int, Match]] = field(default_factory=dict)
    importances: list[Importance] = field(default_factory=list)
    overlap: NDArray[np.float64] = field(default_factory=lambda: np.eye(0))
    audit: list[GroupErrors] = field(default_factory=list)
    true_people: bool = False
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, NaN as None, without what any single photo is."""
        model = self.discovery
        document = {
            "photos": self.n_rows,
            "people": self.n_people,
            "people_divided_within": self.n_divided,
            "parameters": model.get_params(),
            "splits": [
                {
                    "name": names.name,
                    "sides": list(names.sides),
                    "strength": split.strength,
                    "share_of_side_1": split.share,
                    "separation": split.separation,
                    "stability": vars(self.stability[j]) if self.stability else None,
                }
                for j, (split, names) in enumerate(
                    zip(model.hyperplanes_, model.names_, strict=True)
                )
            ],
            "tree": [
                {
                    "path": node.path,
                    "people": node.n_samples,
                    "strength": node.split.strength if node.split else None,
                    "separation": node.split.separation if node.split else None,
                }
                for node in model.tree_.walk()
            ],
            "attributes": [
                {
                    "score": answer.score.as_dict(),
                    "plain_k_means": answer.plain.as_dict() if answer.plain else None,
                    "probe": vars(answer.ceiling) if answer.ceiling else None,
                }
                for answer in self.answers
            ],
            "k_means": {
                name: {str(k): match._asdict() for k, match in matches.items()}
                for name, matches in self.kmeans_matches.items()
            },
            "importance": [importance.as_dict() for importance in self.importances],
            "overlap": self.overlap.tolist(),
            "audit": [errors.as_dict() for errors in self.audit],
            "people_are_known": self.true_people,
            "columns_left_out": self.skipped,
            "notes": self.notes,
        }
        plain: dict[str, Any] = _plain(document)
        return plain


def study_attributes(
    X: NDArray[Any],
    person_ids: ArrayLike | None = None,
    labels: Mapping[str, ArrayLike] | None = None,
    *,
    true_ids: ArrayLike | None = None,
    missing: Sequence[object] = (),
    cuts: Mapping[str, tuple[float, float]] | None = None,
    discovery: AttributeDiscovery | None = None,
    found_elsewhere: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Study:
    """Study what embeddings tell apart.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Embeddings.
    person_ids : array-like of shape (n_samples,), optional
        Whom each photo shows: known, or found by a clustering.
    labels : mapping of str to array-like of shape (n_samples,), optional
        Columns to compare with; see `AttributeDiscovery.score`.
    true_ids : array-like of shape (n_samples,), optional
        The known people, where `person_ids` were found: importance and audit then rest on them,
        and the clustering is audited too.
    missing, cuts
        See `AttributeDiscovery.score`.
    discovery : AttributeDiscovery, optional
        With parameters of your own.  One that is fitted, or loaded, is applied as it is.
    found_elsewhere : bool
        The splits of `discovery` were found in other rows: whether they would be found again is
        not asked of these.
    device : str
        Where plain k-means computes; see `fastface.KMeans`.
    progress : Progress, optional
        What to tell how far the work is.

    Returns
    -------
    Study
        The whole of it.

    Raises
    ------
    InvalidInputError
        If an input cannot be used, or labels are given and no column can be asked for.
    """
    model = discovery or AttributeDiscovery()
    parameters = check_parameters(model)
    skipped: dict[str, str] = {}
    questions = (
        binary_attributes(labels, len(X), missing=missing, cuts=cuts, skipped=skipped)
        if labels
        else []
    )
    if labels and not questions:
        raise InvalidInputError(
            "no label column can be compared with: " + "; ".join(skipped.values())
        )
    seed = model.random_state
    with (
        (progress or NullProgress()).step("attributes", 6, "steps") as step,
        threadpool_limits(1, user_api="blas"),  # the matrices are small, and there are many
    ):
        if hasattr(model, "hyperplanes_"):
            model.apply(X, person_ids=person_ids)
        else:
            model.fit(X, person_ids=person_ids)
        people = model._people
        units = X if people is None else people.means(X)
        step.advance()
        stability = (
            []
            if found_elsewhere
            else split_stability(
                units,
                model.hyperplanes_,
                rng=np.random.default_rng([seed, 10]),
                parameters=parameters,
            )
        )
        step.advance()
        most = max(2, len(np.unique(units[:1000], axis=0)))
        kmeans = {
            k: plain_k_means(units, k, seed=seed, device=device)
            for k in KMEANS_CLUSTERS
            if k <= most
        }
        step.advance()
        answers = _answers(X, units, model, people, questions, kmeans[2])
        matches = _kmeans_matches(questions, people, kmeans, seed)
        step.advance()
        notes = _notes(model, people, questions, answers)
        if found_elsewhere:
            notes.append("The splits were found in other photos; strength and tree are of those.")
        judged = person_ids if true_ids is None else true_ids
        importances: list[Importance] = []
        audit: list[GroupErrors] = []
        if judged is not None:
            ids = np.asarray(judged)
            importances = attribute_importance(
                X, ids, attribute_columns(model, questions), rng=np.random.default_rng([seed, 11])
            )
            step.advance()
            audit = audit_groups(
                X,
                ids,
                audited_groups(model, questions),
                rng=np.random.default_rng([seed, 12]),
                found_ids=None if true_ids is None else np.asarray(person_ids),
            )
            if not importances:
                notes.append("No person has two photos, or only one is there: nothing to verify.")
        step.advance(1 if judged is not None else 2)
    sizes = None if people is None else people.sizes
    return Study(
        discovery=model,
        n_rows=len(X),
        n_people=len(units),
        n_divided=0 if sizes is None else int((sizes >= model.min_photos).sum()),
        stability=stability,
        kmeans=kmeans,
        questions=questions,
        answers=answers,
        kmeans_matches=matches,
        importances=importances,
        overlap=subspace_overlap(importances),
        audit=audit,
        true_people=true_ids is not None,
        skipped=skipped,
        notes=notes,
    )


def _answers(
    X: NDArray[Any],
    units: NDArray[Any],
    model: AttributeDiscovery,
    people: People | None,
    questions: Sequence[BinaryAttribute],
    two_means: NDArray[np.int32],
) -> list[Answer]:
    seed = model.random_state
    scores = score_questions(
        questions, model.splits_, model.within_splits_, people, seed=seed, n_resamples=2000
    )
    of_rows = two_means if people is None else two_means[people.codes]
    plain = {
        score.name: score
        for score in score_questions(
            questions, [of_rows.astype(np.int8)], [], people, seed=seed, n_resamples=2000
        )
    }
    by_name = {question.name: question for question in questions}
    answers = []
    for score in scores:
        values = by_name[score.name].values
        known = np.flatnonzero(values >= 0)
        codes = np.arange(len(X)) if people is None else people.codes
        rng = np.random.default_rng([seed, 13])
        if score.level == "between":
            rows, truth, whose = X[known], values[known], codes[known]
            if people is not None:
                of_people = majority(values, people.codes, len(people))
                whose = np.flatnonzero(of_people >= 0)
                rows, truth = units[whose], of_people[whose]
            ceiling = linear_probe(rows, truth, whose, rng=rng)
        elif score.level == "within":
            ceiling = probe_within(X[known], values[known], codes[known], rng=rng)
        else:
            ceiling = None
        answers.append(
            Answer(score, plain.get(score.name) if score.level == "between" else None, ceiling)
        )
    return answers


def _kmeans_matches(
    questions: Sequence[BinaryAttribute],
    people: People | None,
    kmeans: Mapping[int, NDArray[np.int32]],
    seed: int,
) -> dict[str, dict[int, Match]]:
    """Match clusters with the answers to each question, and with columns of several classes."""

    def of_people(values: NDArray[np.int8]) -> NDArray[np.int8]:
        return values if people is None else majority(values, people.codes, len(people))

    truths: dict[str, NDArray[Any]] = {q.name: of_people(q.values) for q in questions}
    for column, parts in by_column(questions).items():
        if len(parts) > 1:
            is_class = np.stack([of_people(part.values) == 1 for part in parts])
            classes = np.where(is_class.sum(axis=0) == 1, is_class.argmax(axis=0), -1)
            truths[f"{column}, {len(parts)} classes"] = classes
    found: dict[str, dict[int, Match]] = {}
    for name, truth in truths.items():
        known = truth >= 0
        if len(np.unique(truth[known])) > 1:
            found[name] = {
                k: match_clusters(clusters[known], truth[known], rng=np.random.default_rng(seed))
                for k, clusters in kmeans.items()
            }
    return found


def _notes(
    model: AttributeDiscovery,
    people: People | None,
    questions: Sequence[BinaryAttribute],
    answers: Sequence[Answer],
) -> list[str]:
    notes = []
    if people is None:
        notes.append(
            "No people were given: every photo counts for itself, nothing is said within people."
        )
    elif not model.within_splits_:
        notes.append(f"Nobody has {model.min_photos} photos: nothing is said within people.")
    answered = {answer.score.name for answer in answers}
    notes += [
        f"{question.name!r} cannot be scored: no split, or too few people of both classes."
        for question in questions
        if question.name not in answered
    ]
    return notes


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
