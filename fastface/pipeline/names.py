"""Who everybody was: ids and names, carried over when a folder's faces are grouped anew.

Face numbers change with every photo that is added, so a face is known again by its photo and box.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastface.errors import CorruptFileError
from fastface.pipeline.schema import NAMES
from fastface.pipeline.storage import read_table, write_table
from fastface.report.text import given_name

__all__ = [
    "BOX",
    "NAMES_FILE",
    "SAME_FACE",
    "Earlier",
    "FaceIndex",
    "carried_names",
    "earlier_people",
    "keep_names",
    "known_faces",
    "next_id_of",
    "nobody",
    "overlap",
    "tagged",
    "who_they_were",
]

NAMES_FILE = "names.parquet"
BOX = ("left", "top", "right", "bottom")
# Of intersection over union: another detector frames the same face a little differently.
SAME_FACE = 0.5
_NEXT_ID = b"next_person_id"

Box = tuple[int, ...]


class Earlier(NamedTuple):
    """Who the faces of a folder were before.

    Attributes
    ----------
    ids : ndarray of int64, shape (n_faces,)
        -1 for faces that were not there.
    names : list of str or None
    next_id : int
        No person ever had this id, or a larger one.
    """

    ids: NDArray[np.int64]
    names: list[str | None]
    next_id: int


class FaceIndex:
    """Finds faces by photo and box.

    Parameters
    ----------
    photos, boxes : iterable
        Of each face, in order of their rows.
    """

    def __init__(self, photos: Iterable[str], boxes: Iterable[Box]) -> None:
        self._rows: dict[str, list[tuple[Box, int]]] = defaultdict(list)
        for row, (photo, box) in enumerate(zip(photos, boxes, strict=True)):
            self._rows[photo].append((tuple(box), row))

    @classmethod
    def of(cls, faces: pa.Table) -> FaceIndex:
        """Index the rows of a table with the columns photo, left, top, right and bottom."""
        return cls(faces["photo"].to_pylist(), _rows(faces, *BOX))

    def find(self, photo: str, box: Box) -> int:
        """Return the row of a face: the one whose box shares half of its area or more; or -1."""
        shares = [(overlap(box, other), row) for other, row in self._rows.get(photo, ())]
        share, row = max(shares, key=lambda pair: (pair[0], -pair[1]), default=(0.0, -1))
        return row if share >= SAME_FACE else -1


def keep_names(folder: Path) -> None:
    """Write who each face is to ``names.parquet``, before the tables that say so are removed.

    Where those tables are gone already, what an earlier call kept stays.

    Parameters
    ----------
    folder : Path
        The run folder.
    """
    if not all((folder / name).is_file() for name in ("people.parquet", "faces.parquet")):
        return
    try:
        table = known_faces(folder)
    except (CorruptFileError, KeyError):
        return  # what cannot be read cannot be kept, and may be why everything is made anew
    if table is None:
        (folder / NAMES_FILE).unlink(missing_ok=True)
    else:
        write_table(folder / NAMES_FILE, table)


def known_faces(folder: Path) -> pa.Table | None:
    """Return the columns of ``names.parquet`` from a folder's tables; None if nobody is grouped."""
    people = read_table(folder / "people.parquet").select(["person_id", "name"]).to_pydict()
    faces = read_table(folder / "faces.parquet")
    next_id = next_id_of(faces)
    faces = faces.select(["photo", *BOX, "person_id"])
    if not people["person_id"]:
        return None
    names = dict(zip(people["person_id"], map(given_name, people["name"]), strict=True))
    bearers = [names.get(person) for person in faces["person_id"].to_pylist()]
    table = pa.Table.from_arrays([*faces.columns, pa.array(bearers, pa.string())], schema=NAMES)
    return tagged(table, next_id=max(next_id, 1 + max(people["person_id"])))


def tagged(table: pa.Table, *, next_id: int, n_records: int = 0) -> pa.Table:
    """Note in a table which ids were never used, and how much of the history it knows."""
    tags = {_NEXT_ID: str(next_id), b"n_records": str(n_records)}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **tags})


def next_id_of(table: pa.Table) -> int:
    """Return the first id that nobody ever had, by a table's metadata."""
    return int((table.schema.metadata or {}).get(_NEXT_ID, b"0"))


def earlier_people(folder: Path, faces: pa.Table) -> Earlier:
    """Return who the faces of a folder were, by what `keep_names` kept.

    Parameters
    ----------
    folder : Path
        The run folder.
    faces : pyarrow.Table
        All faces.

    Raises
    ------
    CorruptFileError
        If what was kept cannot be read.
    """
    if not (folder / NAMES_FILE).is_file():
        return nobody(faces.num_rows)
    return who_they_were(read_table(folder / NAMES_FILE), faces)


def nobody(n_faces: int) -> Earlier:
    """Return that no face was there before."""
    return Earlier(np.full(n_faces, -1, np.int64), [None] * n_faces, 0)


def who_they_were(known: pa.Table, faces: pa.Table) -> Earlier:
    """Find faces among those of a table with the columns of ``names.parquet``."""
    index = FaceIndex.of(known)
    ids, names = known["person_id"].to_pylist(), known["name"].to_pylist()
    rows = [index.find(photo, tuple(box)) for photo, *box in _rows(faces, "photo", *BOX)]
    return Earlier(
        np.array([-1 if row < 0 else ids[row] for row in rows], np.int64),
        [None if row < 0 else names[row] for row in rows],
        next_id_of(known),
    )


def carried_names(earlier: Earlier, labels: Iterable[int]) -> dict[int, str]:
    """Return the people who bear a name: that of most of the faces that were there before.

    Parameters
    ----------
    earlier : Earlier
        Who the faces were.
    labels : iterable of int
        The person of each now.
    """
    votes: dict[int, Counter[str | None]] = defaultdict(Counter)
    for before, name, person in zip(earlier.ids.tolist(), earlier.names, labels, strict=True):
        if before >= 0:
            votes[int(person)][name] += 1
    winners = {person: _most(count) for person, count in votes.items()}
    return {person: name for person, name in winners.items() if name}


def _most(count: Mapping[str | None, int]) -> str | None:
    # Among equals a name before none, then the first by the alphabet.
    return min(count, key=lambda name: (-count[name], name is None, name or ""))


def _rows(table: pa.Table, *columns: str) -> Any:
    return zip(*(table[column].to_pylist() for column in columns), strict=True)


def overlap(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes (left, top, right, bottom)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return both / (sum(areas) - both)
