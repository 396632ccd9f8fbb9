"""The run folder: who may work in it, and whether it is the right one."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from fastface.errors import CorruptFileError, RunLockedError, RunMismatchError, StorageError
from fastface.pipeline.forgotten import FORGETTING, FORGETTING_PART, FORGOTTEN_FILE, REQUEST_FILE
from fastface.pipeline.history import HISTORY_FILE
from fastface.pipeline.listing import describe_difference, listing_digest
from fastface.pipeline.names import NAMES_FILE, keep_names
from fastface.pipeline.storage import (
    read_json,
    read_table,
    remove_parts,
    storage_errors,
    sync_folder,
    write_json,
    write_table,
)
from fastface.private import make_folder, tell_exposed
from fastface.vault import ENCRYPTION_FILE, is_encrypted, seal_folder

__all__ = ["Job", "RunFolder"]

_JOB = "job.json"
_LOCK = ".lock"
_PHOTOS = "photos.parquet"
_SUMMARY = "run.json"
_DISCARDED = ".discarded"
_FORMAT = "fastface-run"
_TABLES = (
    "faces.parquet",
    "people.parquet",
    "skipped.parquet",
    "crops.parquet",
    "embeddings.npy",
)
# Not missed where a folder of an earlier version lacks it.
_QUESTIONS = "questions.parquet"
_KEPT = (NAMES_FILE, HISTORY_FILE, FORGOTTEN_FILE)
_FILES = (_JOB, _PHOTOS, _SUMMARY, _QUESTIONS, *_KEPT, *_TABLES)


@dataclass(frozen=True)
class Job:
    """What a run folder is for.

    Attributes
    ----------
    parameters : mapping
        Everything that the results depend on, as JSON can hold it.
    versions : mapping of str to str
        Of the packages that the results of a shard depend on.
    photos : pyarrow.Table
        From `photos_table`.
    """

    parameters: Mapping[str, Any]
    versions: Mapping[str, str]
    photos: pa.Table

    @cached_property
    def digest(self) -> str:
        """Fingerprint of the photos."""
        return listing_digest(self.photos)


class RunFolder:
    """One folder of results.

    ``job.json`` says from the first moment what the folder is for.  ``run.json`` appears last and
    says that everything else is there.

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
        return (self.path / _SUMMARY).is_file()

    @property
    def encrypted(self) -> bool:
        """Whether its files are encrypted."""
        return is_encrypted(self.path)

    @property
    def report_is_current(self) -> bool:
        """Whether there is a report, and people were given no names since it was written."""
        try:
            written = (self.path / "report" / "index.html").stat().st_mtime_ns
            return written >= (self.path / "people.parquet").stat().st_mtime_ns
        except OSError:
            return False

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def open(self, job: Job, *, force: bool, encrypt: bool = False) -> Iterator[None]:
        """Hold the folder for one job, made if it is not there.

        Parameters
        ----------
        job : Job
            What the folder shall be for.
        force : bool
            Start anew, whatever another job left.
        encrypt : bool
            A new folder is to be encrypted; an old one must be.

        Raises
        ------
        StorageError
            If the folder belongs to something else or cannot be written.
        RunLockedError
            If another process is working in it.
        RunMismatchError
            If it was made by another job and `force` is not set.
        CorruptFileError
            If a part of it is damaged or missing.
        """
        with storage_errors(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise StorageError(f"{self.path} is a file; give a folder for --out")
            self._refuse_foreign()
            # Faces of people: for nobody's eyes but the owner's.
            make_folder(self.path, parents=True, exist_ok=True)
            handle = self._open_lock()
        try:
            self._lock(handle)
            self._seal(encrypt)
            self._adopt(job, force)
            tell_exposed(self.path)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold a run folder that is there, whatever it is for.

        Raises
        ------
        StorageError
            If it is no run folder.
        RunLockedError
            If another process is working in it.
        """
        if not (self.path / _JOB).is_file():
            raise StorageError(
                f"{self.path} is no run folder: give one that `fastface run PHOTOS --out FOLDER`"
                " made"
            )
        with storage_errors(self.path):
            handle = self._open_lock()
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def _open_lock(self) -> int:
        # Never through a link, which could lead anywhere.
        return os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def _refuse_foreign(self) -> None:
        if not self.path.is_dir() or (self.path / _JOB).is_file():
            return
        others = sorted(p.name for p in self.path.iterdir())
        # A process that was killed at its very first steps leaves nothing but these.
        parts = tuple(f".{name}." for name in (_JOB, ENCRYPTION_FILE))
        ours = (_LOCK, ENCRYPTION_FILE)
        foreign = [name for name in others if name not in ours and not name.startswith(parts)]
        if foreign:
            raise StorageError(
                f"{self.path} holds {foreign[0]!r} and is no run folder: give a new or empty folder"
            )

    def _lock(self, handle: int) -> None:
        try:
            # The system drops the lock with the process, however that ends.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise RunLockedError(
                    f"another process is working in {self.path}: wait for it, or give another --out"
                ) from None
            raise StorageError(
                f"the file system of {self.path} does not lock files ({error.strerror}):"
                " give an --out on another one"
            ) from error

    def _seal(self, encrypt: bool) -> None:
        if not encrypt or is_encrypted(self.path):
            return
        if (self.path / _JOB).is_file():
            raise RunMismatchError(
                f"{self.path} was made without encryption, and what is on disk already would stay"
                " readable: give another --out"
            )
        with storage_errors(self.path):
            seal_folder(self.path)

    def _adopt(self, job: Job, force: bool) -> None:
        """Make the folder this job's: continue it, begin it, or refuse."""
        with storage_errors(self.path):
            self._remove_leftovers()
            _remove_tree(self.path / FORGETTING_PART)
            self.finish_forgetting()
            _remove_tree(self.path / FORGETTING)
        if (self.path / _JOB).is_file():
            before = _read_job(self.path / _JOB)
            if force:
                self._clear()
            else:
                self._compare(before, job)
        # A process may be killed between any two steps: each is made if it was not.
        if force or not (self.path / _JOB).is_file():
            write_json(
                self.path / _JOB,
                {
                    "format": _FORMAT,
                    "parameters": dict(job.parameters),
                    "versions": dict(job.versions),
                    "photos": {"count": job.photos.num_rows, "sha256": job.digest},
                },
            )
        if not (self.finished and (self.path / _PHOTOS).is_file()):
            write_table(self.path / _PHOTOS, job.photos)
        if not self.finished:
            with storage_errors(self.path):
                make_folder(self.shards, exist_ok=True)

    def _remove_leftovers(self) -> None:
        """Remove what a process that was killed had not put in place, or not removed yet."""
        remove_parts(self.path, _FILES)
        _remove_tree(self.path / _DISCARDED)

    def _compare(self, before: Mapping[str, Any], job: Job) -> None:
        """Raise where the folder was made by another job, or is not whole."""
        difference = _first_difference(before["parameters"], job.parameters)
        if not difference and not self.finished:
            difference = _first_difference(before["versions"], job.versions)
        if not difference and before["photos"].get("sha256") != job.digest:
            difference = "other photos"
            if (self.path / _PHOTOS).is_file():
                listed = read_table(self.path / _PHOTOS)
                difference += f": {describe_difference(listed, job.photos)}"
        if difference:
            raise RunMismatchError(
                f"{self.path} was made with {difference}. Give another --out, or --force to"
                " replace it"
            )
        if self.finished:
            missing = [name for name in _TABLES if not (self.path / name).is_file()]
            if missing:
                raise CorruptFileError(
                    f"{self.path} is a finished run without its {missing[0]}: put it back, or make"
                    " everything anew with --force"
                )

    def _clear(self) -> None:
        """Remove what this package wrote, and nothing else; the verdict of completeness first."""
        with storage_errors(self.path):
            keep_names(self.path)
            (self.path / _SUMMARY).unlink(missing_ok=True)
            for made_of_it in ("report", "attributes"):
                self._discard(self.path / made_of_it)
            for name in (*_TABLES, _QUESTIONS, _PHOTOS):
                (self.path / name).unlink(missing_ok=True)
        self.discard_shards()

    def finish_forgetting(self) -> int:
        """Put in place what `fastface forget` prepared; may be called again at any time.

        Returns
        -------
        int
            How many shards were removed, which another listing of photos makes worthless.
        """
        staged = self.path / FORGETTING
        if not (staged / REQUEST_FILE).is_file():
            return 0
        request = read_json(staged / REQUEST_FILE)
        with storage_errors(self.path):
            self._remove_leftovers()
            if (staged / _SUMMARY).is_file():  # until it is in place nobody may read the tables
                (self.path / _SUMMARY).unlink(missing_ok=True)
            for name in request["discard"]:
                self._discard(self.path / name)
            later = [s for s in self.shards.glob("[0-9]*") if int(s.name) >= request["first_shard"]]
            for shard in later:
                self._discard(shard)
            for path in sorted(staged.iterdir(), key=lambda path: path.name == _SUMMARY):
                if path.name != REQUEST_FILE:
                    os.replace(path, self.path / path.name)
            sync_folder(self.path)
        return len(later)

    def tidy(self) -> None:
        """Remove what only an unfinished job needs."""
        self.discard_shards()
        with storage_errors(self.path):
            (self.path / NAMES_FILE).unlink(missing_ok=True)

    def discard_shards(self) -> None:
        """Remove all shards."""
        with storage_errors(self.shards):
            self._discard(self.shards)

    def _discard(self, folder: Path) -> None:
        """Remove a folder that is at one moment whole and at the next not there."""
        if folder.is_dir():
            os.replace(folder, self.path / _DISCARDED)
            _remove_tree(self.path / _DISCARDED)


def _remove_tree(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _read_job(path: Path) -> Any:
    job = read_json(path)
    parts = [job.get(name) for name in ("parameters", "versions", "photos")]
    if job.get("format") != _FORMAT or not all(isinstance(part, dict) for part in parts):
        raise CorruptFileError(f"{path} does not describe a run: give another --out")
    return job


def _first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in a few words what differs, or nothing."""
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            return f"{name} {old.get(name)!r}, not {new.get(name)!r}"
    return ""
