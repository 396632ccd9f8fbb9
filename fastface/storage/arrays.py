"""One file for a header and a few arrays: an ``.npz`` whose arrays can be memory-mapped.

The archive is stored, not compressed, and every array begins at a multiple of 64 bytes, so that a
reader may map it in place; NumPy itself reads the file too.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fastface.errors import CorruptFileError, StorageError
from fastface.storage.files import replacing

__all__ = ["read_arrays", "write_arrays"]

_HEADER = "header.json"
_ALIGNMENT = 64
_LOCAL_HEADER = 30  # fixed part of a member's header inside a zip archive
_ZIP64_EXTRA = 20  # what zipfile puts in front of our padding when sizes may exceed 4 GiB
_PADDING_ID = 0xD935  # the identifier Android's zipalign gives to such padding


def _aligned_member(name: str, position: int) -> zipfile.ZipInfo:
    """Describe a member whose contents will start at a multiple of the alignment."""
    start = position + _LOCAL_HEADER + len(name) + _ZIP64_EXTRA + 4
    padding = -start % _ALIGNMENT
    member = zipfile.ZipInfo(name)
    member.extra = struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
    return member


def write_arrays(
    path: Path, header: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write the file, whole or not at all.

    Parameters
    ----------
    path : Path
        The file, replaced if it is there.
    header : mapping
        Anything JSON can hold.
    arrays : mapping of str to ndarray
        Arrays without objects.

    Raises
    ------
    StorageError
        If it cannot be written; what was there before stays.
    """
    with (
        replacing(path) as partial,
        partial.open("rb+") as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        archive.writestr(zipfile.ZipInfo(_HEADER), json.dumps(dict(header)))
        for name, array in arrays.items():
            member = _aligned_member(f"{name}.npy", file.tell())
            with archive.open(member, "w", force_zip64=True) as stream:
                npy.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def read_arrays(path: Path, *, mmap: bool) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a file of `write_arrays`.

    Parameters
    ----------
    path : Path
        The file.
    mmap : bool
        Map the arrays read-only instead of reading them: their checksums are then not compared.

    Returns
    -------
    header : dict
        What was written.
    arrays : dict of str to ndarray
        What was written.

    Raises
    ------
    StorageError
        If there is no such file, or it cannot be opened.
    CorruptFileError
        If it is truncated, damaged or of another kind.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise StorageError(f"there is no file {path}") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    with file:
        try:
            with zipfile.ZipFile(file) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise ValueError("it is compressed")
                header = json.loads(archive.read(_HEADER))
                if not isinstance(header, dict):
                    raise ValueError("its header is not a JSON object")
                arrays = {
                    member.filename.removesuffix(".npy"): (
                        _map(path, file, member) if mmap else _read(archive, member)
                    )
                    for member in archive.infolist()
                    if member.filename.endswith(".npy")
                }
        # zipfile and NumPy report damage by a dozen unrelated types, TokenError among them.
        except Exception as error:
            raise CorruptFileError(
                f"{path} is truncated, damaged or of another kind: {error}"
            ) from error
    return header, arrays


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as stream:
        array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
        if stream.read(1):  # reaching the end is also what makes zipfile compare the checksum
            raise ValueError(f"{member.filename} is longer than it says")
    return array


def _map(path: Path, file: IO[bytes], member: zipfile.ZipInfo) -> NDArray[Any]:
    file.seek(member.header_offset)
    fixed = file.read(_LOCAL_HEADER)
    name_length, extra_length = struct.unpack("<HH", fixed[26:30])
    file.seek(name_length + extra_length, os.SEEK_CUR)
    version = npy.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"{member.filename} has npy version {version}")
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    if fortran or dtype.hasobject:
        raise ValueError(f"{member.filename} cannot be mapped")
    if not np.prod(shape):
        return np.empty(shape, dtype)  # nothing to map
    return np.memmap(path, dtype=dtype, mode="r", offset=file.tell(), shape=shape)
