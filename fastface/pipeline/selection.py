"""Which faces and photos of a run folder a user means by names, numbers and paths."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fastface.errors import InvalidInputError
from fastface.report.text import given_name

__all__ = ["Selection", "select"]

_KINDS = ("person", "photo")


@dataclass(frozen=True)
class Selection:
    """What is meant.

    Attributes
    ----------
    people : frozenset of int
        People, all of whose faces are meant.
    photos : frozenset of str
        Photos as a whole, with all faces on them; also those on which nobody but `people` is.
    faces : frozenset of int
        All these faces.
    """

    people: frozenset[int]
    photos: frozenset[str]
    faces: frozenset[int]


def select(
    what: Sequence[str], *, faces: pa.Table, people: pa.Table, listed: Iterable[str], root: Path
) -> Selection:
    """Find what a user means.

    Parameters
    ----------
    what : sequence of str
        Each a person's number or name, or a photo's path: as in ``faces.parquet``, or of the file
        itself.  ``person:`` or ``photo:`` before it says which.
    faces, people : pyarrow.Table
        Of the run folder; without rows where it is not finished.
    listed : iterable of str
        All photos of the folder.
    root : Path
        What their paths are relative to.

    Raises
    ------
    InvalidInputError
        If nothing, or more than one thing, is called so.
    """
    known = set(listed)
    by_name: dict[str, list[int]] = defaultdict(list)
    for person, name in zip(
        people["person_id"].to_pylist(), people["name"].to_pylist(), strict=True
    ):
        by_name[str(person)].append(person)
        if (given := given_name(name)) is not None:
            by_name[given].append(person)
    chosen_people: set[int] = set()
    photos: set[str] = set()
    for text in what:
        kind, name = _kind(text)
        named = list(dict.fromkeys(by_name.get(name, ()))) if kind != "photo" else []
        photo = _photo(name, known, root) if kind != "person" else None
        if len(named) + (photo is not None) != 1:
            raise InvalidInputError(_explain(text, named, photo))
        chosen_people.update(named)
        photos.update([photo] if photo is not None else [])
    gone: set[int] = set()
    staying: set[str] = set()
    for face, photo, person in zip(
        *(faces[column].to_pylist() for column in ("face_id", "photo", "person_id")), strict=True
    ):
        if photo in photos or person in chosen_people:
            gone.add(face)
        else:
            staying.add(photo)
    theirs = {
        photo
        for face, photo in zip(
            faces["face_id"].to_pylist(), faces["photo"].to_pylist(), strict=True
        )
        if face in gone
    }
    return Selection(
        frozenset(chosen_people), frozenset(photos | theirs - staying), frozenset(gone)
    )


def _kind(text: str) -> tuple[str, str]:
    kind, colon, name = text.partition(":")
    return (kind, name) if colon and kind in _KINDS else ("", text)


def _photo(name: str, known: set[str], root: Path) -> str | None:
    if name in known:
        return name
    # A path of the file itself; links to the folder of photos lead to the same one.
    for base in (root, Path(os.path.realpath(root))):
        for path in (os.path.abspath(name), os.path.realpath(name)):
            relative = os.path.relpath(path, base)
            if relative in known:
                return relative
    return None


def _explain(text: str, named: Sequence[int], photo: str | None) -> str:
    if named and photo is not None:
        return f"{text!r} is a person and a photo: say person:{text} or photo:{text}"
    if len(named) > 1:
        numbers = ", ".join(map(str, named))
        return f"{len(named)} people are called {text!r}: give their numbers, of {numbers}"
    return (
        f"nothing in this run is called {text!r}: give a person's number or name as in"
        " people.parquet, or a photo's path as in photos.parquet"
    )
