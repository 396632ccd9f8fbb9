"""Files of run folders, encrypted or not: one way to read and to write both."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from fastface import private
from fastface.errors import CorruptFileError
from fastface.vault.keys import make_key, unlock
from fastface.vault.sealed import MAGIC, SealedReader, SealedWriter

__all__ = [
    "ENCRYPTION_FILE",
    "is_encrypted",
    "load_array",
    "read_bytes",
    "reading",
    "seal_folder",
    "write_bytes",
    "writing",
]

ENCRYPTION_FILE = "encryption.json"
_DEEPEST = 3  # shards/00000000/faces.parquet


def is_encrypted(folder: Path) -> bool:
    """Say whether what is written into a run folder is encrypted."""
    return (folder / ENCRYPTION_FILE).is_file()


def seal_folder(folder: Path) -> None:
    """Make a new run folder an encrypted one: all that is written into it from now on.

    Raises
    ------
    EncryptionError
        If the environment gives no key.
    MissingDependencyError
        If the package `cryptography` is not installed.
    """
    make_key(folder / ENCRYPTION_FILE)


def _lock_of(path: Path) -> Path | None:
    for folder in list(path.parents)[:_DEEPEST]:
        if (folder / ENCRYPTION_FILE).is_file():
            return folder / ENCRYPTION_FILE
    return None


def _is_sealed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _open(path: Path) -> BinaryIO:
    lock = _lock_of(path)
    if lock is None:
        raise CorruptFileError(f"{path} is encrypted, and the {ENCRYPTION_FILE} beside it is gone")
    return cast(BinaryIO, io.BufferedReader(SealedReader(path, unlock(lock)), 1 << 16))


@contextmanager
def reading(path: Path) -> Iterator[Path | BinaryIO]:
    """Give what Arrow and NumPy can read: the path, or an open file that decrypts.

    Raises
    ------
    EncryptionError
        If the file is encrypted and the environment gives no key, or another one.
    CorruptFileError
        If it is encrypted and damaged: here or while it is read.
    """
    if not _is_sealed(path):
        yield path
        return
    with _open(path) as file:
        yield file


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Read a whole file.

    Parameters
    ----------
    path : Path
    limit : int, optional
        Bytes; a larger file is refused by ValueError before it is read.
    """
    if limit is not None and path.stat().st_size > limit:
        raise ValueError(f"it has {path.stat().st_size:,} bytes, more than {limit:,}")
    with reading(path) as source:
        return source.read_bytes() if isinstance(source, Path) else source.read()


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for its owner alone that encrypts what is written where its folder says so."""
    lock = _lock_of(path)
    key = None if lock is None else unlock(lock)
    with private.create(path) as file:
        if key is None:
            yield file
        else:
            with SealedWriter(file, key) as sealed:
                yield cast(BinaryIO, sealed)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file."""
    with writing(path) as file:
        file.write(content)


def load_array(path: Path, *, mmap: bool = False) -> NDArray[Any]:
    """Read a ``.npy`` file, never a pickle; an encrypted one is held in memory as a whole.

    Parameters
    ----------
    path : Path
    mmap : bool
        Map the file where it is not encrypted.
    """
    with reading(path) as source:
        mapped = mmap and isinstance(source, Path)
        array: NDArray[Any] = np.load(source, mmap_mode="r" if mapped else None, allow_pickle=False)
    return array
