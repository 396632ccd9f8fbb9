"""Ids that last: people of a new grouping bear the ids they had in an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.errors import InvalidInputError
from fastface.identities.numbering import by_size
from fastface.validation import check_column

__all__ = ["Change", "check_previous", "match_people"]


@dataclass(frozen=True)
class Change:
    """What became of a person.

    Attributes
    ----------
    kind : {"born", "merged", "split"}
        ``"born"``: `person` has no face, or less than half of the faces, of somebody before.
        ``"merged"``: most faces of `other` are `person`'s now, and `other` is gone.  ``"split"``:
        `person` is new and made of faces that were `other`'s.
    person : int
        Id after the change.
    other : int or None
        Id before it.
    n_faces : int
        Faces concerned.
    """

    kind: Literal["born", "merged", "split"]
    person: int
    other: int | None
    n_faces: int

    def __str__(self) -> str:
        faces = f"{self.n_faces} face{'' if self.n_faces == 1 else 's'}"
        if self.kind == "born":
            return f"person {self.person} is new, with {faces}"
        if self.kind == "merged":
            return f"person {self.other} became part of person {self.person}, with {faces}"
        return f"person {self.person} was split from person {self.other}, with {faces}"


def check_previous(ids: ArrayLike | None, n: int) -> NDArray[np.int64]:
    """Return the earlier ids of `n` faces, -1 where there was none, or refuse them."""
    if ids is None:
        return np.full(n, -1, np.int64)
    column = check_column(ids, n, "previous_ids")
    if column.dtype.kind not in "iu" or (column < -1).any():
        raise InvalidInputError(
            "previous_ids holds ids of people, 0 or more, and -1 for faces that had none"
        )
    return column.astype(np.int64)


def match_people(
    previous: NDArray[np.int64],
    labels: NDArray[np.int64],
    *,
    firm: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], list[Change]]:
    """Give people of a new grouping the ids they had.

    Pairs of an earlier and a new person are matched by the firm faces they share, then by all faces
    they share, most first (then the lower id, then the larger person); each is matched once.  Who
    is left gets ids never used before, larger people first.

    Parameters
    ----------
    previous : ndarray of int64, shape (n_samples,)
        Earlier id of each face, -1 for faces that were not there.
    labels : ndarray of int64, shape (n_samples,)
        New groups by any numbers.
    firm : ndarray of bool, shape (n_samples,), optional
        Faces of which a user said who they are.

    Returns
    -------
    ids : ndarray of int64, shape (n_samples,)
        Id of each face's person.
    changes : list of Change
        In the order of their persons.
    """
    codes = by_size(labels)
    n_people = int(codes.max()) + 1
    known = previous >= 0
    pairs, place, shared = np.unique(
        np.stack([previous[known], codes[known]], axis=1),
        axis=0,
        return_inverse=True,
        return_counts=True,
    )
    sure = np.zeros(len(pairs), np.int64)
    if firm is not None:
        sure += np.bincount(place.ravel(), firm[known], minlength=len(pairs)).astype(np.int64)
    ids = np.full(n_people, -1, np.int64)
    keeper: dict[int, int] = {}
    for place in np.lexsort((pairs[:, 1], pairs[:, 0], -shared, -sure)):
        before, person = pairs[place].tolist()
        if ids[person] < 0 and before not in keeper:
            ids[person] = before
            keeper[before] = person
    fresh = np.flatnonzero(ids < 0)
    ids[fresh] = previous.max(initial=-1) + 1 + np.arange(len(fresh))
    return ids[codes], _changes(pairs, shared, ids, keeper, np.bincount(codes), fresh)


def _changes(
    pairs: NDArray[np.int64],
    shared: NDArray[np.int64],
    ids: NDArray[np.int64],
    keeper: dict[int, int],
    sizes: NDArray[np.int64],
    fresh: NDArray[np.int64],
) -> list[Change]:
    largest: dict[int, tuple[int, int]] = {}  # new person -> (faces, who had them)
    heir: dict[int, tuple[int, int]] = {}  # earlier person -> (faces, who has them)
    for (before, person), count in zip(pairs.tolist(), shared.tolist(), strict=True):
        largest[person] = max(largest.get(person, (0, 0)), (count, -before))
        heir[before] = max(heir.get(before, (0, 0)), (count, -person))
    changes = []
    for person in fresh.tolist():
        count, before = largest.get(person, (0, 0))
        if 2 * count < sizes[person] or count == 0:
            changes.append(Change("born", int(ids[person]), None, int(sizes[person])))
        else:
            changes.append(Change("split", int(ids[person]), -before, count))
    for before, (count, person) in heir.items():
        if before not in keeper:
            changes.append(Change("merged", int(ids[-person]), before, count))
    return sorted(changes, key=lambda change: (change.person, change.kind, change.other or 0))
