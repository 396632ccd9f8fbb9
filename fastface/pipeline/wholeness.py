"""Whether a finished run folder still is what was written."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from fastface.errors import CorruptFileError
from fastface.pipeline.schema import EMBEDDINGS_SHA256
from fastface.pipeline.storage import file_sha256, read_json, read_table

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
        for name in ("people.parquet", "skipped.parquet", "photos.parquet"):
            read_table(folder / name)
        _read_through(folder / "crops.parquet")
        faces = read_table(folder / "faces.parquet")
        expected = (faces.schema.metadata or {}).get(EMBEDDINGS_SHA256)
        embeddings = folder / "embeddings.npy"
        if expected is not None and file_sha256(embeddings).encode() != expected:
            raise CorruptFileError(f"{embeddings} is not what was written with faces.parquet")
    except OSError as error:
        raise CorruptFileError(
            f"the finished run {folder} is damaged: {error}. Put that file back, or make everything"
            " anew with --force"
        ) from error


def _read_through(path: Path) -> None:
    """Read a table that may be larger than memory, for its checksums."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for _ in file.iter_batches(batch_size=1024):
                pass
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path} is damaged or missing ({error})") from error
