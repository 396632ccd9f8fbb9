"""How much recognition depends on an attribute: what verification loses without it.

The directions that tell an attribute are removed one after another until a linear probe no longer
finds it (iterative null-space projection: Ravfogel et al., ACL 2020).  How many it takes is how
widely the attribute is spread; what verification then loses, beside what it loses without as many
random directions, is how much recognition used them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import subspace_angles

from fastface.attributes.people import group_people
from fastface.attributes.probe import fit_direction, linear_probe
from fastface.attributes.significance import interval
from fastface.attributes.verification import Pairs, Verification, choose_faces, unit

__all__ = ["Importance", "attribute_importance", "attribute_subspace", "subspace_overlap"]

_ERASED = 0.6
_MOST_DIMENSIONS = 20
_RANDOM_DRAWS = 10


@dataclass(frozen=True)
class Importance:
    """What an attribute carries, and what carries it.

    Attributes
    ----------
    name : str
        The attribute.
    subspace : ndarray of shape (n_features, n_dimensions)
        Orthonormal directions whose removal hides it, the first telling most.
    probe_before, probe_after : float
        Balanced accuracy of a linear probe with and without the subspace.
    variance_share : float
        Share of the variance between people that lies in the subspace.
    true_acceptance : float
        TAR of the untouched embeddings.
    change, low, high : float
        Change of TAR without the subspace, with a 95 % interval resampling people.
    change_of_first : float
        Change of TAR without the first direction alone.
    random_change, random_low, random_high : float
        The same without as many random directions: mean, least and greatest of ten draws.
    """

    name: str
    subspace: NDArray[np.float64]
    probe_before: float
    probe_after: float
    variance_share: float
    true_acceptance: float
    change: float
    low: float
    high: float
    change_of_first: float
    random_change: float
    random_low: float
    random_high: float

    @property
    def n_dimensions(self) -> int:
        """Number of directions it took."""
        return int(self.subspace.shape[1])

    def as_dict(self) -> dict[str, Any]:
        """Return all but the subspace itself as plain values."""
        values = {key: value for key, value in vars(self).items() if key != "subspace"}
        return {**values, "n_dimensions": self.n_dimensions}


def attribute_subspace(
    X: NDArray[Any],
    y: NDArray[Any],
    people: NDArray[np.int64],
    *,
    rng: np.random.Generator,
    erased: float = _ERASED,
    max_dimensions: int = _MOST_DIMENSIONS,
) -> tuple[NDArray[np.float64], float, float] | None:
    """Find directions without which a linear probe no longer tells an attribute.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    y : ndarray of shape (n_samples,)
        0 or 1.
    people : ndarray of shape (n_samples,)
        Person of every row; the probe is tested on people it has not seen.
    rng : Generator
        For the probe's folds.
    erased : float
        Balanced accuracy at which the attribute counts as hidden.
    max_dimensions : int
        Where to stop in any case.

    Returns
    -------
    tuple of (subspace, before, after), or None
        Orthonormal columns, and the probe's balanced accuracy before and after; None where the
        probe cannot be tested, or does not find the attribute in the first place.
    """
    rows = np.asarray(X, np.float64)
    first = linear_probe(rows, y, people, rng=rng, n_resamples=1)
    if first is None or first.balanced_accuracy <= erased:
        return None
    basis: list[NDArray[np.float64]] = []
    after = first.balanced_accuracy
    while after > erased and len(basis) < min(max_dimensions, rows.shape[1] - 1):
        direction = fit_direction(rows, y)
        for other in basis:
            direction = direction - (direction @ other) * other
        direction /= np.linalg.norm(direction)
        basis.append(direction)
        rows = rows - np.outer(rows @ direction, direction)
        probe = linear_probe(rows, y, people, rng=rng, n_resamples=1)
        if probe is None:
            return None
        after = probe.balanced_accuracy
    return np.array(basis).T, first.balanced_accuracy, after


def attribute_importance(
    X: NDArray[Any],
    person_ids: NDArray[Any],
    attributes: Mapping[str, NDArray[Any]],
    *,
    rng: np.random.Generator,
    false_acceptance: float = 1e-3,
    n_resamples: int = 500,
) -> list[Importance]:
    """Measure what verification loses without each attribute.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Embeddings; unit rows are compared.
    person_ids : ndarray of shape (n_samples,)
        Whom each shows.
    attributes : mapping of str to ndarray of shape (n_samples,)
        0, 1, or −1 where nothing is known.
    rng : Generator
        For the faces that are compared (at most 3,000), folds, random directions and resampling.
    false_acceptance : float
        FAR at which acceptance is measured.
    n_resamples : int
        Resamplings for the intervals.

    Returns
    -------
    list of Importance
        Without the attributes that a probe cannot find; empty where no person has two photos.
    """
    people = group_people(person_ids, len(X))
    rows = choose_faces(people.codes, rng)
    codes = np.unique(people.codes[rows], return_inverse=True)[1].astype(np.int64)
    pairs = Pairs.of(codes)
    if not pairs.same.any() or pairs.same.all():
        return []
    unit_rows = unit(X[rows])
    between = np.cov(people.means(X).T) if len(people) > 1 else np.eye(X.shape[1])

    def accepted(removed: NDArray[np.float64] | None) -> NDArray[np.bool_]:
        kept = unit_rows if removed is None else unit_rows - (unit_rows @ removed) @ removed.T
        distances = pairs.distances(kept)
        at = Verification.at(distances, pairs.same, false_acceptance)
        accept: NDArray[np.bool_] = distances[pairs.same] <= at.threshold
        return accept

    before = accepted(None)
    person = codes[pairs.first[pairs.same]]
    random: dict[int, NDArray[np.float64]] = {}
    found = []
    for name, values in attributes.items():
        known = values[rows] >= 0
        if len(np.unique(values[rows][known])) < 2:
            continue
        subspace = attribute_subspace(unit_rows[known], values[rows][known], codes[known], rng=rng)
        if subspace is None:
            continue
        basis, probe_before, probe_after = subspace
        k = basis.shape[1]
        if k not in random:
            random[k] = np.array(
                [accepted(_random_basis(X.shape[1], k, rng)).mean() for _ in range(_RANDOM_DRAWS)]
            )
        after = accepted(basis)
        low, high = _paired_interval(before, after, person, rng, n_resamples)
        found.append(
            Importance(
                name=name,
                subspace=basis,
                probe_before=probe_before,
                probe_after=probe_after,
                variance_share=float(np.trace(basis.T @ between @ basis) / np.trace(between)),
                true_acceptance=float(before.mean()),
                change=float(after.mean() - before.mean()),
                low=low,
                high=high,
                change_of_first=float(accepted(basis[:, :1]).mean() - before.mean()),
                random_change=float(random[k].mean() - before.mean()),
                random_low=float(random[k].min() - before.mean()),
                random_high=float(random[k].max() - before.mean()),
            )
        )
    return found


def subspace_overlap(found: Sequence[Importance]) -> NDArray[np.float64]:
    """Return the cosine of the smallest principal angle between every two subspaces.

    Parameters
    ----------
    found : sequence of Importance
        Attributes.

    Returns
    -------
    ndarray of shape (n_attributes, n_attributes)
        1 where they share a direction, 0 where they are at right angles.  Of two random subspaces
        it is well above 0: compare with other entries, not with 0.
    """
    overlap = np.eye(len(found))
    for i, one in enumerate(found):
        for j in range(i):
            cosine = np.cos(subspace_angles(one.subspace, found[j].subspace).min())
            overlap[i, j] = overlap[j, i] = float(cosine)
    return overlap


def _random_basis(width: int, k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    basis: NDArray[np.float64] = np.linalg.qr(rng.standard_normal((width, k)))[0]
    return basis


def _paired_interval(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    person: NDArray[np.int64],
    rng: np.random.Generator,
    n_resamples: int,
) -> tuple[float, float]:
    """Resample people: their pairs, and how many more of them are accepted."""
    pairs = np.bincount(person)
    gained = np.bincount(person, weights=after.astype(np.float64) - before)
    pairs, gained = pairs[pairs > 0], gained[pairs > 0]
    n = len(pairs)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples)
    return interval(drawn @ gained / np.maximum(drawn @ pairs, 1))
