"""Find the photos of a folder, in an order that does not depend on the file system."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fastface.errors import InvalidInputError
from fastface.faces.formats import PHOTO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PhotoListing", "SkippedFile", "find_photos"]

# Previews that network drives and archives keep beside photos: copies of what is found anyway.
_PREVIEW_FOLDERS = frozenset(["@eaDir", "__MACOSX"])

_FileId = tuple[int, int]


class SkippedFile(NamedTuple):
    """A file or folder that was passed over, and why.

    Attributes
    ----------
    file : str
        Relative POSIX path.
    reason : str
        A short code.
    message : str
        The same for a person.
    """

    file: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class PhotoListing:
    """What `find_photos` found.

    Attributes
    ----------
    root : Path
        The folder that names are relative to.
    photos : list of str
        Relative POSIX paths, sorted by code point, valid UTF-8.
    skipped : list of SkippedFile
        Things that look like photos but cannot be, sorted by name.
    """

    root: Path
    photos: list[str]
    skipped: list[SkippedFile]


def find_photos(
    folder: str | os.PathLike[str], *, exclude: Iterable[str | os.PathLike[str]] = ()
) -> PhotoListing:
    """List the photos under a folder.

    Files are chosen by extension (`fastface.faces.formats.PHOTO_SUFFIXES`, either case).  Hidden
    files and folders, other extensions, and the preview folders ``@eaDir`` and ``__MACOSX`` are
    ignored without a word.

    Symbolic links are followed.  Every real folder is walked once, after all folders that are
    reached without a link, so that loops end and a photo keeps its plain name; a linked photo
    is listed only if it is not found under the folder anyway.

    Parameters
    ----------
    folder : path-like
        A folder, or one file, which is listed whatever its extension.
    exclude : iterable of path-like
        Folders not to walk, such as the output of an earlier run.  Those that do not exist
        are ignored.

    Returns
    -------
    PhotoListing
        Skip reasons: ``"unreadable"`` (no permission, broken link), ``"not_a_file"`` (a pipe or
        device), ``"bad_name"`` (not UTF-8: tables could not hold it).

    Raises
    ------
    InvalidInputError
        The folder is missing, cannot be read, is no folder or file, or is itself excluded.
    """
    root = Path(folder)
    status = _stat_root(root)
    if stat.S_ISREG(status.st_mode):
        return _list_single_file(root)
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidInputError(f"{root} is neither a folder nor a file; give a folder of photos")
    excluded = _identify_all(exclude)
    if _identity(status) in excluded:
        raise InvalidInputError(
            f"{root} holds the photos and is excluded too; choose another output folder"
        )
    if not os.access(root, os.R_OK | os.X_OK):
        raise InvalidInputError(f"no permission to read {root}")
    walk = _Walk(root, excluded)
    walk.run()
    return PhotoListing(root, sorted(walk.photos), sorted(walk.skipped))


def _stat_root(root: Path) -> os.stat_result:
    try:
        return os.stat(root)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        why = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{root} cannot be read: {why}; give a folder of photos") from error


def _list_single_file(path: Path) -> PhotoListing:
    if not _is_utf8(path.name):
        return PhotoListing(path.parent, [], [_bad_name(path.name)])
    return PhotoListing(path.parent, [path.name], [])


def _identity(status: os.stat_result) -> _FileId:
    return status.st_dev, status.st_ino


def _identify_all(paths: Iterable[str | os.PathLike[str]]) -> set[_FileId]:
    found = set()
    for path in paths:
        with contextlib.suppress(OSError):
            found.add(_identity(os.stat(path)))
    return found


def _is_utf8(name: str) -> bool:
    # The file system's undecodable bytes arrive as lone surrogates (PEP 383).
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _bad_name(relative: str) -> SkippedFile:
    shown = relative.encode("utf-8", "backslashreplace").decode("utf-8")
    return SkippedFile(shown, "bad_name", "the name is not UTF-8; rename it")


@dataclass(slots=True)
class _Walk:
    """One breadth-first pass over a tree; links wait until the plain tree is done."""

    root: Path
    excluded: set[_FileId]
    photos: list[str] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    visited: set[_FileId] = field(default_factory=set)
    linked_folders: deque[str] = field(default_factory=deque)
    linked_files: list[str] = field(default_factory=list)

    def run(self) -> None:
        self._walk_tree("")
        while self.linked_folders:
            self.linked_folders = deque(sorted(self.linked_folders))
            self._walk_tree(self.linked_folders.popleft())
        self._add_linked_files()

    def _walk_tree(self, top: str) -> None:
        """Visit a folder and all below it that needs no link, once each."""
        pending = deque([top])
        while pending:
            relative = pending.popleft()
            try:
                identity = _identity(os.stat(self.root / relative))
                if identity in self.visited or identity in self.excluded:
                    continue
                self.visited.add(identity)
                with os.scandir(self.root / relative) as entries:
                    for entry in sorted(entries, key=lambda e: e.name):
                        self._sort_out(entry, relative, pending)
            except OSError as error:
                self._skip(relative or ".", "unreadable", f"folder not read: {error.strerror}")

    def _sort_out(self, entry: os.DirEntry[str], folder: str, pending: deque[str]) -> None:
        if entry.name.startswith(".") or entry.name in _PREVIEW_FOLDERS:
            return
        relative = f"{folder}/{entry.name}" if folder else entry.name
        is_folder = _follows_to_folder(entry)
        if not is_folder and not _has_photo_suffix(entry.name):
            return
        if not _is_utf8(entry.name):
            self.skipped.append(_bad_name(relative))
        elif is_folder:
            (self.linked_folders if entry.is_symlink() else pending).append(relative)
        elif entry.is_symlink():
            self.linked_files.append(relative)
        elif entry.is_file():
            self.photos.append(relative)
        else:
            self._skip(relative, "not_a_file", "a pipe, socket or device")

    def _add_linked_files(self) -> None:
        targets: set[_FileId] = set()
        for relative in sorted(self.linked_files):
            path = self.root / relative
            try:
                status = os.stat(path)
                target = Path(os.path.realpath(path))
                home = _identity(os.stat(target.parent))
            except OSError as error:
                self._skip(relative, "unreadable", f"broken link: {error.strerror}")
                continue
            if not stat.S_ISREG(status.st_mode):
                self._skip(relative, "not_a_file", "a link to a pipe, socket or device")
            elif not self._is_listed(home, target.name) and _identity(status) not in targets:
                targets.add(_identity(status))
                self.photos.append(relative)

    def _is_listed(self, home: _FileId, name: str) -> bool:
        """Whether a plain file of this name in this folder was listed by the walk."""
        return home in self.visited and _has_photo_suffix(name) and not name.startswith(".")

    def _skip(self, relative: str, reason: str, message: str) -> None:
        self.skipped.append(SkippedFile(relative, reason, message))


def _follows_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _has_photo_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES
