"""Whether a finished run folder still is what was written."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from fastface.errors import CorruptFileError, EncryptionError, StorageError
from fastface.pipeline.schema import CROPS, EMBEDDINGS_SHA256, FACES, PEOPLE, PHOTOS, SKIPPED
from fastface.pipeline.storage import content_sha256, read_json, read_table
from fastface.vault import open_table

__all__ = ["check_finished"]


def check_finished(folder: Path) -> None:
    """Read every file of a finished run and compare its checksums.

    Tables that another program wrote, such as people with names, have none and are only read.

    Parameters
    ----------
    folder : Path
        The run folder.

    Raises
    ------
    CorruptFileError
        If a file is damaged or missing, or if embeddings and faces do not belong together.
    """
    try:
        read_json(folder / "run.json")
        faces = _read(folder / "faces.parquet", FACES)
        _read(folder / "skipped.parquet", SKIPPED)
        _read(folder / "photos.parquet", PHOTOS)
        people = read_table(folder / "people.parquet")  # whose names another program may write
        if not set(PEOPLE.names) <= set(people.column_names):
            raise CorruptFileError(f"{folder / 'people.parquet'} lacks columns")
        if _count_crops(folder / "crops.parquet") != faces.num_rows:
            raise CorruptFileError(f"{folder / 'crops.parquet'} has not one crop a face")
        expected = (faces.schema.metadata or {}).get(EMBEDDINGS_SHA256)
        embeddings = folder / "embeddings.npy"
        if expected is not None and content_sha256(embeddings).encode() != expected:
            raise CorruptFileError(f"{embeddings} is not what was written with faces.parquet")
    except EncryptionError:
        raise
    except OSError as error:
        raise CorruptFileError(
            f"the finished run {folder} is damaged: {error}. Put that file back, or make everything"
            " anew with --force"
        ) from error


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    table = read_table(path)
    if not table.schema.equals(schema):
        raise CorruptFileError(f"{path} has other columns than those that were written")
    return table


def _count_crops(path: Path) -> int:
    """Read a table that may be larger than memory, for its checksums, and count its rows."""
    try:
        with open_table(path) as file:
            if not file.schema_arrow.equals(CROPS):
                raise ValueError("it has other columns than those that were written")
            return sum(batch.num_rows for batch in file.iter_batches(batch_size=1024))
    except StorageError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CorruptFileError(f"{path} is damaged or missing ({error})") from error
