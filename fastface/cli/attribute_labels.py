"""Read a file of labels and bring it into the order of a run's faces."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InvalidInputError, StorageError

__all__ = ["FaceLabels", "read_labels"]

_KEYS = ("face_id", "photo", "person_id")
_PEOPLE = ("person", "identity")
_LISTED = 5


@dataclass(frozen=True)
class FaceLabels:
    """Labels in order of face id.

    Attributes
    ----------
    columns : dict of str to ndarray of object, shape (n_faces,)
        Text; empty where nothing is known.
    people : ndarray of object, shape (n_faces,), or None
        The known person of each face; empty where nothing is known.
    n_labelled : int
        Faces with a line in the file.
    """

    columns: dict[str, NDArray[Any]]
    people: NDArray[Any] | None
    n_labelled: int


def read_labels(
    path: Path, faces: Mapping[str, Sequence[Any]], skipped: set[str], person: str | None
) -> FaceLabels:
    """Read labels.

    Parameters
    ----------
    path : Path
        CSV with a header.  One of the columns ``face_id``, ``photo`` (its largest face is meant)
        or ``person_id`` (all faces of that person) says what a line is about.
    faces : mapping of str to sequence
        ``face_id``, ``photo``, ``size`` and ``person_id`` of the run.
    skipped : set of str
        Photos of the run without a face: lines about them are passed over.
    person : str or None
        Column with the known person; by default ``person`` or ``identity`` if there.

    Returns
    -------
    FaceLabels
        In order of face id.

    Raises
    ------
    StorageError
        If there is no such file, or it cannot be read.
    InvalidInputError
        If it has no usable column, or lines about unknown or the same faces; they are named.
    """
    header, lines = _read(path)
    key = next((name for name in _KEYS if name in header), None)
    if key is None:
        raise InvalidInputError(
            f"{path} has columns {', '.join(header)}: one of {', '.join(_KEYS)} must say what a"
            " line is about"
        )
    if person is not None and person not in header:
        raise InvalidInputError(
            f"{path} has no column {person!r} with people; its columns: {', '.join(header)}"
        )
    person = person or next((name for name in _PEOPLE if name in header), None)
    places = _places(key, faces)
    n_faces = len(faces["face_id"])
    line_of = np.full(n_faces, -1)
    unknown, doubled = [], []
    for number, line in enumerate(lines):
        value = line[header.index(key)].strip()
        rows = places.get(value)
        if rows is None:
            if value not in skipped:
                unknown.append(f"line {number + 2}: {value!r}")
            continue
        if (line_of[rows] >= 0).any():
            doubled.append(f"line {number + 2}: {value!r}")
        line_of[rows] = number
    for what, found in (("faces that are not in this run", unknown), ("a face twice", doubled)):
        if found:
            listed = "; ".join(found[:_LISTED]) + ("; …" if len(found) > _LISTED else "")
            raise InvalidInputError(
                f"{path} labels {what} in column {key!r}, {len(found)} lines ({listed}):"
                " remove or correct them"
            )
    columns = {
        name: _column([line[j].strip() for line in lines], line_of)
        for j, name in enumerate(header)
        if name not in (*_KEYS, person)
    }
    known = None
    if person is not None:
        known = _column([line[header.index(person)].strip() for line in lines], line_of)
    return FaceLabels(columns, known, int((line_of >= 0).sum()))


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    if not path.is_file():
        raise StorageError(f"there is no file {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = [line for line in csv.reader(file) if line] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StorageError(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    header = [name.strip() for name in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InvalidInputError(f"{path} has the column {', '.join(twice)} more than once")
    uneven = [i + 2 for i, line in enumerate(lines) if len(line) != len(header)]
    if uneven:
        raise InvalidInputError(
            f"{path} has {len(header)} columns, but another number on line"
            f" {', '.join(map(str, uneven[:_LISTED]))}"
        )
    return header, lines


def _places(key: str, faces: Mapping[str, Sequence[Any]]) -> dict[str, list[int]]:
    """Return the faces that each value of the key column means."""
    if key != "photo":
        places: dict[str, list[int]] = {}
        for row, value in enumerate(faces[key]):
            places.setdefault(str(value), []).append(row)
        return places
    largest: dict[str, int] = {}
    for row, (photo, size) in enumerate(zip(faces["photo"], faces["size"], strict=True)):
        if photo not in largest or size > faces["size"][largest[photo]]:
            largest[photo] = row
    return {photo: [row] for photo, row in largest.items()}


def _column(values: list[str], line_of: NDArray[np.int64]) -> NDArray[Any]:
    column = np.full(len(line_of), "", dtype=object)
    for row in np.flatnonzero(line_of >= 0):
        column[row] = values[line_of[row]]
    return column
