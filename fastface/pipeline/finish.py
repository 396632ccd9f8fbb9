"""From finished shards to the final tables: concatenate, group, count.

What groups people is imported when it is needed: that takes a second or two, during which photos
can be read already.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy
from numpy.typing import NDArray

from fastface.errors import InvalidInputError
from fastface.pipeline.history import Change, History, Record
from fastface.pipeline.names import Earlier, carried_names, earlier_people, tagged
from fastface.pipeline.schema import (
    CROPS,
    EMBEDDINGS_SHA256,
    FACES,
    PEOPLE,
    SHARD_FACES,
    SKIPPED,
)
from fastface.pipeline.shards import ShardStore
from fastface.pipeline.standing import replay
from fastface.pipeline.storage import read_array, replacing, write_table
from fastface.vault import writing

if TYPE_CHECKING:
    from fastface.models import ModelSpec

__all__ = ["choose_cutoff", "collect", "group_people", "people_table"]

_BLOCK_ROWS = 1 << 16


def collect(
    store: ShardStore, n_shards: int, folder: Path, listed: list[dict[str, str]], dim: int
) -> pa.Table:
    """Write ``crops.parquet``, ``embeddings.npy`` and ``skipped.parquet`` from all shards.

    One shard is in memory at a time; the faces' own columns, which are small, are returned.

    Parameters
    ----------
    store : ShardStore
        Where the shards are.
    n_shards : int
        How many.
    folder : Path
        The run folder.
    listed : list of dict
        Files that were skipped before any was opened.
    dim : int
        Number of features.

    Returns
    -------
    pyarrow.Table
        Faces without their crops, counted from 0; its metadata hold the embeddings' checksum.
    """
    total = sum(store.count_faces(index) for index in range(n_shards))
    tables = [SHARD_FACES.empty_table().drop_columns(["jpeg"])]
    skipped = [pa.Table.from_pylist(listed, SKIPPED)]
    done = 0
    with (
        replacing(folder / "embeddings.npy") as embeddings_path,
        replacing(folder / "crops.parquet") as crops_path,
        # Written, not mapped: a full disk is an error here and would be a signal there.
        writing(embeddings_path) as embeddings_file,
        writing(crops_path) as crops_target,
        pq.ParquetWriter(crops_target, CROPS, write_page_checksum=True) as crops_file,
    ):
        header = {"descr": "<f4", "fortran_order": False, "shape": (total, dim)}
        start = io.BytesIO()
        npy.write_array_header_1_0(start, header)
        embeddings_file.write(start.getvalue())
        digest = hashlib.sha256(start.getvalue())
        for faces, missing, embeddings in store.read_all(n_shards):
            ids = pa.array(np.arange(done, done + faces.num_rows, dtype=np.int64))
            done += faces.num_rows
            crops_file.write_table(pa.Table.from_arrays([ids, faces["jpeg"]], schema=CROPS))
            block = np.ascontiguousarray(embeddings, "<f4").data
            digest.update(block)
            embeddings_file.write(block)
            tables.append(faces.drop_columns(["jpeg"]).set_column(0, SHARD_FACES.field(0), ids))
            skipped.append(missing)
    write_table(folder / "skipped.parquet", pa.concat_tables(skipped).sort_by("file"))
    faces = pa.concat_tables(tables)
    return faces.replace_schema_metadata({EMBEDDINGS_SHA256: digest.hexdigest()})


def choose_cutoff(spec: ModelSpec, embeddings: NDArray[Any]) -> float:
    """Return the distance between unit vectors beyond which two faces are hardly one person.

    That of the model where it is known; else an estimate from the faces themselves; else, where
    there are too few of them, the distance that the model's authors call the same person.

    Parameters
    ----------
    spec : ModelSpec
        Of the embedding model.
    embeddings : ndarray, shape (n_faces, d)
        All faces.
    """
    from fastface.graph import unit_rows
    from fastface.identities.cutoff import estimate_cutoff

    if spec.linkage_cutoff is not None:
        return spec.linkage_cutoff / (spec.typical_norm or 1.0)
    try:
        return estimate_cutoff(unit_rows(embeddings))
    except InvalidInputError:
        pass
    if spec.metric == "cosine":
        # On the unit sphere a cosine distance c is a euclidean distance of √(2c).
        return math.sqrt(2 * spec.same_person_distance)
    return spec.same_person_distance / (spec.typical_norm or 1.0)


def group_people(
    folder: Path,
    faces: pa.Table,
    *,
    method: str | None,
    cutoff: float | Callable[[NDArray[Any]], float],
    n_threads: int | None,
    earlier: Earlier | None = None,
    callback: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Group the faces of a run folder, write ``faces.parquet`` and ``people.parquet``.

    What a user corrected stays corrected, and people who were there before keep their ids and
    names.

    Parameters
    ----------
    folder : Path
        The run folder, with ``embeddings.npy``.
    faces : pyarrow.Table
        From `collect`.
    method : str or None
        See `fastface.IdentityClustering`; None leaves the people open.
    cutoff : float or callable
        See `fastface.IdentityClustering`; a callable is given the embeddings.
    n_threads : int, optional
        Threads.
    earlier : Earlier, optional
        Who the faces were; by default what ``names.parquet`` kept.
    callback : callable, optional
        Told the name of each step as it begins.

    Returns
    -------
    dict
        ``method`` and ``cutoff`` that were used.
    """
    from fastface.identities import IdentityClustering
    from fastface.pipeline.questions import QUESTIONS_FILE, drop_answered, questions_table

    schema = FACES.with_metadata(faces.schema.metadata)
    if method is None or not faces.num_rows:
        nobody = [pa.nulls(faces.num_rows, pa.int64()), pa.nulls(faces.num_rows, pa.float32())]
        columns = [*faces.columns, *nobody]
        write_table(folder / "faces.parquet", pa.Table.from_arrays(columns, schema=schema))
        write_table(folder / "people.parquet", PEOPLE.empty_table())
        return {"method": method}
    earlier = earlier or earlier_people(folder, faces)
    history = History.of(folder)
    standing = replay(history.standing(), faces)
    previous = np.where(standing.person >= 0, standing.person, earlier.ids)
    embeddings = read_array(folder / "embeddings.npy", faces.num_rows)
    photo_ids = faces["photo_id"].to_numpy()
    if callable(cutoff):
        cutoff = cutoff(embeddings)
    model = IdentityClustering(method, cutoff=cutoff, n_threads=n_threads, callback=callback)
    model.fit(
        embeddings,
        photo_ids=photo_ids,
        must_link=standing.must_link(),
        cannot_link=standing.cannot_link(),
        previous_ids=previous,
    )
    # Ids of people who are gone are not given again.
    used = [person for record in history.records for person in record.people]
    shift = max(0, max(earlier.next_id, 1 + max(used, default=-1)) - 1 - int(previous.max()))
    newest = int(previous.max())

    def lasting(person: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(person > newest, person + shift, person)

    ids, runner_up = lasting(model.person_ids_), lasting(model.runner_up_)
    confidence = np.where(standing.chosen, np.float32(1), model.confidence_)
    by_label = carried_names(earlier, model.labels_)
    of_label = dict(zip(model.labels_.tolist(), ids.tolist(), strict=True))
    names = {of_label[label]: name for label, name in by_label.items()}
    if (previous >= 0).any():
        changes = tuple(
            Change(change.kind, int(lasting(np.array(change.person))), change.other, change.n_faces)
            for change in model.changes_
        )
        history.append(Record(0, "", "regroup", changes=changes))
    next_id = max(earlier.next_id, 1 + max(used, default=-1), 1 + int(ids.max()))
    columns = [*faces.columns, pa.array(ids), pa.array(confidence, pa.float32())]
    table = pa.Table.from_arrays(columns, schema=schema)
    questions = questions_table(embeddings, ids, confidence, runner_up)
    write_table(folder / QUESTIONS_FILE, questions)
    drop_answered(folder, ids, standing.apart)
    write_table(
        folder / "faces.parquet", tagged(table, next_id=next_id, n_records=len(history.records))
    )
    people = people_table(embeddings, ids, photo_ids, confidence, names)
    write_table(folder / "people.parquet", people)
    return {"method": model.method_, "cutoff": cutoff}


def people_table(
    embeddings: NDArray[Any],
    ids: NDArray[np.int64],
    photo_ids: NDArray[np.int64],
    confidence: NDArray[np.float32],
    names: Mapping[int, str],
) -> pa.Table:
    """Return one row a person, largest first; the cover is the face nearest the person's mean."""
    people, first, codes, counts = np.unique(
        ids, return_index=True, return_inverse=True, return_counts=True
    )
    closeness = _closeness_to_mean(embeddings, codes, len(people))
    order = np.lexsort((np.arange(len(ids)), -closeness, codes))
    covers = order[np.searchsorted(codes[order], np.arange(len(people)))]
    photos = np.unique(np.stack([codes, photo_ids], axis=1), axis=0)[:, 0]
    mean_confidence = np.bincount(codes, confidence) / counts
    table = pa.table(
        {
            "person_id": people,
            "name": pa.array([names.get(person) for person in people.tolist()], pa.string()),
            "n_faces": counts,
            "n_photos": np.bincount(photos),
            "cover_face_id": covers,
            "confidence": mean_confidence.astype(np.float32),
        },
        schema=PEOPLE,
    )
    return table.take(np.lexsort((first, -counts)))


def _closeness_to_mean(
    embeddings: NDArray[Any], labels: NDArray[np.int64], n_people: int
) -> NDArray[np.float64]:
    """Return, for each face, its direction's product with the sum of its person's directions."""
    from fastface.graph import unit_rows

    blocks = [slice(start, start + _BLOCK_ROWS) for start in range(0, len(embeddings), _BLOCK_ROWS)]
    sums = np.zeros((n_people, embeddings.shape[1]))
    for block in blocks:
        np.add.at(sums, labels[block], unit_rows(embeddings[block]))
    closeness = np.empty(len(embeddings))
    for block in blocks:
        rows = unit_rows(embeddings[block])
        closeness[block] = np.einsum("ij,ij->i", rows, sums[labels[block]])
    return closeness
