"""The tables of a run folder without some faces: written anew, elsewhere, block by block."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.lib import format as npy
from numpy.typing import NDArray

from fastface.pipeline.history import HISTORY_FILE, History
from fastface.pipeline.names import NAMES_FILE, FaceIndex
from fastface.pipeline.questions import QUESTIONS_FILE
from fastface.pipeline.schema import CROPS, EMBEDDINGS_SHA256
from fastface.pipeline.selection import Selection
from fastface.pipeline.storage import (
    content_sha256,
    count_rows,
    read_array,
    read_json,
    read_table,
    replacing,
    write_json,
    write_table,
)
from fastface.pipeline.traces import Trace, row_traces
from fastface.vault import open_table, writing

__all__ = [
    "Rewritten",
    "rewrite_faces",
    "rewrite_history",
    "rewrite_names",
    "rewrite_skipped",
]

_BLOCK_ROWS = 1 << 14
_CROPS_PER_READ = 256


class Rewritten(NamedTuple):
    """What was left out."""

    traces: list[Trace]
    shared: int


def rewrite_faces(
    folder: Path,
    target: Path,
    chosen: Selection,
    faces: pa.Table,
    people: pa.Table,
    keep_photo: Sequence[bool],
) -> Rewritten:
    """Write all tables of faces and people, without those that are chosen.

    Parameters
    ----------
    folder : Path
        A finished run folder.
    target : Path
        Where to write; ``skipped.parquet`` is there already.
    chosen : Selection
        What to leave out.
    faces, people : pyarrow.Table
        Of that folder.
    keep_photo : sequence of bool
        Which of its photos stay.

    Returns
    -------
    Rewritten
        Traces of every vector and crop that was left out, but for those that a face that stays
        has too, and how many these are.
    """
    keep = np.ones(faces.num_rows, bool)
    keep[list(chosen.faces)] = False
    vectors, shared_vectors = _rewrite_embeddings(folder, target, keep)
    crops, shared_crops = _rewrite_crops(folder, target, keep)
    left = faces.filter(pa.array(keep))
    before = np.cumsum(~np.array(keep_photo, bool))
    photo_ids = left["photo_id"].to_numpy()
    left = _replace(left, "face_id", np.arange(left.num_rows, dtype=np.int64))
    left = _replace(left, "photo_id", photo_ids - before[photo_ids] if left.num_rows else photo_ids)
    checksum = {EMBEDDINGS_SHA256: content_sha256(target / "embeddings.npy")}
    write_table(
        target / "faces.parquet",
        left.replace_schema_metadata({**(left.schema.metadata or {}), **checksum}),
    )
    write_table(target / "people.parquet", _left_people(target, people, left, keep))
    _rewrite_questions(folder, target, keep)
    summary = read_json(folder / "run.json")
    n_people = len(pc.unique(left["person_id"].drop_null()))
    summary["counts"] |= {
        "photos": sum(keep_photo),
        "faces": left.num_rows,
        "people": n_people,
        "skipped": count_rows(target / "skipped.parquet"),
    }
    write_json(target / "run.json", summary)
    return Rewritten([*vectors, *crops], shared_vectors + shared_crops)


def _rewrite_embeddings(
    folder: Path, target: Path, keep: NDArray[np.bool_]
) -> tuple[list[Trace], int]:
    rows = read_array(folder / "embeddings.npy", len(keep))
    gone = rows[~keep]
    unshared = {row.tobytes(): row for row in gone}
    with replacing(target / "embeddings.npy") as path, writing(path) as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (int(keep.sum()), rows.shape[1])}
        npy.write_array_header_1_0(file, header)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS][keep[start : start + _BLOCK_ROWS]]
            file.write(np.ascontiguousarray(block, "<f4").data)
            for row in block:
                unshared.pop(row.tobytes(), None)
    traces = row_traces(np.array(list(unshared.values()), np.float32).reshape(-1, rows.shape[1]))
    return traces, len({row.tobytes() for row in gone}) - len(unshared)


def _rewrite_crops(folder: Path, target: Path, keep: NDArray[np.bool_]) -> tuple[list[Trace], int]:
    new_ids = np.cumsum(keep) - 1
    gone: dict[bytes, Trace] = {}
    stays: set[int] = set()  # hashes: to hold all crops would take too much memory
    with (
        open_table(folder / "crops.parquet") as source,
        replacing(target / "crops.parquet") as path,
        writing(path) as sink,
        pq.ParquetWriter(sink, CROPS, write_page_checksum=True) as file,
    ):
        for batch in source.iter_batches(_CROPS_PER_READ, columns=["face_id", "jpeg"]):
            ids = batch.column(0).to_numpy()
            jpegs = batch.column(1).to_pylist()
            here = keep[ids]
            for jpeg, kept in zip(jpegs, here, strict=True):
                if kept:
                    stays.add(hash(jpeg))
                elif jpeg not in gone:
                    gone[jpeg] = Trace.of("crop", jpeg)
            left = [jpeg for jpeg, kept in zip(jpegs, here, strict=True) if kept]
            file.write_table(
                pa.Table.from_arrays(
                    [pa.array(new_ids[ids[here]], pa.int64()), pa.array(left, pa.binary())],
                    schema=CROPS,
                )
            )
    shared = {jpeg for jpeg in gone if hash(jpeg) in stays}
    return [trace for jpeg, trace in gone.items() if jpeg not in shared], len(shared)


def _left_people(
    target: Path, people: pa.Table, faces: pa.Table, keep: NDArray[np.bool_]
) -> pa.Table:
    """Return the rows of people who still have a face, with their numbers as they are now."""
    new_ids = np.cumsum(keep) - 1
    rows = read_array(target / "embeddings.npy", int(keep.sum()))
    own: dict[int, list[int]] = {}
    for face, person in enumerate(faces["person_id"].to_pylist()):
        own.setdefault(person, []).append(face)
    stay = people.filter(pa.array([p in own for p in people["person_id"].to_pylist()], pa.bool_()))
    photos = faces["photo_id"].to_numpy()
    confidence = faces["confidence"].to_numpy()
    members = [np.array(own[person]) for person in stay["person_id"].to_pylist()]
    covers = [
        int(new_ids[cover]) if keep[cover] else _most_typical(rows, theirs)
        for cover, theirs in zip(stay["cover_face_id"].to_pylist(), members, strict=True)
    ]
    columns: dict[str, Any] = {
        "n_faces": [len(theirs) for theirs in members],
        "n_photos": [len(np.unique(photos[theirs])) for theirs in members],
        "cover_face_id": covers,
        "confidence": [float(confidence[theirs].mean()) for theirs in members],
    }
    for name, values in columns.items():
        stay = _replace(stay, name, values)
    return stay


def _most_typical(rows: NDArray[Any], members: NDArray[np.int64]) -> int:
    """Return the face nearest to the mean of a person's directions."""
    from fastface.graph import unit_rows

    theirs = unit_rows(np.asarray(rows[members]))
    return int(members[np.argmax(theirs @ theirs.sum(axis=0))])


def _replace(table: pa.Table, name: str, values: Any) -> pa.Table:
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    return table.set_column(place, field, pa.array(values, field.type))


def rewrite_skipped(folder: Path, target: Path, photos: Collection[str]) -> None:
    """Write the list of files without a face, without some photos."""
    if (folder / "skipped.parquet").is_file():
        skipped = read_table(folder / "skipped.parquet")
        keep = [file not in photos for file in skipped["file"].to_pylist()]
        write_table(target / "skipped.parquet", skipped.filter(pa.array(keep, pa.bool_())))


def rewrite_names(folder: Path, target: Path, chosen: Selection, faces: pa.Table) -> None:
    """Write the names that wait for a job to end, without those of chosen faces and photos."""
    if not (folder / NAMES_FILE).is_file():
        return
    columns = ("photo", "left", "top", "right", "bottom")
    boxes = zip(*(faces[name].to_pylist() for name in columns), strict=True)
    gone = {box for face, box in enumerate(boxes) if face in chosen.faces}
    names = read_table(folder / NAMES_FILE)
    rows = zip(*(names[name].to_pylist() for name in columns), strict=True)
    keep = [row[0] not in chosen.photos and row not in gone for row in rows]
    write_table(target / NAMES_FILE, names.filter(pa.array(keep, pa.bool_())))


def rewrite_history(folder: Path, target: Path, chosen: Selection, faces: pa.Table) -> None:
    """Write what was corrected, without chosen faces and photos and without the people's names."""
    if not (folder / HISTORY_FILE).is_file():
        return
    index = FaceIndex.of(faces)
    History.of(folder).write_without(
        target / HISTORY_FILE,
        lambda face: (
            face.photo in chosen.photos or index.find(face.photo, face.box) in chosen.faces
        ),
        chosen.people,
    )


def _rewrite_questions(folder: Path, target: Path, keep: NDArray[np.bool_]) -> None:
    """Write the open questions, without those about faces that go; the others count anew."""
    if not (folder / QUESTIONS_FILE).is_file():
        return
    table = read_table(folder / QUESTIONS_FILE)
    new_ids = np.cumsum(keep) - 1
    ends = [table[name].to_numpy() for name in ("face_id", "other_face_id")]
    table = table.filter(pa.array(keep[ends[0]] & keep[ends[1]]))
    for name in ("face_id", "other_face_id"):
        table = _replace(table, name, new_ids[table[name].to_numpy()])
    write_table(target / QUESTIONS_FILE, table)
