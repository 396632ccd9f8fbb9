"""Tables and JSON on disk, whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastface.errors import CorruptFileError, StorageError
from fastface.storage import replacing, storage_errors, sync_folder
from fastface.vault import load_array, read_bytes, read_columns, reading, write_bytes, writing

__all__ = [
    "content_sha256",
    "count_rows",
    "file_sha256",
    "read_array",
    "read_json",
    "read_table",
    "remove_parts",
    "replacing",
    "storage_errors",
    "sync_folder",
    "write_json",
    "write_table",
]

_LARGEST_JSON = 1 << 28
_CHECKSUM = "sha256"


def remove_parts(folder: Path, names: Iterable[str]) -> None:
    """Remove what `replacing` left unfinished when its process was killed."""
    for name in names:
        for part in folder.glob(f".{glob.escape(name)}.*part"):
            part.unlink(missing_ok=True)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file whole or not at all, a checksum beside every page."""
    with replacing(path) as temporary, writing(temporary) as file:
        pq.write_table(table, file, write_page_checksum=True)


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file, and compare the checksums that it has.

    Raises
    ------
    CorruptFileError
        If it is damaged, or claims more than its size allows.
    EncryptionError
        If it is encrypted, and the key is missing or another one.
    """
    try:
        return read_columns(path)
    except StorageError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CorruptFileError(f"{path} is damaged or missing ({error})") from error


def read_array(path: Path, n_rows: int) -> NDArray[Any]:
    """Read a matrix, mapped where it is not encrypted.

    Raises
    ------
    CorruptFileError
        If it is damaged, or has not as many rows as faces.
    """
    try:
        array = load_array(path, mmap=n_rows > 0)
        if array.ndim != 2 or len(array) != n_rows or array.dtype.kind != "f":
            raise ValueError(f"it holds {array.dtype} of shape {array.shape} for {n_rows} faces")
    except StorageError:
        raise
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise CorruptFileError(f"{path} is damaged or missing ({error})") from error
    return array


def count_rows(path: Path) -> int:
    """Return how many rows a Parquet file has, without reading them."""
    with reading(path) as source:
        rows: int = pq.read_metadata(source).num_rows
    return rows


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object whole or not at all, its checksum in it."""
    whole = {**value, _CHECKSUM: _json_digest(value)}
    with replacing(path) as temporary:
        write_bytes(temporary, (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, and compare its checksum where it has one.

    Raises
    ------
    CorruptFileError
        If it is damaged, or far larger than anything that is written.
    EncryptionError
        If it is encrypted, and the key is missing or another one.
    """
    try:
        value = json.loads(read_bytes(path, _LARGEST_JSON))
    except StorageError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} is damaged or missing ({error})") from error
    if not isinstance(value, dict):
        raise CorruptFileError(f"{path} holds no JSON object")
    checksum = value.pop(_CHECKSUM, None)
    if checksum not in (None, _json_digest(value)):
        raise CorruptFileError(
            f"{path} is damaged: its checksum is not that of what it says (if it was changed on"
            f" purpose, take {_CHECKSUM!r} out of it)"
        )
    return value


def _json_digest(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def content_sha256(path: Path) -> str:
    """Return the SHA-256 of what a file holds, decrypted where it is encrypted."""
    with reading(path) as source:
        if isinstance(source, Path):
            return file_sha256(source)
        return _digest(source)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return _digest(file)


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
