"""What a user corrected, and what became of people: ``history.jsonl`` in the run folder.

One line a record, only ever added to.  Every line holds the SHA-256 of the line before it and of
its own content, so that a line that was changed, lost or put in between is noticed.  Faces are
named by their photo and box, not by number: numbers change when photos are added.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastface.errors import CorruptFileError
from fastface.pipeline.storage import replacing, storage_errors
from fastface.vault import read_bytes, write_bytes

__all__ = ["HISTORY_FILE", "Change", "History", "Placed", "Record", "describe"]

HISTORY_FILE = "history.jsonl"
_KINDS = ("merge", "split", "move", "apart", "name", "undo", "regroup")

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Placed:
    """A face that a record is about.

    Attributes
    ----------
    photo : str
        Path below the photo root.
    box : (int, int, int, int)
        Left, top, right, bottom.
    was, now : int
        Its person before and after.
    confidence : float
        Before.
    """

    photo: str
    box: Box
    was: int
    now: int
    confidence: float


@dataclass(frozen=True)
class Change:
    """What became of a person when all faces were grouped anew.

    Attributes
    ----------
    kind : {"born", "merged", "split"}
        See `fastface.identities.stable_ids.Change`.
    person : int
        Id after it.
    other : int or None
        Id before it.
    n_faces : int
        Faces concerned.
    """

    kind: str
    person: int
    other: int | None
    n_faces: int


@dataclass(frozen=True)
class Record:
    """One line of the history.

    Attributes
    ----------
    number : int
        From 1.
    time : str
        UTC, ISO 8601.
    kind : str
        ``merge``, ``split``, ``move``, ``apart``, ``name`` and ``undo`` are a user's;
        ``regroup`` says what came of grouping all faces anew.
    people : tuple of int
        Ids concerned.
    faces : tuple of Placed
        All faces of these people: where they are now is what the user says.
    apart : tuple of (int, int)
        People who are two, by this record.
    names : mapping of int to (str or None, str or None)
        Names before and after.
    undoes : int or None
        The record that an ``undo`` takes back.
    changes : tuple of Change
        Of a ``regroup``.
    """

    number: int
    time: str
    kind: str
    people: tuple[int, ...] = ()
    faces: tuple[Placed, ...] = ()
    apart: tuple[tuple[int, int], ...] = ()
    names: Mapping[int, tuple[str | None, str | None]] = field(default_factory=dict)
    undoes: int | None = None
    changes: tuple[Change, ...] = ()

    @property
    def moved(self) -> tuple[Placed, ...]:
        """Faces whose person is another one since."""
        return tuple(face for face in self.faces if face.was != face.now)

    def __str__(self) -> str:
        return f"{self.number}  {self.time}  {describe(self)}"


def describe(record: Record) -> str:
    """Return in a few words what a record did.

    Parameters
    ----------
    record : Record
        Any.
    """
    people = [str(person) for person in record.people]
    moved = _count(len(record.moved), "face")
    if record.kind == "merge":
        return f"merged {', '.join(people[1:])} into {people[0]} ({moved})"
    if record.kind == "split":
        return f"split {people[0]}: {moved} became {people[1]}"
    if record.kind == "move":
        return f"moved {moved} from {', '.join(people[1:])} to {people[0]}"
    if record.kind == "apart":
        return f"said that {people[0]} and {people[1]} are two people"
    if record.kind == "name":
        before, after = record.names[record.people[0]]
        return f"named {people[0]} {after!r}, before {before!r}"
    if record.kind == "undo":
        return f"took back {record.undoes}"
    counts = [
        _count(sum(change.kind == kind for change in record.changes), f"person {kind}", plural)
        for kind, plural in (("born", "people born"), ("merged", "merged"), ("split", "split"))
    ]
    return f"grouped all faces anew: {', '.join(counts)}"


class History:
    """The records of one run folder.

    Parameters
    ----------
    path : Path
        The file; it need not be there.

    Raises
    ------
    CorruptFileError
        If a line was damaged, changed, removed or put in between.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = []
        self._digest = ""
        if not path.is_file():
            return
        with storage_errors(path):
            lines = read_bytes(path).decode(errors="replace").split("\n")
        if lines[-1] == "":
            lines.pop()
        for number, line in enumerate(lines, start=1):
            self.records.append(self._read(line, number))

    @classmethod
    def of(cls, folder: Path) -> History:
        """Return the history of a run folder.

        Parameters
        ----------
        folder : Path
            The run folder.
        """
        return cls(folder / HISTORY_FILE)

    def standing(self) -> list[Record]:
        """Return a user's corrections that were not taken back."""
        undone = {record.undoes for record in self.records}
        return [
            record
            for record in self.records
            if record.kind not in ("undo", "regroup") and record.number not in undone
        ]

    def append(self, record: Record) -> Record:
        """Return a record numbered and dated, when it is on disk.

        Parameters
        ----------
        record : Record
            Its number and time are set here.
        """
        if record.kind == "regroup" and self.records:
            last = self.records[-1]
            if replace(last, number=record.number, time=record.time) == record:
                return last  # of a run that was stopped and is done again
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        record = replace(record, number=len(self.records) + 1, time=now)
        digest, line = _seal(record, self._digest)
        with storage_errors(self.path):
            before = read_bytes(self.path) if self.path.is_file() else b""
        with replacing(self.path) as temporary:
            write_bytes(temporary, before + line.encode())
        self._digest = digest
        self.records.append(record)
        return record

    def write_without(
        self, path: Path, is_gone: Callable[[Placed], bool], people: Collection[int]
    ) -> None:
        """Write the records elsewhere, without some faces and without the names of some people.

        The only way in which lines ever change: for people who want to be forgotten.  Numbers and
        times stay.

        Parameters
        ----------
        path : Path
            The new file.
        is_gone : callable
            Whether a face is left out.
        people : collection of int
            Whose names are left out.
        """
        digest, lines = "", []
        for record in self.records:
            names = {
                person: (None, None) if person in people else names
                for person, names in record.names.items()
            }
            faces = tuple(face for face in record.faces if not is_gone(face))
            digest, line = _seal(replace(record, faces=faces, names=names), digest)
            lines.append(line)
        with replacing(path) as temporary:
            write_bytes(temporary, "".join(lines).encode())

    def _read(self, line: str, number: int) -> Record:
        try:
            content = json.loads(line)
            digest = content.pop("sha256")
            sealed = digest == _sha256(content, self._digest) and content["number"] == number
            record = _from_json(content)
        except (ValueError, KeyError, TypeError, AttributeError):
            sealed = False
        if not sealed:
            raise CorruptFileError(
                f"line {number} of {self.path} is not what fastface wrote: it was damaged or"
                " edited. Put the file back from a copy, or move it away to go on without these"
                " corrections"
            )
        self._digest = digest
        return record


def _seal(record: Record, before: str) -> tuple[str, str]:
    """Return a record's digest and its line."""
    content = _to_json(record)
    digest = _sha256(content, before)
    line = json.dumps({**content, "sha256": digest}, ensure_ascii=False, separators=(", ", ": "))
    return digest, line + "\n"


def _sha256(content: Mapping[str, Any], before: str) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256((before + text).encode()).hexdigest()


def _to_json(record: Record) -> dict[str, Any]:
    content: dict[str, Any] = {"number": record.number, "time": record.time, "kind": record.kind}
    if record.people:
        content["people"] = list(record.people)
    if record.undoes is not None:
        content["undoes"] = record.undoes
    if record.apart:
        content["apart"] = [list(pair) for pair in record.apart]
    if record.names:
        content["names"] = {str(person): list(names) for person, names in record.names.items()}
    if record.faces:
        content["faces"] = [
            [face.photo, *face.box, face.was, face.now, face.confidence] for face in record.faces
        ]
    if record.changes:
        content["changes"] = [
            [change.kind, change.person, change.other, change.n_faces] for change in record.changes
        ]
    return content


def _from_json(content: Mapping[str, Any]) -> Record:
    if content["kind"] not in _KINDS:
        raise ValueError(content["kind"])
    return Record(
        number=content["number"],
        time=content["time"],
        kind=content["kind"],
        people=tuple(content.get("people", ())),
        faces=tuple(
            Placed(photo, (left, top, right, bottom), was, now, confidence)
            for photo, left, top, right, bottom, was, now, confidence in content.get("faces", ())
        ),
        apart=tuple((a, b) for a, b in content.get("apart", ())),
        names={int(person): (a, b) for person, (a, b) in content.get("names", {}).items()},
        undoes=content.get("undoes"),
        changes=tuple(Change(*change) for change in content.get("changes", ())),
    )


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
