"""Files that are costly to make and can be made again, kept in the user's cache directory.

A file's name ends in the SHA-256 of its own bytes.  So a file is whole or it is not used, two
processes that make the same file at once cannot harm each other, and one `os.replace` is all that
publishing takes.  Locks only save work: of several processes that want one file, one makes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastface.errors import StorageError
from fastface.storage import replacing

__all__ = ["CachedFile", "cache_directory", "cached", "locked", "write_file"]

_HASH = "[0-9a-f]{64}"
_ADVICE = "Make room or set FASTFACE_CACHE_DIR to a folder that can be written"


@dataclass(frozen=True)
class CachedFile:
    """A file in the cache and the SHA-256 its bytes were just seen to have."""

    path: Path
    sha256: str


def cache_directory() -> Path:
    """Return where cached files go; it need not exist.

    ``FASTFACE_CACHE_DIR`` if set; else ``fastface`` in the platform's place for caches:
    ``XDG_CACHE_HOME`` or ``~/.cache``, on macOS ``~/Library/Caches``, on Windows ``LOCALAPPDATA``.
    """
    if chosen := os.environ.get("FASTFACE_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    return _platform_cache() / "fastface"


def _platform_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches"
    configured = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification tells programs to ignore relative paths.
    return Path(configured) if os.path.isabs(configured) else _home() / ".cache"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise StorageError(
            f"no cache directory: {error}; set FASTFACE_CACHE_DIR to a folder that can be written"
        ) from error


def cached(key: str, suffix: str, build: Callable[[], bytes]) -> CachedFile:
    """Return a file of the cache, made now if it is not there or not whole.

    Parameters
    ----------
    key : str
        Names what the bytes depend on, all of it; part of the file's name.
    suffix : str
        Ending of the name, such as ``".onnx"``.
    build : callable
        Returns the bytes; called only where no whole file is found, and by one process at a time:
        others wait and take what it made.

    Returns
    -------
    CachedFile

    Raises
    ------
    StorageError
        If the cache directory cannot be used.
    """
    folder = cache_directory()
    try:
        if found := _find_whole(folder, key, suffix):
            return found
        with locked(key + suffix):
            found = _find_whole(folder, key, suffix)
            return found or _publish(folder, key, suffix, build())
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"cannot use the cache directory {folder}: {error.strerror or error}. {_ADVICE}"
        ) from error


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock that other processes and threads wait for.

    The system lets it go when its holder dies, however it dies, so nobody waits for the dead.

    Parameters
    ----------
    name : str
        What is locked; any text.

    Raises
    ------
    OSError
        If the cache directory cannot be written.
    """
    folder = cache_directory() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(name.encode()).hexdigest()[:32]
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Some network file systems know no locks: work may then be done twice, never wrongly.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _find_whole(folder: Path, key: str, suffix: str) -> CachedFile | None:
    """Return the file of that key whose bytes still hash to its name; remove damaged ones."""
    if not folder.is_dir():
        return None
    pattern = re.compile(f"{re.escape(key)}-({_HASH}){re.escape(suffix)}")
    for path in sorted(folder.iterdir()):
        if match := pattern.fullmatch(path.name):
            if _hash_file(path) == match[1]:
                return CachedFile(path, match[1])
            path.unlink(missing_ok=True)
    return None


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:  # another process found it damaged first
        return ""
    return digest.hexdigest()


def _publish(folder: Path, key: str, suffix: str, data: bytes) -> CachedFile:
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / f"{key}-{sha256}{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path, _ADVICE) as partial:
        partial.write_bytes(data)
    return CachedFile(path, sha256)


def write_file(path: Path, data: bytes) -> None:
    """Write a file of the user's, whole or not at all; an existing one is replaced.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_bytes(data)
        partial.chmod(0o644)  # no biometric data: as public as a file that a copy makes
