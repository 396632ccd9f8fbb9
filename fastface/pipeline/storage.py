"""Files that are there are whole: written beside their name, synced, then renamed."""

from __future__ import annotations

import glob
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastface.errors import CorruptFileError, StorageError
from fastface.vault import load_array, read_bytes, read_columns, reading, write_bytes, writing

__all__ = [
    "count_rows",
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

_PART = ".part"
_LARGEST_JSON = 1 << 28


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's complaints into one that says what to do."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. Finished work is kept:"
            " make room or give permission, and run the same command again"
        ) from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file to fill, which then takes the name.

    Raises
    ------
    StorageError
        If it cannot be written; what was at `path` before is then still there.
    """
    with storage_errors(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def remove_parts(folder: Path, names: Iterable[str]) -> None:
    """Remove what `replacing` left unfinished when its process was killed."""
    for name in names:
        for part in folder.glob(f".{glob.escape(name)}.*{_PART}"):
            part.unlink(missing_ok=True)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file whole or not at all."""
    with replacing(path) as temporary, writing(temporary) as file:
        pq.write_table(table, file)


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file.

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
    except (OSError, ValueError) as error:
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


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    with replacing(path) as temporary:
        write_bytes(temporary, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON object.

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
    return value
