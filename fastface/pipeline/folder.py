"""The run folder: who may work in it, and whether it is the right one."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastface.errors import CorruptFileError, RunLockedError, RunMismatchError, StorageError
from fastface.pipeline.storage import read_json, storage_errors, write_json

__all__ = ["RunFolder"]

_JOB = "job.json"
_LOCK = ".lock"
_FORMAT = "fastface-run"


class RunFolder:
    """One folder of results.

    ``job.json`` says from the first moment what the folder is for: the parameters and the listing
    of photos.  ``run.json`` appears last and says that everything else is there.

    Parameters
    ----------
    path : Path
        The folder; made by `open`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def shards(self) -> Path:
        """Where finished pieces of an unfinished job wait."""
        return self.path / "shards"

    @property
    def finished(self) -> bool:
        """Whether the job has ended."""
        return (self.path / "run.json").is_file()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def open(self, job: Mapping[str, Any], *, force: bool) -> Iterator[None]:
        """Hold the folder for one job, made if it is not there.

        Parameters
        ----------
        job : mapping
            ``parameters`` and ``photos``, as JSON can hold them.
        force : bool
            Start anew where the folder was made by another job.

        Raises
        ------
        StorageError
            If the folder belongs to something else or cannot be written.
        RunLockedError
            If another process is working in it.
        RunMismatchError
            If it was made by another job and `force` is not set.
        """
        with storage_errors(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise StorageError(f"{self.path} is a file; give a folder for --out")
            self._refuse_foreign()
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                # The system drops the lock with the process, however that ends.
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunLockedError(
                    f"another process is working in {self.path}: wait for it, or give another --out"
                ) from None
            self._adopt(job, force)
            yield
        finally:
            os.close(handle)

    def _refuse_foreign(self) -> None:
        if not self.path.is_dir() or (self.path / _JOB).is_file():
            return
        others = sorted(p.name for p in self.path.iterdir() if p.name != _LOCK)
        if any(not name.startswith(f".{_JOB}.") for name in others):
            raise StorageError(
                f"{self.path} holds {others[0]!r} and is no run folder: give a new or empty folder"
            )

    def _adopt(self, job: Mapping[str, Any], force: bool) -> None:
        path = self.path / _JOB
        if path.is_file():
            difference = _difference(_read_job(path), job)
            if difference and not force:
                raise RunMismatchError(
                    f"{self.path} was made with {difference}. Give another --out, or --force to"
                    " replace it"
                )
            if not force:
                return
            self._clear()
        with storage_errors(self.path):
            self.shards.mkdir(exist_ok=True)
        write_json(path, {"format": _FORMAT, **job})

    def _clear(self) -> None:
        """Remove what this package wrote, and nothing else; the verdict of completeness first."""
        with storage_errors(self.path):
            (self.path / "run.json").unlink(missing_ok=True)
            for name in ("shards", "report"):
                shutil.rmtree(self.path / name, ignore_errors=False) if (
                    self.path / name
                ).is_dir() else None
            for name in ("faces", "people", "skipped", "crops"):
                (self.path / f"{name}.parquet").unlink(missing_ok=True)
            (self.path / "embeddings.npy").unlink(missing_ok=True)


def _read_job(path: Path) -> Any:
    job = read_json(path)
    if job.get("format") != _FORMAT or not isinstance(job.get("parameters"), dict):
        raise CorruptFileError(f"{path} does not describe a run: give another --out")
    return job


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in a few words what differs between two jobs, or nothing."""
    old, new = before["parameters"], now["parameters"]
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            return f"{name} {old.get(name)!r}, not {new.get(name)!r}"
    old_photos = {photo[0]: photo for photo in before.get("photos", [])}
    new_photos = {photo[0]: photo for photo in now["photos"]}
    added = sorted(new_photos.keys() - old_photos.keys())
    removed = sorted(old_photos.keys() - new_photos.keys())
    changed = sorted(
        name
        for name in old_photos.keys() & new_photos.keys()
        if list(old_photos[name]) != list(new_photos[name])
    )
    parts = [
        f"{len(names)} photos {what} since (such as {names[0]!r})"
        for what, names in (("added", added), ("removed", removed), ("changed", changed))
        if names
    ]
    return "other photos: " + ", ".join(parts) if parts else ""
