"""Names that a user gave to people: carried over when a folder's faces are grouped anew.

A person's number is its place by size and changes with every photo, so names stay with faces.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from fastface.errors import CorruptFileError
from fastface.pipeline.schema import NAMES
from fastface.pipeline.storage import read_table, write_table
from fastface.report.text import given_name

__all__ = ["NAMES_FILE", "SAME_FACE", "carried_names", "keep_names", "overlap"]

NAMES_FILE = "names.parquet"
_BOX = ("left", "top", "right", "bottom")
# Of intersection over union: another detector frames the same face a little differently.
SAME_FACE = 0.5

Box = tuple[int, ...]


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
        people = read_table(folder / "people.parquet").select(["person_id", "name"]).to_pydict()
        faces = read_table(folder / "faces.parquet").select(["photo", *_BOX, "person_id"])
    except (CorruptFileError, KeyError):
        return  # what cannot be read cannot be kept, and may be why everything is made anew
    names = dict(zip(people["person_id"], map(given_name, people["name"]), strict=True))
    if not any(names.values()):
        (folder / NAMES_FILE).unlink(missing_ok=True)
        return
    bearers = [names.get(person) for person in faces["person_id"].to_pylist()]
    columns = [*faces.drop_columns(["person_id"]).columns, pa.array(bearers, pa.string())]
    write_table(folder / NAMES_FILE, pa.Table.from_arrays(columns, schema=NAMES))


def carried_names(folder: Path, faces: pa.Table, labels: Iterable[int]) -> dict[int, str]:
    """Return the people who bear a kept name: that of most of the faces that were there before.

    Parameters
    ----------
    folder : Path
        The run folder.
    faces : pyarrow.Table
        All faces.
    labels : iterable of int
        The person of each.

    Raises
    ------
    CorruptFileError
        If the kept names cannot be read.
    """
    if not (folder / NAMES_FILE).is_file():
        return {}
    before: dict[str, list[tuple[Box, str | None]]] = defaultdict(list)
    for photo, *box, name in _rows(read_table(folder / NAMES_FILE), "photo", *_BOX, "name"):
        before[photo].append((tuple(box), name))
    votes: dict[int, Counter[str | None]] = defaultdict(Counter)
    for (photo, *box), person in zip(_rows(faces, "photo", *_BOX), labels, strict=True):
        shares = [(overlap(tuple(box), other), name) for other, name in before.get(photo, ())]
        share, name = max(shares, key=lambda pair: pair[0], default=(0.0, None))
        if share >= SAME_FACE:
            votes[int(person)][name] += 1
    winners = {
        # Among equals a name before none, then the first by the alphabet.
        person: min(count, key=lambda name: (-count[name], name is None, name or ""))
        for person, count in votes.items()
    }
    return {person: name for person, name in winners.items() if name}


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
