"""What a user's corrections say of the faces that are there now.

Corrections are gone through in their order, and the last word on a face counts.  All faces of
people whom a correction is about stay together as it left them; new faces may join them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastface.pipeline.history import Record
from fastface.pipeline.names import FaceIndex

__all__ = ["Standing", "pair_of", "replay"]

_ONE_BY_ONE = ("move", "split")


class Standing(NamedTuple):
    """What is known of faces.

    Attributes
    ----------
    person : ndarray of int64, shape (n_faces,)
        Id of the person whom the user left a face with, -1 for faces that no correction touched.
    chosen : ndarray of bool, shape (n_faces,)
        Faces that the user placed one by one.
    apart : dict of (int, int) to int
        People who are two, the lower id first, and the record that says so.
    """

    person: NDArray[np.int64]
    chosen: NDArray[np.bool_]
    apart: dict[tuple[int, int], int]

    def must_link(self) -> NDArray[np.int64]:
        """Return pairs of faces that are one person, enough of them to join all."""
        rows = np.flatnonzero(self.person >= 0)
        rows = rows[np.argsort(self.person[rows], kind="stable")]
        same = self.person[rows[1:]] == self.person[rows[:-1]]
        return np.stack([rows[:-1][same], rows[1:][same]], axis=1)

    def cannot_link(self) -> NDArray[np.int64]:
        """Return one pair of faces for every two people who are apart."""
        people, first = np.unique(self.person, return_index=True)
        row = dict(zip(people.tolist(), first.tolist(), strict=True))
        pairs = [(row[a], row[b]) for a, b in sorted(self.apart) if a in row and b in row]
        return np.array(pairs, np.int64).reshape(-1, 2)


def pair_of(a: int, b: int) -> tuple[int, int]:
    """Name two people in one way."""
    return (min(a, b), max(a, b))


def replay(records: Sequence[Record], faces: pa.Table) -> Standing:
    """Go through corrections.

    Parameters
    ----------
    records : sequence of Record
        Those that stand (`History.standing`), oldest first.
    faces : pyarrow.Table
        With the columns photo, left, top, right and bottom.  Faces of the records that are not
        among them are passed over: their photo may come back.
    """
    n = faces.num_rows
    standing = Standing(np.full(n, -1, np.int64), np.zeros(n, bool), {})
    if not records:
        return standing
    index = FaceIndex.of(faces)
    for record in records:
        for face in record.faces:
            row = index.find(face.photo, face.box)
            if row >= 0:
                standing.person[row] = face.now
                if face.was != face.now:
                    standing.chosen[row] = record.kind in _ONE_BY_ONE
        if record.kind == "merge":
            _rename(standing.apart, record.people[0], record.people[1:])
        for pair in record.apart:
            standing.apart[pair_of(*pair)] = record.number
    return standing


def _rename(apart: dict[tuple[int, int], int], into: int, others: Sequence[int]) -> None:
    """Let everybody who was apart from one of `others` be apart from `into`."""
    gone = {*others, into}
    for (a, b), number in list(apart.items()):
        if a in others or b in others or (a in gone and b in gone):
            del apart[(a, b)]
            rest = [person for person in (a, b) if person not in gone]
            if rest:
                apart[pair_of(into, rest[0])] = number
