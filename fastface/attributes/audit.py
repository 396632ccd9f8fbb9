"""Whether recognition is as good for everybody: errors by group, with intervals.

One threshold serves everybody, as in a deployed system; the groups are the sides of discovered
splits or labelled classes.  Intervals resample people, since the pairs of one person stand or fall
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.people import group_people
from fastface.attributes.significance import interval
from fastface.attributes.verification import Pairs, Verification, choose_faces

__all__ = ["GroupErrors", "audit_groups"]

_MOST_RESAMPLED = 10_000


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval; NaN where there was nothing to count."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupErrors:
    """Errors within one group.

    Attributes
    ----------
    attribute, group : str
        What divides the faces, and the part this is about.
    n_faces, n_people : int
        Faces compared, and people they show.
    false_match : Rate
        Share of pairs of two people, both of the group, that are taken for one (FMR).
    false_non_match : Rate
        Share of pairs of one person that are not (FNMR).
    clustering_f : Rate or None
        BCubed F of the people found, over the group's faces; None where none were given.
    """

    attribute: str
    group: str
    n_faces: int
    n_people: int
    false_match: Rate
    false_non_match: Rate
    clustering_f: Rate | None

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        rates = {
            name: None if rate is None else vars(rate)
            for name, rate in vars(self).items()
            if rate is None or isinstance(rate, Rate)
        }
        return {**vars(self), **rates}


def audit_groups(
    X: NDArray[Any],
    person_ids: NDArray[Any],
    groups: Mapping[str, Mapping[str, NDArray[np.bool_]]],
    *,
    rng: np.random.Generator,
    found_ids: NDArray[Any] | None = None,
    false_acceptance: float = 1e-3,
    n_resamples: int = 500,
) -> list[GroupErrors]:
    """Measure errors by group at one threshold for all.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Embeddings; unit rows are compared.
    person_ids : ndarray of shape (n_samples,)
        Whom each shows, in truth.
    groups : mapping of str to mapping of str to ndarray of bool, shape (n_samples,)
        For each attribute, which faces are in which of its groups.
    rng : Generator
        For the faces that are compared (at most 3,000) and resampling.
    found_ids : ndarray of shape (n_samples,), optional
        The people a clustering found, to be scored too.
    false_acceptance : float
        FAR over everybody, at which the threshold is set.
    n_resamples : int
        Resamplings for the intervals.

    Returns
    -------
    list of GroupErrors
        In order; groups of fewer than two people are left out.
    """
    people = group_people(person_ids, len(X))
    rows = choose_faces(people.codes, rng)
    codes = np.unique(people.codes[rows], return_inverse=True)[1].astype(np.int64)
    pairs = Pairs.of(codes)
    if not pairs.same.any() or pairs.same.all():
        return []
    distances = pairs.distances(np.asarray(X[rows], np.float64))
    near = distances <= Verification.at(distances, pairs.same, false_acceptance).threshold
    bcubed = None if found_ids is None else _bcubed_by_row(people.codes, found_ids)
    drawn_all = rng.multinomial(
        codes.max() + 1, np.full(codes.max() + 1, 1 / (codes.max() + 1)), size=n_resamples
    )
    found = []
    for attribute, parts in groups.items():
        for group, members in parts.items():
            here = members[rows]
            if len(np.unique(codes[here])) < 2:
                continue
            inside = here[pairs.first] & here[pairs.second]
            found.append(
                GroupErrors(
                    attribute=attribute,
                    group=group,
                    n_faces=int(here.sum()),
                    n_people=len(np.unique(codes[here])),
                    false_match=_false_match(pairs, near, inside, codes, here, drawn_all),
                    false_non_match=_false_non_match(pairs, near, inside, codes, drawn_all),
                    clustering_f=None
                    if bcubed is None
                    else _clustering_f(*bcubed, people.codes, members, rng, n_resamples),
                )
            )
    return found


def _false_match(
    pairs: Pairs,
    near: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    codes: NDArray[np.int64],
    here: NDArray[np.bool_],
    drawn: NDArray[np.int64],
) -> Rate:
    """Resample people: a pair of two comes up as often as both of them together."""
    wrong = np.flatnonzero(inside & near & ~pairs.same)
    sizes = np.bincount(codes[here], minlength=drawn.shape[1]).astype(np.float64)
    one, two = codes[pairs.first[wrong]], codes[pairs.second[wrong]]

    def share(weights: NDArray[Any]) -> NDArray[np.float64]:
        faces = weights * sizes
        all_pairs = (faces.sum(axis=1) ** 2 - (faces**2).sum(axis=1)) / 2
        errors = (weights[:, one] * weights[:, two]).sum(axis=1)
        rate: NDArray[np.float64] = errors[all_pairs > 0] / all_pairs[all_pairs > 0]
        return rate

    return Rate(float(share(np.ones((1, drawn.shape[1])))[0]), *interval(share(drawn)))


def _false_non_match(
    pairs: Pairs,
    near: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    codes: NDArray[np.int64],
    drawn: NDArray[np.int64],
) -> Rate:
    genuine = inside & pairs.same
    person = codes[pairs.first[genuine]]
    total = np.bincount(person, minlength=drawn.shape[1])
    missed = np.bincount(person, weights=~near[genuine], minlength=drawn.shape[1])
    if not total.sum():
        return Rate(float("nan"), float("nan"), float("nan"))
    again = drawn @ total
    shares = (drawn @ missed)[again > 0] / again[again > 0]
    return Rate(float(missed.sum() / total.sum()), *interval(shares))


def _bcubed_by_row(
    codes: NDArray[np.int64], found_ids: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return BCubed precision and recall of every row."""
    found = np.unique(found_ids, return_inverse=True)[1].astype(np.int64)
    _, cell, counts = np.unique(
        codes * (found.max() + 1) + found, return_inverse=True, return_counts=True
    )
    together = counts[cell]
    return together / np.bincount(found)[found], together / np.bincount(codes)[codes]


def _clustering_f(
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
    codes: NDArray[np.int64],
    members: NDArray[np.bool_],
    rng: np.random.Generator,
    n_resamples: int,
) -> Rate:
    person = np.unique(codes[members], return_inverse=True)[1]
    n = int(person.max()) + 1
    sums = np.stack(
        [np.bincount(person, weights=w[members]) for w in (precision, recall)]
        + [np.bincount(person).astype(np.float64)]
    )

    def f(totals: NDArray[Any]) -> NDArray[np.float64]:
        p, r = totals[:, 0] / totals[:, 2], totals[:, 1] / totals[:, 2]
        value: NDArray[np.float64] = 2 * p * r / (p + r)
        return value

    value = float(f(sums.sum(axis=1)[None])[0])
    if n > _MOST_RESAMPLED:
        # A part of the people gives an interval that is, if anything, too wide.
        n, sums = _MOST_RESAMPLED, sums[:, rng.choice(n, _MOST_RESAMPLED, replace=False)]
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples)
    return Rate(value, *interval(f(drawn @ sums.T)))
