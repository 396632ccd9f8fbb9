"""`People`: look at the people of a run folder, and correct them in a way that lasts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastface.errors import InvalidInputError, StorageError
from fastface.pipeline.folder import RunFolder
from fastface.pipeline.history import History, Placed, Record, describe
from fastface.pipeline.names import FaceIndex
from fastface.pipeline.questions import drop_answered
from fastface.pipeline.standing import pair_of, replay
from fastface.pipeline.tables import Tables
from fastface.report.text import given_name

__all__ = ["People", "Person"]

PersonName = int | str


@dataclass(frozen=True)
class Person:
    """One row of ``people.parquet``.

    Attributes
    ----------
    person_id : int
        Lasts.
    name : str or None
        Given by a user.
    n_faces, n_photos : int
        How many.
    cover_face_id : int
        The most typical face.
    confidence : float
        Share of the faces that is expected to be right.
    """

    person_id: int
    name: str | None
    n_faces: int
    n_photos: int
    cover_face_id: int
    confidence: float


class People:
    """The people of a finished run folder.

    Every correction changes the tables at once and is kept in ``history.jsonl``: later runs in the
    same folder, with ``force`` and other photos too, group all other faces around it.  People are
    named by id, or by the name a user gave to one of them.

    Parameters
    ----------
    folder : path-like
        The run folder.

    Raises
    ------
    StorageError
        If it is not a finished run folder with people.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        run = RunFolder(self.folder)
        if not run.finished:
            raise StorageError(
                f"{self.folder} is not a finished run folder: give one that `fastface run PHOTOS"
                " --out FOLDER` made"
            )

    def everybody(self, order: str = "size") -> list[Person]:
        """Return everybody.

        Parameters
        ----------
        order : {"size", "doubt", "name"}
            Largest first, least certain first, or by name.

        Returns
        -------
        list of Person
        """
        rows = Tables.read(self.folder).people.to_pylist()
        fields = Person.__dataclass_fields__
        people = [Person(**{name: row[name] for name in fields}) for row in rows]
        keys = {
            "size": lambda person: (-person.n_faces, person.person_id),
            "doubt": lambda person: (person.confidence, -person.n_faces, person.person_id),
            "name": lambda person: (person.name is None, person.name or "", person.person_id),
        }
        if order not in keys:
            raise InvalidInputError(f"unknown order {order!r}; choose one of {', '.join(keys)}")
        return sorted(people, key=keys[order])

    def history(self) -> list[Record]:
        """Return what was corrected, and what became of people, oldest first."""
        return History.of(self.folder).records

    def merge(self, people: Sequence[PersonName], *, anyway: bool = False) -> Record:
        """Say that several people are one.

        Parameters
        ----------
        people : sequence of int or str
            Two or more.  The first keeps its id and, if it has one, its name.
        anyway : bool
            Also where an earlier correction says that two of them are not one.

        Returns
        -------
        Record

        Raises
        ------
        InvalidInputError
            If somebody is not there or named twice, or an earlier correction says otherwise: it is
            named.
        """
        with self._editing() as edit:
            ids = [edit.person(name) for name in people]
            if len(ids) < 2 or len(set(ids)) < len(ids):
                raise InvalidInputError(f"merge takes two or more different people, got {ids}")
            if not anyway:
                edit.check_together(ids)
            into, others = ids[0], ids[1:]
            faces = edit.tables.faces_of(others)
            names = {person: edit.tables.name(person) for person in ids}
            kept = next((names[person] for person in ids if names[person]), None)
            return edit.commit(
                "merge",
                ids,
                dict.fromkeys(faces, into),
                names={p: (names[p], kept if p == into else None) for p in ids if names[p] or kept},
            )

    def split(self, person: PersonName, faces: Iterable[int]) -> Record:
        """Say that some faces of a person are another, single person.

        Parameters
        ----------
        person : int or str
            Who has the faces.
        faces : iterable of int
            Their ``face_id``; not all of the person's faces.

        Returns
        -------
        Record
            ``people[1]`` is the new person.
        """
        with self._editing() as edit:
            owner = edit.person(person)
            chosen = edit.faces(faces)
            strangers = [face for face in chosen if edit.tables.person_of(face) != owner]
            if strangers:
                raise InvalidInputError(
                    f"face {strangers[0]} is of person {edit.tables.person_of(strangers[0])}, not"
                    f" {owner}"
                )
            if len(chosen) == len(edit.tables.faces_of([owner])):
                raise InvalidInputError(f"these are all faces of person {owner}: nothing to split")
            new = edit.tables.next_id
            moved = dict.fromkeys(chosen, new)
            return edit.commit("split", [owner, new], moved, apart=[(owner, new)])

    def move(self, faces: Iterable[int], to: PersonName) -> Record:
        """Say that faces are of another person than they were thought to be.

        Parameters
        ----------
        faces : iterable of int
            Their ``face_id``.
        to : int or str
            Who they are.

        Returns
        -------
        Record
        """
        with self._editing() as edit:
            target = edit.person(to)
            chosen = edit.faces(faces)
            owners = sorted({edit.tables.person_of(face) for face in chosen})
            if target in owners:
                raise InvalidInputError(f"person {target} has some of these faces already")
            moved = dict.fromkeys(chosen, target)
            left = [owner for owner in owners if set(edit.tables.faces_of([owner])) - set(chosen)]
            apart = [(owner, target) for owner in left]
            return edit.commit("move", [target, *owners], moved, apart=apart)

    def apart(self, first: PersonName, second: PersonName) -> Record:
        """Say that two people are two, however alike they look.

        Parameters
        ----------
        first, second : int or str
            They.

        Returns
        -------
        Record
        """
        with self._editing() as edit:
            a, b = edit.person(first), edit.person(second)
            if a == b:
                raise InvalidInputError(f"{first!r} and {second!r} are the same person {a}")
            return edit.commit("apart", [a, b], {}, apart=[(a, b)])

    def name(self, person: PersonName, name: str | None) -> Record:
        """Give a person a name, or take it away with None.

        The column ``name`` of ``people.parquet`` may as well be edited by any other program.

        Parameters
        ----------
        person : int or str
            Who.
        name : str or None
            Blank text is no name.

        Returns
        -------
        Record
        """
        with self._editing() as edit:
            bearer = edit.person(person)
            names = {bearer: (edit.tables.name(bearer), given_name(name))}
            return edit.commit("name", [bearer], {}, names=names)

    def undo(self, number: int | None = None) -> Record:
        """Take a correction back.

        Parameters
        ----------
        number : int, optional
            Of the record; the last one that stands by default.

        Returns
        -------
        Record

        Raises
        ------
        InvalidInputError
            If there is no such correction, or a later one is about the same people: it is named.
        """
        with self._editing() as edit:
            standing = edit.history.standing()
            numbers = [record.number for record in standing]
            if not numbers or (number is not None and number not in numbers):
                raise InvalidInputError(
                    "there is no correction to take back"
                    if not numbers
                    else f"{number} is no correction that stands; there are"
                    f" {', '.join(map(str, numbers))}"
                )
            record = standing[-1 if number is None else numbers.index(number)]
            for later in reversed(standing):
                if later.number > record.number and set(later.people) & set(record.people):
                    raise InvalidInputError(
                        f"{later.number} is about the same people ({later}): take it back first"
                    )
            return edit.take_back(record)

    @contextmanager
    def _editing(self) -> Iterator[_Edit]:
        with RunFolder(self.folder).hold():
            yield _Edit(self.folder)


class _Edit:
    """One correction, from what is on disk to what will be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history = History.of(folder)
        self.tables = Tables.read(folder)
        if self.tables.n_records < len(self.history.records):
            # A process was stopped between the two: the history is written first.
            self._apply(self.history.records[-1])

    def person(self, name: PersonName) -> int:
        people = self.tables.people
        ids = people["person_id"].to_pylist()
        if isinstance(name, str):
            bearers = [p for p, n in zip(ids, people["name"].to_pylist(), strict=True) if n == name]
            if len(bearers) == 1:
                return int(bearers[0])
            if bearers:
                raise InvalidInputError(
                    f"several people are called {name!r}: {bearers}; give an id"
                )
            if not name.isdecimal():
                raise InvalidInputError(
                    f"nobody is called {name!r}: `people list` shows who is who"
                )
        if int(name) in ids:
            return int(name)
        gone = [
            r for r in self.history.standing() if r.kind == "merge" and int(name) in r.people[1:]
        ]
        why = "`people list` shows who is there"
        if gone:
            why = f"it became part of {gone[-1].people[0]} by correction {gone[-1].number}"
        raise InvalidInputError(f"there is no person {int(name)} in {self.folder}: {why}")

    def faces(self, faces: Iterable[int]) -> list[int]:
        chosen = sorted({int(face) for face in faces})
        n_faces = self.tables.faces.num_rows
        unknown = [face for face in chosen if not 0 <= face < n_faces]
        if unknown or not chosen:
            raise InvalidInputError(
                f"there is no face {unknown[0]}: faces count from 0 to {n_faces - 1}"
                if unknown
                else "no face was given"
            )
        return chosen

    def check_together(self, ids: Sequence[int]) -> None:
        """Refuse to merge people whom a correction keeps apart."""
        apart = replay(self.history.standing(), self.tables.faces).apart
        for place, a in enumerate(ids):
            for b in ids[place + 1 :]:
                if pair_of(a, b) in apart:
                    number = apart[pair_of(a, b)]
                    record = self.history.records[number - 1]
                    raise InvalidInputError(
                        f"corrections contradict each other: {a} and {b} shall be one person, but"
                        f" correction {number} ({describe(record)}, {record.time}) makes them two."
                        f" Take it back first (undo {number}), or merge them anyway"
                    )

    def commit(
        self,
        kind: str,
        people: Sequence[int],
        moved: dict[int, int],
        *,
        apart: Sequence[tuple[int, int]] = (),
        names: dict[int, tuple[str | None, str | None]] | None = None,
    ) -> Record:
        # A name says nothing of who is whose.
        touched = [] if kind == "name" else self.tables.faces_of(people)
        rows = self.tables.describe(sorted({*touched, *moved}))
        faces = tuple(
            Placed(photo, box, was, moved.get(face, was), confidence)
            for face, photo, box, was, confidence in rows
        )
        record = Record(0, "", kind, tuple(people), faces, tuple(apart), names or {})
        return self._keep(record)

    def take_back(self, record: Record) -> Record:
        return self._keep(
            Record(
                0,
                "",
                "undo",
                record.people,
                tuple(
                    Placed(face.photo, face.box, face.now, face.was, face.confidence)
                    for face in record.moved
                ),
                names={person: (b, a) for person, (a, b) in record.names.items()},
                undoes=record.number,
            )
        )

    def _keep(self, record: Record) -> Record:
        record = self.history.append(record)
        self._apply(record)
        return record

    def _apply(self, record: Record) -> None:
        index = FaceIndex.of(self.tables.faces)
        rows = {(face.photo, face.box): index.find(face.photo, face.box) for face in record.faces}
        self.tables.apply(record, rows)
        self.tables.write(self.folder, n_records=len(self.history.records))
        standing = replay(self.history.standing(), self.tables.faces)
        drop_answered(self.folder, self.tables.person_ids, standing.apart)
