"""Files that are there are whole: written beside their name, synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastface.errors import StorageError

__all__ = ["replacing", "storage_errors", "sync_folder"]

_PRIVATE = 0o600
_ADVICE = "Finished work is kept: make room or give permission, and run the same command again"


@contextmanager
def storage_errors(path: Path, advice: str = _ADVICE) -> Iterator[None]:
    """Turn the operating system's complaints into one that says what to do."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}. {advice}") from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path, advice: str = _ADVICE) -> Iterator[Path]:
    """Give an empty temporary file to fill, which then takes the name.

    The temporary file is its owner's alone, and locked while it is filled.  What a killed process
    left behind has the same name and no lock, and is used again: nothing piles up.

    Parameters
    ----------
    path : Path
        The file; replaced if it is there.
    advice : str
        What to do where it cannot be written.

    Yields
    ------
    Path
        The temporary file, to be opened and written, not to be replaced itself.

    Raises
    ------
    StorageError
        If it cannot be written; what was at `path` before is then still there.
    """
    with storage_errors(path, advice):
        handle, temporary = _open_part(path)
        try:
            try:
                yield temporary
                os.fsync(handle)
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
        finally:
            os.close(handle)
        sync_folder(path.parent)


def _open_part(path: Path) -> tuple[int, Path]:
    """Return an empty file that nobody else writes, held open, and its name."""
    usual = path.with_name(f".{path.name}.part")
    handle = os.open(usual, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE)
    if _is_ours(handle, usual):
        with contextlib.suppress(PermissionError):  # a file system that knows no modes
            os.fchmod(handle, _PRIVATE)
        os.ftruncate(handle, 0)
        return handle, usual
    os.close(handle)
    # Another process is writing the same file at this moment: the last one wins, whole.
    other = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    return os.open(other, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE), other


def _is_ours(handle: int, path: Path) -> bool:
    """Lock an open file; say whether that worked and it still has its name."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:  # renamed by the one who held it until now
        return False
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.ENOLCK, errno.EOPNOTSUPP):
            return False  # without locks, names of one's own keep writers apart
        raise
    return os.path.samestat(status, os.fstat(handle))
