"""``faces.parquet`` and ``people.parquet`` together, changed a little and written again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastface.errors import StorageError
from fastface.pipeline.finish import people_table
from fastface.pipeline.history import Box, Record
from fastface.pipeline.names import BOX, next_id_of, tagged
from fastface.pipeline.schema import PEOPLE
from fastface.pipeline.storage import read_table, write_table
from fastface.vault import load_array

__all__ = ["Tables"]

_PLACED_BY_HAND = ("move", "split")


class Tables:
    """Who has which face, and what is told of everybody.

    Attributes
    ----------
    faces, people : pyarrow.Table
        As they are on disk.
    person_ids : ndarray of int64, shape (n_faces,)
        As `apply` left them.
    n_records : int
        So many lines of the history the tables know of.
    next_id : int
        No person ever had it.
    """

    def __init__(self, faces: pa.Table, people: pa.Table) -> None:
        self.faces, self.people = faces, people
        if faces["person_id"].null_count:
            raise StorageError(
                "nobody has grouped these faces, as `fastface embed` leaves them: `fastface run`"
                " with another --out, or `fastface cluster RUN`, groups them"
            )
        self.person_ids: NDArray[np.int64] = faces["person_id"].to_numpy().copy()
        self.confidence: NDArray[np.float32] = faces["confidence"].to_numpy().copy()
        ids = people["person_id"].to_pylist()
        self._names: dict[int, Any] = dict(zip(ids, people["name"].to_pylist(), strict=True))
        metadata = faces.schema.metadata or {}
        self.n_records = int(metadata.get(b"n_records", b"-1"))
        self.next_id = max(next_id_of(faces), 1 + max(ids, default=-1))
        self._changed: set[int] = set()

    @classmethod
    def read(cls, folder: Path) -> Tables:
        """Read the tables of a run folder."""
        tables = cls(read_table(folder / "faces.parquet"), read_table(folder / "people.parquet"))
        if tables.n_records < 0:  # written before there was a history, or by another program
            tables.n_records = 0
        return tables

    def name(self, person: int) -> str | None:
        """Return the name of a person."""
        name = self._names.get(person)
        return None if name is None else str(name)

    def person_of(self, face: int) -> int:
        """Return who has a face."""
        return int(self.person_ids[face])

    def faces_of(self, people: Iterable[int]) -> list[int]:
        """Return the faces of some people, in their order in the table."""
        rows: list[int] = np.flatnonzero(np.isin(self.person_ids, list(people))).tolist()
        return rows

    def describe(self, faces: list[int]) -> Iterator[tuple[int, str, Box, int, float]]:
        """Yield face, photo, box, person and confidence of some faces."""
        columns = self.faces.select(["photo", *BOX]).take(pa.array(faces, pa.int64())).to_pydict()
        rows = zip(faces, columns["photo"], *(columns[side] for side in BOX), strict=True)
        for face, photo, left, top, right, bottom in rows:
            sure = round(float(self.confidence[face]), 4)
            yield face, photo, (left, top, right, bottom), self.person_of(face), sure

    def apply(self, record: Record, rows: Mapping[tuple[str, Box], int]) -> None:
        """Do what a record says; what is done already stays.

        Parameters
        ----------
        record : Record
            A correction, or one that takes a correction back.
        rows : mapping
            Row of each of its faces that is there.
        """
        for face in record.moved:
            row = rows.get((face.photo, face.box), -1)
            if row < 0 or self.person_ids[row] != face.was:
                continue
            self.person_ids[row] = face.now
            if record.kind in _PLACED_BY_HAND:
                self.confidence[row] = 1
            elif record.kind == "undo":
                self.confidence[row] = face.confidence
        self._names |= {person: after for person, (_, after) in record.names.items()}
        self._changed |= {*record.people, *(face.now for face in record.moved)}
        self.next_id = max(self.next_id, 1 + max(record.people, default=-1))

    def write(self, folder: Path, *, n_records: int) -> None:
        """Write both tables.

        Columns and rows of ``people.parquet`` that other programs added to people who are still
        there stay.

        Parameters
        ----------
        folder : Path
            The run folder.
        n_records : int
            So many lines of the history the tables know of now.
        """
        faces = self.faces
        columns: dict[str, Any] = {
            "person_id": pa.array(self.person_ids),
            "confidence": pa.array(self.confidence, pa.float32()),
        }
        for name, column in columns.items():
            faces = faces.set_column(faces.schema.get_field_index(name), name, column)
        people = self._new_people(folder)
        self.faces = tagged(faces, next_id=self.next_id, n_records=n_records)
        write_table(folder / "faces.parquet", self.faces)
        write_table(folder / "people.parquet", people)
        self.people, self.n_records, self._changed = people, n_records, set()

    def _new_people(self, folder: Path) -> pa.Table:
        rows = self.faces_of(self._changed)
        standard = self.people.select(PEOPLE.names).cast(PEOPLE)
        before = self.people["person_id"].to_numpy()
        kept = np.flatnonzero(~np.isin(before, list(self._changed)))
        parts = [standard.take(kept)]
        if rows:
            embeddings = load_array(folder / "embeddings.npy", mmap=True)
            changed = people_table(
                embeddings[rows],
                self.person_ids[rows],
                self.faces["photo_id"].to_numpy()[rows],
                self.confidence[rows],
                self._names,
            )
            cover = np.array(rows, np.int64)[changed["cover_face_id"].to_numpy()]
            place = changed.schema.get_field_index("cover_face_id")
            parts.append(changed.set_column(place, PEOPLE.field(place), pa.array(cover)))
        people = pa.concat_tables(parts)
        names = [self._names.get(person) for person in people["person_id"].to_pylist()]
        place = PEOPLE.get_field_index("name")
        people = people.set_column(place, PEOPLE.field(place), pa.array(names, pa.string()))
        row_of = {person: row for row, person in enumerate(before.tolist())}
        origin = pa.array([row_of.get(person) for person in people["person_id"].to_pylist()])
        for name in self.people.column_names:
            if name not in PEOPLE.names:
                people = people.append_column(name, self.people[name].take(origin.cast("int64")))
        order = [("n_faces", "descending"), ("person_id", "ascending")]
        return people.sort_by(order)
