"""Read the tables of a finished run folder and check that they belong together."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastface.errors import (
    CorruptFileError,
    InvalidInputError,
    MissingDependencyError,
    StorageError,
)
from fastface.vault import open_table, read_bytes, read_columns

from .text import given_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOX_COLUMNS = ["left", "top", "right", "bottom"]
FACE_COLUMNS = ["face_id", "photo", *BOX_COLUMNS, "detector_score", "person_id", "confidence"]
PEOPLE_COLUMNS = ["person_id", "name", "n_faces", "n_photos", "cover_face_id", "confidence"]
QUESTION_COLUMNS = ["face_id", "other_face_id", "same_person", "n_faces"]
SKIPPED_COLUMNS = ["file", "reason", "message"]
RUN_FILES = ("faces.parquet", "people.parquet", "skipped.parquet", "crops.parquet", "run.json")

QUESTIONS_FILE = "questions.parquet"
ORDERS = {"doubt": "Most doubtful first", "size": "Largest first", "name": "By name"}

# Crops are read this many at a time, so that memory stays bounded whatever the number of faces.
CROPS_PER_READ = 256
_LARGEST_JSON = 1 << 28


@dataclass(frozen=True, slots=True)
class Faces:
    """Every face; row ``i`` is face ``i``.

    Attributes
    ----------
    photos : list of str
        The photos with faces, each once, in order of path.
    photo : ndarray of shape (n_faces,), int64
        Index into `photos`.
    boxes : ndarray of shape (n_faces, 4), int64
        Left, top, right, bottom in pixels of the upright photo; right and bottom exclusive.
    detector_score, confidence : ndarray of shape (n_faces,), float64
    """

    photos: list[str]
    photo: NDArray[np.int64]
    boxes: NDArray[np.int64]
    detector_score: NDArray[np.float64]
    confidence: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.photo)


@dataclass(frozen=True, slots=True)
class Person:
    """One person; `faces` are face ids from the surest to the most doubtful."""

    person_id: int
    name: str | None
    faces: NDArray[np.int64]
    n_photos: int
    cover: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Question:
    """Two faces to look at, and whether they are one person now.

    Attributes
    ----------
    face, other : int
        Face ids.
    same_person : bool
        Whether they are one person now.
    n_faces : int
        How many faces would change hands.
    """

    face: int
    other: int
    same_person: bool
    n_faces: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """One file that gave no face."""

    file: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RunData:
    """A run folder in memory, without its crops and its embeddings.

    Attributes
    ----------
    folder : Path
    faces : Faces
    people : list of Person
        In the order that was asked for.
    person_of : ndarray of shape (n_faces,), int64
        Index into `people`.
    skipped : list of Skipped
    info : dict
        What ``run.json`` holds.
    questions : list of Question
        Those that would decide most first; none where the folder has no ``questions.parquet``.
    """

    folder: Path
    faces: Faces
    people: list[Person]
    person_of: NDArray[np.int64]
    skipped: list[Skipped]
    info: dict[str, Any]
    questions: list[Question]


def read_run(folder: Path, order: str = "doubt") -> RunData:
    """Read the run folder `folder`, with its people in an order of `ORDERS`.

    Raises
    ------
    InvalidInputError
        If there is no such order.
    StorageError
        If `folder` is not a finished run folder.
    CorruptFileError
        If a file of it is damaged, or does not fit the others.
    """
    if order not in ORDERS:
        raise InvalidInputError(f"unknown order {order!r}; choose one of {', '.join(ORDERS)}")
    missing = [name for name in RUN_FILES if not (folder / name).is_file()]
    if missing:
        raise StorageError(
            f"{folder} is not a finished run folder: it has no {', '.join(missing)}. "
            f"Give the folder that `fastface run PHOTOS --out FOLDER` made, and run that command "
            f"again if it was stopped."
        )
    info = _read_info(folder / "run.json")
    faces, person_ids = _read_faces(folder / "faces.parquet")
    people, person_of = _read_people(folder / "people.parquet", faces, person_ids, order)
    rows = _read_table(folder / "skipped.parquet", SKIPPED_COLUMNS)
    skipped = [
        Skipped(file or "", reason or "", message or "")
        for file, reason, message in zip(
            *(rows[name].to_pylist() for name in SKIPPED_COLUMNS), strict=True
        )
    ]
    questions = _read_questions(folder / QUESTIONS_FILE, person_of)
    return RunData(folder, faces, people, person_of, skipped, info, questions)


def iterate_crops(folder: Path, n_faces: int) -> Iterator[tuple[int, bytes]]:
    """Yield ``(face_id, jpeg)`` for every face, holding only a few at a time.

    Raises
    ------
    CorruptFileError
        If a crop is missing, doubled, of no known face, or not a JPEG.
    """
    path = folder / "crops.parquet"
    _pyarrow_parquet()
    seen = np.zeros(n_faces, dtype=bool)
    try:
        with open_table(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(CROPS_PER_READ, columns=["face_id", "jpeg"]):
                ids, jpegs = (column.to_pylist() for column in batch.columns)
                for face_id, jpeg in zip(ids, jpegs, strict=True):
                    if face_id is None or not 0 <= face_id < n_faces or seen[face_id]:
                        raise _corrupt(path, f"face {face_id} is unknown or there twice")
                    if not jpeg or not jpeg.startswith(b"\xff\xd8\xff"):
                        raise _corrupt(path, f"the crop of face {face_id} is not a JPEG")
                    seen[face_id] = True
                    yield face_id, jpeg
    except StorageError:
        raise
    except (KeyError, ValueError, OSError) as error:
        raise _unreadable(path, error) from error
    if not seen.all():
        raise _corrupt(path, f"face {int(np.argmin(seen))} has no crop")


def _read_info(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(read_bytes(path, _LARGEST_JSON))
    except StorageError:
        raise
    except (ValueError, RecursionError, OSError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(info, dict):
        raise _corrupt(path, "it holds no JSON object")
    return info


def _read_faces(path: Path) -> tuple[Faces, NDArray[np.int64]]:
    table = _read_table(path, FACE_COLUMNS)
    if table.num_rows and table["person_id"].null_count == table.num_rows:
        raise StorageError(
            f"{path.parent} holds faces that nobody has grouped, as `fastface embed` leaves them. "
            f"`fastface run` with another --out groups them and writes the report."
        )

    def integers(name: str) -> NDArray[np.int64]:
        return _numbers(path, table, name, np.int64)

    def reals(name: str) -> NDArray[np.float64]:
        return _numbers(path, table, name, np.float64)

    if not np.array_equal(integers("face_id"), np.arange(table.num_rows)):
        raise _corrupt(path, "face_id does not count 0, 1, 2, …")
    photos = table["photo"].combine_chunks().dictionary_encode()
    if photos.null_count:
        raise _corrupt(path, "a face has no photo")
    boxes = np.stack([integers(side) for side in BOX_COLUMNS], axis=1)
    faces = Faces(
        photos=photos.dictionary.to_pylist(),
        photo=photos.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        boxes=boxes,
        detector_score=reals("detector_score"),
        confidence=reals("confidence"),
    )
    return faces, integers("person_id")


def _read_people(
    path: Path, faces: Faces, person_ids: NDArray[np.int64], sorted_by: str
) -> tuple[list[Person], NDArray[np.int64]]:
    table = _read_table(path, PEOPLE_COLUMNS)
    ids = _numbers(path, table, "person_id", np.int64)
    counts = _numbers(path, table, "n_faces", np.int64)
    n_photos = _numbers(path, table, "n_photos", np.int64)
    covers = _numbers(path, table, "cover_face_id", np.int64)
    confidence = _numbers(path, table, "confidence", np.float64)
    names = table["name"].to_pylist()

    found, found_counts = np.unique(person_ids, return_counts=True)
    by_id = np.argsort(ids, kind="stable")
    if not (np.array_equal(ids[by_id], found) and np.array_equal(counts[by_id], found_counts)):
        raise _corrupt(path, "its people or their numbers of faces are not those of faces.parquet")
    in_range = (covers >= 0) & (covers < len(faces))
    if not in_range.all() or not np.array_equal(person_ids[covers], ids):
        raise _corrupt(path, "a cover_face_id is not a face of its person")

    # Surest first inside each person; NaN sorts last, the face id settles ties.
    order = np.lexsort((np.arange(len(faces)), -faces.confidence, person_ids))
    starts = np.concatenate([[0], np.cumsum(found_counts)])
    row_of_id = np.searchsorted(found, ids)
    in_order = np.lexsort(_keys(sorted_by, ids, counts, confidence, names))
    people = [
        Person(
            person_id=int(ids[row]),
            name=given_name(names[row]),
            faces=order[starts[row_of_id[row]] : starts[row_of_id[row] + 1]],
            n_photos=int(n_photos[row]),
            cover=int(covers[row]),
            confidence=float(confidence[row]),
        )
        for row in in_order
    ]
    position = np.empty(len(found), dtype=np.int64)
    position[row_of_id[in_order]] = np.arange(len(found))
    return people, position[np.searchsorted(found, person_ids)]


def _keys(
    order: str,
    ids: NDArray[np.int64],
    counts: NDArray[np.int64],
    confidence: NDArray[np.float64],
    names: list[Any],
) -> tuple[NDArray[Any], ...]:
    """Return what people are sorted by, the last key first."""
    if order == "size":
        return (ids, -counts)
    if order == "doubt":
        return (ids, -counts, confidence)
    given = [given_name(name) for name in names]
    return (ids, np.array([name or "" for name in given]), np.array([not name for name in given]))


def _read_questions(path: Path, person_of: NDArray[np.int64]) -> list[Question]:
    """Read the questions that are still open."""
    if not path.is_file():
        return []
    table = _read_table(path, QUESTION_COLUMNS)
    rows = zip(*(table[name].to_pylist() for name in QUESTION_COLUMNS), strict=True)
    questions = [Question(*row) for row in rows]
    if any(not 0 <= f < len(person_of) for q in questions for f in (q.face, q.other)):
        raise _corrupt(path, "it asks about faces that are not there")
    return [q for q in questions if (person_of[q.face] == person_of[q.other]) == q.same_person]


def _read_table(path: Path, columns: list[str]) -> Any:
    _pyarrow_parquet()
    try:
        return read_columns(path, columns)
    except StorageError:
        raise
    except KeyError as error:
        raise _corrupt(path, f"it has {error.args[0]}") from error
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error


def _numbers(path: Path, table: Any, name: str, dtype: type[Any]) -> NDArray[Any]:
    column = table[name]
    if column.null_count:
        raise _corrupt(path, f"column {name} has empty cells")
    try:
        return np.asarray(column.to_numpy()).astype(dtype)
    except (TypeError, ValueError) as error:
        raise _corrupt(path, f"column {name} does not hold numbers") from error


def _unreadable(path: Path, error: Exception) -> StorageError:
    """Tell damage, which pyarrow calls an ArrowInvalid or an OSError, from the system's refusal."""
    if isinstance(error, OSError) and error.errno is not None:
        return StorageError(f"{path} cannot be read: {error}")
    return _corrupt(path, str(error))


def _corrupt(path: Path, what: str) -> CorruptFileError:
    return CorruptFileError(
        f"{path} cannot be used: {what}. Run the command that made it again with --force."
    )


def _pyarrow_parquet() -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "pyarrow", extra="report", purpose="Reading a run folder"
        ) from error
