"""Pairs of faces whose answer would decide the most: ``questions.parquet``.

Where a face could be of its own person or of another, one look at two photos settles it.  Two kinds
of question are asked: whether two people are one, where the doubt is about all of the smaller; and
whether a face is of its person at all, where it is about that face alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastface.graph import unit_rows
from fastface.pipeline.schema import QUESTIONS
from fastface.pipeline.storage import read_table, write_table

__all__ = ["QUESTIONS_FILE", "drop_answered", "questions_table"]

QUESTIONS_FILE = "questions.parquet"
_MOST = 400
_LEAST_DOUBT = 0.1
_FACES_COMPARED = 500
# Of a person's faces, that are in doubt towards the same other person.
_WHOLE_PERSON = 0.5


def questions_table(
    embeddings: NDArray[Any],
    ids: NDArray[np.int64],
    confidence: NDArray[np.float32],
    runner_up: NDArray[np.int64],
) -> pa.Table:
    """Choose the questions worth asking.

    Parameters
    ----------
    embeddings : ndarray, shape (n_faces, d)
        All faces.
    ids : ndarray of int64, shape (n_faces,)
        Their people.
    confidence : ndarray of float32, shape (n_faces,)
        How sure each is.
    runner_up : ndarray of int64, shape (n_faces,)
        Who else each could be, or -1.

    Returns
    -------
    pyarrow.Table
        Most faces at stake first: ``face_id`` and ``other_face_id``, the two to look at;
        ``same_person`` bool, whether they are one person now; ``n_faces``, how many faces would
        change hands; ``doubt`` float32, how many of them are expected to be wrong now.
    """
    doubtful = np.flatnonzero((runner_up >= 0) & (1 - confidence >= _LEAST_DOUBT))
    members = _Members(ids)
    between: dict[tuple[int, int], list[int]] = {}
    for face in doubtful.tolist():
        a, b = int(ids[face]), int(runner_up[face])
        between.setdefault((min(a, b), max(a, b)), []).append(face)
    # Doubt, faces at stake, and who is compared with whom.
    asked: list[tuple[float, int, NDArray[np.int64], NDArray[np.int64], bool]] = []
    for (a, b), faces in between.items():
        sides = [(person, members[person]) for person in (a, b)]
        whole = [
            len(own)
            for person, own in sides
            if (ids[faces] == person).sum() >= _WHOLE_PERSON * len(own)
        ]
        if whole:
            doubt = float((1 - confidence[faces]).sum())
            asked.append((doubt, min(whole), sides[0][1], sides[1][1], False))
            continue
        for face in faces:
            own = members[int(ids[face])]
            mates = own[own != face]
            asked.append((float(1 - confidence[face]), 1, np.array([face]), mates, True))
    asked.sort(key=lambda question: (-question[0], int(question[2][0]), int(question[3][0])))
    asked = asked[:_MOST]
    pairs = [_nearest(embeddings, first, second) for _, _, first, second, _ in asked]
    return pa.table(
        {
            "face_id": pa.array([pair[0] for pair in pairs], pa.int64()),
            "other_face_id": pa.array([pair[1] for pair in pairs], pa.int64()),
            "same_person": pa.array([question[4] for question in asked], pa.bool_()),
            "n_faces": pa.array([question[1] for question in asked], pa.int64()),
            "doubt": pa.array([question[0] for question in asked], pa.float32()),
        },
        schema=QUESTIONS,
    )


def drop_answered(
    folder: Path, ids: NDArray[np.int64], apart: Mapping[tuple[int, int], int]
) -> None:
    """Remove the questions that corrections have answered.

    Parameters
    ----------
    folder : Path
        The run folder.
    ids : ndarray of int64, shape (n_faces,)
        Person of each face now.
    apart : mapping of (int, int) to int
        People whom a correction keeps apart, the lower id first.
    """
    path = folder / QUESTIONS_FILE
    if not path.is_file():
        return
    table = read_table(path)
    columns = (table[name].to_pylist() for name in ("face_id", "other_face_id", "same_person"))
    open_ones = [
        (ids[a] == ids[b]) == same and (min(ids[a], ids[b]), max(ids[a], ids[b])) not in apart
        for a, b, same in zip(*columns, strict=True)
    ]
    if not all(open_ones):
        write_table(path, table.filter(pa.array(open_ones, pa.bool_())))


class _Members:
    """The faces of each person."""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]

    def __getitem__(self, person: int) -> NDArray[np.int64]:
        start, stop = np.searchsorted(self._sorted, [person, person + 1])
        return np.asarray(self._order[start:stop])


def _nearest(
    embeddings: NDArray[Any], first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[int, int]:
    """Return the two most alike faces of two people; of large ones, among some that are spread."""
    first, second = (some[:: -(-len(some) // _FACES_COMPARED)] for some in (first, second))
    products = unit_rows(embeddings[first]) @ unit_rows(embeddings[second]).T
    row, column = np.unravel_index(int(products.argmax()), products.shape)
    return int(first[row]), int(second[column])
