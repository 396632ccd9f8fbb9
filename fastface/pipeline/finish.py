"""From finished shards to the final tables: concatenate, group, count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from fastface.identities import IdentityClustering
from fastface.pipeline.schema import CROPS, FACES, PEOPLE, SHARD_FACES, SKIPPED
from fastface.pipeline.shards import ShardStore
from fastface.pipeline.storage import replace_file, write_table

__all__ = ["collect", "group_people", "people_table"]


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
        Number of features, needed where no face was found.

    Returns
    -------
    pyarrow.Table
        Faces without their crops, counted from 0.
    """
    counts = [pq.read_metadata(store.path(i) / "faces.parquet").num_rows for i in range(n_shards)]
    total = sum(counts)
    tables: list[pa.Table] = []
    skipped = [pa.Table.from_pylist(listed, SKIPPED)]

    def write_crops(crops_path: Path) -> None:
        def write_embeddings(path: Path) -> None:
            if total == 0:
                with path.open("wb") as file:
                    np.save(file, np.empty((0, dim), np.float32), allow_pickle=False)
                return
            out = open_memmap(path, "w+", np.float32, (total, dim))
            done = 0
            with pq.ParquetWriter(crops_path, CROPS) as crops:
                for faces, missing, embeddings in store.read_all(n_shards):
                    ids = pa.array(np.arange(done, done + faces.num_rows, dtype=np.int64))
                    crops.write_table(pa.Table.from_arrays([ids, faces["jpeg"]], schema=CROPS))
                    faces = faces.set_column(0, SHARD_FACES.field(0), ids).drop_columns(["jpeg"])
                    tables.append(faces)
                    skipped.append(missing)
                    out[done : done + faces.num_rows] = embeddings
                    done += faces.num_rows
            out.flush()

        replace_file(folder / "embeddings.npy", write_embeddings)
        if total == 0:
            pq.write_table(CROPS.empty_table(), crops_path)
            for faces, missing, _ in store.read_all(n_shards):
                tables.append(faces.drop_columns(["jpeg"]))
                skipped.append(missing)

    replace_file(folder / "crops.parquet", write_crops)
    everything = pa.concat_tables(skipped).sort_by("file")
    write_table(folder / "skipped.parquet", everything)
    empty = SHARD_FACES.empty_table().drop_columns(["jpeg"])
    return pa.concat_tables([empty, *tables])


def group_people(
    folder: Path, faces: pa.Table, *, method: str | None, cutoff: float, n_threads: int | None
) -> str | None:
    """Group the faces of a run folder, write ``faces.parquet`` and ``people.parquet``.

    Parameters
    ----------
    folder : Path
        The run folder, with ``embeddings.npy``.
    faces : pyarrow.Table
        From `collect`.
    method : str or None
        See `fastface.IdentityClustering`; None leaves the people open.
    cutoff : float
        Of the embedding model.
    n_threads : int, optional
        Threads.

    Returns
    -------
    str or None
        The method that was used.
    """
    used = method
    people = PEOPLE.empty_table()
    labels: pa.Array = pa.nulls(faces.num_rows, pa.int64())
    confidence: pa.Array = pa.nulls(faces.num_rows, pa.float32())
    if method is not None and faces.num_rows:
        embeddings = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
        photo_ids = faces["photo_id"].to_numpy()
        model = IdentityClustering(method, cutoff=cutoff, n_threads=n_threads)
        model.fit(embeddings, photo_ids=photo_ids)
        people = people_table(embeddings, model.labels_, photo_ids, model.confidence_)
        labels, confidence = pa.array(model.labels_), pa.array(model.confidence_)
        used = model.method_
    columns = [*faces.columns, labels, confidence]
    write_table(folder / "faces.parquet", pa.Table.from_arrays(columns, schema=FACES))
    write_table(folder / "people.parquet", people)
    return used


def people_table(
    embeddings: NDArray[Any],
    labels: NDArray[np.int64],
    photo_ids: NDArray[np.int64],
    confidence: NDArray[np.float32],
) -> pa.Table:
    """Return one row a person, largest first; the cover is the face nearest the person's mean."""
    rows = np.asarray(embeddings, dtype=np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    n_people = int(labels.max()) + 1
    sums = np.zeros((n_people, rows.shape[1]))
    np.add.at(sums, labels, rows)
    closeness = np.einsum("ij,ij->i", rows, sums[labels])
    order = np.lexsort((np.arange(len(rows)), -closeness, labels))
    first = np.searchsorted(labels[order], np.arange(n_people))
    counts = np.bincount(labels)
    photos = np.unique(np.stack([labels, photo_ids], axis=1), axis=0)[:, 0]
    mean_confidence = np.bincount(labels, confidence) / counts
    return pa.table(
        {
            "person_id": np.arange(n_people),
            "name": pa.nulls(n_people, pa.string()),
            "n_faces": counts,
            "n_photos": np.bincount(photos),
            "cover_face_id": order[first],
            "confidence": mean_confidence.astype(np.float32),
        },
        schema=PEOPLE,
    )
