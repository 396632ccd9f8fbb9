"""Build a folder out of sight and put it in place whole."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastface.errors import RunLockedError, StorageError
from fastface.private import make_folder, write

# The file by which a folder is known as ours, and may be replaced.
MARKER = ".fastface-report"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill that becomes `target` when the block ends well.

    An older report at `target` stays until then, and stays for good if the block fails.

    Raises
    ------
    RunLockedError
        If another process is building the same folder.
    StorageError
        If `target` is there and is not a report, or if the disk refuses.
    """
    refuse_foreign(target)
    building = target.with_name(f".{target.name}-building")
    retired = target.with_name(f".{target.name}-retired")
    try:
        lock = _lock(building)
        try:
            _empty(building)  # what a killed process left
            write(building / MARKER, "A report written by fastface.\n")
            yield building
            refuse_foreign(target)
            _swap(building, target, retired)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        finally:
            os.close(lock)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"The report cannot be written to {target}: {error.strerror or error}. "
            f"Free some space or allow writing there, then run `fastface report` again."
        ) from error


def refuse_foreign(target: Path) -> None:
    """Raise `StorageError` if something is at `target` that fastface did not write."""
    if not os.path.lexists(target):
        return
    is_folder = target.is_dir() and not target.is_symlink()
    if is_folder and ((target / MARKER).is_file() or not any(target.iterdir())):
        return
    raise StorageError(
        f"{target} is there and was not written by fastface, so it is left alone. "
        f"Move it away, then run `fastface report` again."
    )


def _lock(building: Path) -> int:
    """Make `building` and hold it; the lock goes with the process, even a killed one."""
    while True:
        make_folder(building, exist_ok=True)
        descriptor = os.open(building, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have moved it into place between the two steps above.
            if building.exists() and os.path.samestat(building.stat(), os.fstat(descriptor)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise RunLockedError(
                f"Another process is writing the report in {building.parent}. "
                f"Wait until it has finished."
            ) from None
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _swap(building: Path, target: Path, retired: Path) -> None:
    shutil.rmtree(retired, ignore_errors=True)
    if not target.exists():
        building.rename(target)
        return
    target.rename(retired)
    try:
        building.rename(target)
    except BaseException:
        retired.rename(target)
        raise
    shutil.rmtree(retired, ignore_errors=True)
