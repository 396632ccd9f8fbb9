"""Who was grouped with whom, and what was skipped, in a few lines of text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastface.cli.output import printable
from fastface.errors import CorruptFileError, EncryptionError
from fastface.report.text import given_name
from fastface.vault import reading

__all__ = ["describe_change", "describe_changes", "describe_people", "describe_skipped"]

_PEOPLE_SHOWN = 5
_FILES_SHOWN = 4
_CHANGES_SHOWN = 10


def describe_people(folder: Path) -> Iterator[str]:
    """Yield one line for each of the largest people of a run folder, with their first photos.

    Parameters
    ----------
    folder : Path
        A finished run folder.

    Yields
    ------
    str
        A line without control characters, whatever photos and people are called.
    """
    people = _read(folder / "people.parquet", ["person_id", "n_faces", "name"])
    # A user who named them may have sorted the table otherwise.
    people.sort(key=lambda person: (-person["n_faces"], person["person_id"]))
    together = [person for person in people if person["n_faces"] > 1]
    alone = [person for person in people if person["n_faces"] == 1]
    photos = _photos_of(folder, together[:_PEOPLE_SHOWN] + alone[:_FILES_SHOWN])
    for person in together[:_PEOPLE_SHOWN]:
        number = person["person_id"]
        name = given_name(person.get("name")) or f"person {number}"
        yield f"  {printable(name)}, {person['n_faces']} faces: {_join(photos[number])}"
    if len(together) > _PEOPLE_SHOWN:
        yield f"  and {len(together) - _PEOPLE_SHOWN} more with several faces"
    if alone:
        seen = [photos[person["person_id"]][0] for person in alone[:_FILES_SHOWN]]
        yield f"  {len(alone)} seen only once: {_join(seen, len(alone))}"


def describe_skipped(folder: Path) -> Iterator[str]:
    """Yield one line that names the first files without a face, if there are any."""
    skipped = _read(folder / "skipped.parquet", ["file", "reason"])
    if skipped:
        files = [f"{row['file']} ({row['reason']})" for row in skipped[:_FILES_SHOWN]]
        yield f"  {len(skipped)} without a face: {_join(files, len(skipped))}"


def describe_changes(folder: Path) -> Iterator[str]:
    """Yield what became of people when the faces of a folder were last grouped anew."""
    from fastface.pipeline.history import History

    records = History.of(folder).records
    if not records or records[-1].kind != "regroup":
        return
    changes = records[-1].changes
    for change in changes[:_CHANGES_SHOWN]:
        yield f"  {describe_change(change)}"
    if len(changes) > _CHANGES_SHOWN:
        yield f"  and {len(changes) - _CHANGES_SHOWN} more changes: fastface people history"


def describe_change(change: Any) -> str:
    """Say what became of a person."""
    from fastface.identities.stable_ids import Change

    return str(Change(change.kind, change.person, change.other, change.n_faces))


def _photos_of(folder: Path, people: Sequence[dict[str, Any]]) -> dict[int, list[str]]:
    numbers = [person["person_id"] for person in people]
    photos: dict[int, list[str]] = defaultdict(list)
    if numbers:
        chosen = [("person_id", "in", numbers)]
        for face in _read(folder / "faces.parquet", ["photo", "person_id"], chosen):
            photos[face["person_id"]].append(face["photo"])
    return photos


def _read(path: Path, columns: list[str], filters: Any = None) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    try:
        with reading(path) as source:
            rows: list[dict[str, Any]] = pq.read_table(
                source, columns=columns, filters=filters
            ).to_pylist()
    except EncryptionError:
        raise
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path} is damaged or missing ({error})") from error
    return rows


def _join(files: Sequence[str], n_files: int | None = None) -> str:
    names = ", ".join(printable(file) for file in files[:_FILES_SHOWN])
    more = (len(files) if n_files is None else n_files) - _FILES_SHOWN
    return f"{names} and {more} more" if more > 0 else names
