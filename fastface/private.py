"""Files and folders for their owner's eyes alone: faces and embeddings are biometric data.

A permissive umask changes nothing about them: the mode is asked for when a file is made, and a
umask can only take rights away.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["ExposedWarning", "create", "exposed", "make_folder", "tell_exposed", "write"]

_FOLDER = 0o700
_FILE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class ExposedWarning(UserWarning):
    """Other users of the machine may read faces or what was made of them."""


def create(path: Path) -> BinaryIO:
    """Open a new file for writing that its owner alone may read; one that is there is emptied."""
    return open(path, "wb", opener=_open)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags, _FILE)


def write(path: Path, content: bytes | str) -> None:
    """Write a file that its owner alone may read; text as UTF-8, its lines as they are."""
    with create(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def make_folder(path: Path, *, parents: bool = False, exist_ok: bool = False) -> None:
    """Make a folder that its owner alone may enter; so are the parents made for it."""
    if parents and not path.parent.exists():
        make_folder(path.parent, parents=True, exist_ok=True)
    path.mkdir(mode=_FOLDER, exist_ok=exist_ok)


def exposed(folder: Path) -> list[Path]:
    """Return what other users may read or change.

    A folder that nobody else may enter protects all that is in it, so nothing is looked for there.

    Parameters
    ----------
    folder : Path
        A run folder, or any other.

    Returns
    -------
    list of Path
        The folder itself, and the files and folders in it that others have rights on; empty where
        the folder is closed to them.
    """
    return [path for path in _walk(folder) if path == folder or _has_rights(path)]


def _walk(path: Path) -> Iterator[Path]:
    if not _has_rights(path):
        return
    yield path
    if path.is_dir() and not path.is_symlink():
        for inner in sorted(path.iterdir()):
            yield from _walk(inner)


def _has_rights(path: Path) -> bool:
    status = os.lstat(path)
    return not stat.S_ISLNK(status.st_mode) and bool(status.st_mode & _OTHERS)


def tell_exposed(folder: Path) -> None:
    """Warn if a folder holds anything that others may read; how to close it is in the warning."""
    open_ones = [path for path in exposed(folder) if path != folder]
    if open_ones:
        warnings.warn(
            f"other users of this machine may read {len(open_ones)} files and folders in {folder},"
            f" such as {open_ones[0].name}: chmod -R go= closes it",
            ExposedWarning,
            stacklevel=2,
        )
