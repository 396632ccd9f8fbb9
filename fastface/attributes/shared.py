"""Directions in which the photos of everybody differ alike, and sides of photos within people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.attributes.labels import MISSING
from fastface.attributes.people import People
from fastface.attributes.splits import SearchParameters, Split, find_splits
from fastface.attributes.within import Whitening, WithinRows, divide_within
from fastface.errors import InvalidInputError

__all__ = ["shared_directions", "sides_within", "without_nuisance"]


def without_nuisance(X: NDArray[Any], whitening: Whitening, n_directions: int) -> NDArray[Any]:
    """Return rows without the directions in which photos of one person differ most."""
    width = X.shape[1]
    if n_directions >= width:
        raise InvalidInputError(f"n_nuisance={n_directions} would remove all {width} features")
    if n_directions == 0:
        return X
    nuisance = np.linalg.eigh(whitening.covariance)[1][:, width - n_directions :]
    cleaned: NDArray[Any] = X - (X @ nuisance) @ nuisance.T
    return cleaned


def shared_directions(
    X: NDArray[Any],
    people: People,
    whitening: Whitening,
    *,
    min_photos: int,
    max_splits: int,
    rng: np.random.Generator,
    parameters: SearchParameters,
) -> list[Split]:
    """Find splits of the whitened differences of photos from their own person's mean.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.
    people : People
        Whose they are.
    whitening : Whitening
        The scale of the differences.
    min_photos : int
        People with fewer photos are left out.
    max_splits, rng, parameters
        See `find_splits`.

    Returns
    -------
    list of Split
        Strongest first; empty where nobody has photos enough.
    """
    rows = np.flatnonzero(people.sizes[people.codes] >= min_photos)
    if not len(rows):
        return []
    if len(rows) > parameters.most_rows:
        rows = np.sort(rng.choice(rows, parameters.most_rows, replace=False))
    differences = WithinRows(X, people, whitening).differences(rows)
    return find_splits(differences, max_splits=max_splits, rng=rng, parameters=parameters)


def sides_within(
    X: NDArray[Any],
    people: People,
    whitening: Whitening,
    shared: Sequence[Split],
    *,
    min_photos: int,
    seed: int,
) -> list[NDArray[np.int8]]:
    """Return the sides of photos within people: each person's own division, then the shared ones.

    Parameters
    ----------
    X, people, whitening, min_photos, seed
        See `divide_within`.
    shared : sequence of Split
        From `shared_directions`.

    Returns
    -------
    list of ndarray of int8, shape (n_samples,)
        0, 1, or −1 for people with fewer than `min_photos` photos; empty where all are.
    """
    own = divide_within(X, people, whitening, min_photos, seed)
    divided = np.flatnonzero(own >= 0)
    if not len(divided):
        return []
    found = [own]
    for column in WithinRows(X, people, whitening).sides(divided, shared).T:
        side = np.full(len(X), MISSING, np.int8)
        side[divided] = column
        found.append(side)
    return found
