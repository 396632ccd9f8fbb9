"""Rows by person: who has which rows, and means over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.attributes.moments import blocks
from fastface.errors import InvalidInputError

__all__ = ["People", "group_people", "missing_rows", "name_rows"]


@dataclass(frozen=True)
class People:
    """Which rows belong to which person.

    Attributes
    ----------
    names : ndarray of shape (n_people,)
        The ids, sorted.
    codes : ndarray of int64, shape (n_samples,)
        Index into `names` of every row.
    order : ndarray of int64, shape (n_samples,)
        Rows in order of person, then of row.
    starts : ndarray of int64, shape (n_people + 1,)
        Person i has the rows ``order[starts[i]:starts[i + 1]]``.
    """

    names: NDArray[Any]
    codes: NDArray[np.int64]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of rows of each person."""
        return np.diff(self.starts)

    def rows(self, person: int) -> NDArray[np.int64]:
        """Return the rows of one person, in order."""
        return self.order[self.starts[person] : self.starts[person + 1]]

    def means(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the mean row of every person, shape (n_people, n_features)."""
        total = np.zeros((len(self), X.shape[1]))
        for part in blocks(*X.shape):
            codes = self.codes[self.order[part]]
            first = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
            rows = X[self.order[part]].astype(np.float64)
            total[codes[first]] += np.add.reduceat(rows, first, axis=0)
        return total / self.sizes[:, None]


def group_people(person_ids: ArrayLike, n_rows: int) -> People:
    """Group rows by the person they show.

    Raises
    ------
    InvalidInputError
        If there is not one id a row, or some are missing; the rows are named.
    """
    ids: NDArray[Any] = np.asarray(person_ids)
    if ids.shape != (n_rows,):
        raise InvalidInputError(
            f"person_ids must name one person for each of the {n_rows} rows, got shape {ids.shape}"
        )
    missing = missing_rows(ids)
    if len(missing):
        raise InvalidInputError(
            f"person_ids is missing for {name_rows(missing)}: every row needs a person; give those"
            " without company an id of their own"
        )
    try:
        names, codes = np.unique(ids, return_inverse=True)
    except TypeError:
        raise InvalidInputError(
            "person_ids must be all numbers or all strings, so that equal ones can be found"
        ) from None
    codes = codes.astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(names)))])
    return People(names, codes, np.argsort(codes, kind="stable"), starts.astype(np.int64))


def missing_rows(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows that hold nothing: NaN, None, or an empty string."""
    if values.dtype.kind == "f":
        return np.flatnonzero(np.isnan(values))
    if values.dtype.kind in "US":
        return np.flatnonzero(values == values.dtype.type())
    if values.dtype.kind == "O":
        absent = [v is None or v == "" or v != v for v in values.tolist()]
        return np.flatnonzero(absent)
    return np.empty(0, np.int64)


def name_rows(rows: NDArray[np.int64]) -> str:
    """Write the first few row numbers, for a message."""
    listed = ", ".join(map(str, rows[:5].tolist()))
    what = "row" if len(rows) == 1 else f"{len(rows)} rows:"
    return f"{what} {listed}" + (", …" if len(rows) > 5 else "")
