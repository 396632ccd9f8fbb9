"""`forget`: remove people and photos from a run folder, and prove that they are gone.

Everything the folder will be is written beside it, into ``.forgetting``; one rename commits that.
From then on each step can be made twice: a process that is killed is followed by the same command,
or any other job in the folder, which goes on where it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fastface.errors import InvalidInputError, StorageError
from fastface.pipeline.folder import RunFolder
from fastface.pipeline.forgotten import (
    FORGETTING,
    FORGETTING_PART,
    FORGOTTEN_FILE,
    REQUEST_FILE,
    Box,
    Forgotten,
    ForgottenPhoto,
)
from fastface.pipeline.listing import listing_digest
from fastface.pipeline.rewriting import (
    rewrite_faces,
    rewrite_history,
    rewrite_names,
    rewrite_skipped,
)
from fastface.pipeline.schema import FACES, PEOPLE
from fastface.pipeline.selection import Selection, select
from fastface.pipeline.shards import PHOTOS_PER_SHARD
from fastface.pipeline.storage import (
    read_json,
    read_table,
    storage_errors,
    sync_folder,
    write_json,
    write_table,
)
from fastface.pipeline.traces import Trace, find_traces, text_traces
from fastface.private import make_folder
from fastface.vault import read_bytes

__all__ = ["Removal", "forget"]

_SUMMARY = "run.json"


@dataclass(frozen=True)
class Removal:
    """What was removed from a run folder.

    Attributes
    ----------
    people, photos, faces : int
        How many of each; a photo counts where nothing of it stays.
    vectors, crops : int
        How many of each were looked for, byte by byte, and not found any more.
    texts : int
        Names of people and photos that were looked for so.
    untraceable : tuple of str
        Names that are part of others that stay, or too short to look for in every byte; in the
        tables they are gone all the same.
    shared : int
        Vectors and crops that a face that stays has too, as of a second copy of a photo.
    files : int
        Files that were searched.
    shards : int
        Finished pieces of an unfinished job that will be made again.
    unreadable : tuple of str
        Photos that are no longer there, so that nothing tells them if they come back.
    removed : tuple of str
        Folders that were removed whole: ``attributes`` must be made again.
    """

    people: int = 0
    photos: int = 0
    faces: int = 0
    vectors: int = 0
    crops: int = 0
    texts: int = 0
    untraceable: tuple[str, ...] = ()
    shared: int = 0
    files: int = 0
    shards: int = 0
    unreadable: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def forget(
    run: str | os.PathLike[str],
    what: Sequence[str],
    *,
    photos: str | os.PathLike[str] | None = None,
) -> Removal:
    """Remove people and photos from a run folder.

    Faces, crops, vectors, names and every page that showed them go.  Other people keep their
    numbers and faces; face ids count anew.  A list of content hashes keeps a later `run` from
    bringing them back; see `fastface.pipeline.forgotten`.

    Parameters
    ----------
    run : path-like
        The run folder, finished or not; in one that is not, nobody is known but by photos.
    what : sequence of str
        Each a person's number or name, or a photo's path; see `fastface.pipeline.selection`.
    photos : path-like, optional
        Where the photos are now; by default where they were.

    Returns
    -------
    Removal

    Raises
    ------
    InvalidInputError
        If nothing, or more than one thing, is called so.
    StorageError
        If it is no run folder, the photos are not where they were, or something of what was
        removed is still in a file that fastface did not write: the message names it.
    RunLockedError
        If another process is working in the folder.
    """
    folder = RunFolder(Path(run))
    if not what:
        raise InvalidInputError("say whom or what to forget: a person's number or name, or a photo")
    with folder.hold():
        request = _pending(folder.path)
        if request is None or not set(what) <= set(request["what"]):
            if request is not None:
                _finish(folder, request)
            request = _prepare(folder, list(what), photos)
        return _finish(folder, request)


def _pending(folder: Path) -> dict[str, Any] | None:
    """Return what a killed process was at, and take back what it had not begun to do."""
    with storage_errors(folder):
        shutil.rmtree(folder / FORGETTING_PART, ignore_errors=True)
    path = folder / FORGETTING / REQUEST_FILE
    request: dict[str, Any] | None = read_json(path) if path.is_file() else None
    return request


def _prepare(
    folder: RunFolder, what: list[str], photo_root: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """Write all that the folder will be, and commit to it."""
    path = folder.path
    job = read_json(path / "job.json")
    listed = read_table(path / "photos.parquet")
    names = listed["photo"].to_pylist()
    root = Path(photo_root) if photo_root is not None else _root(path)
    faces, people = FACES.empty_table(), PEOPLE.empty_table()
    if folder.finished:
        faces, people = read_table(path / "faces.parquet"), read_table(path / "people.parquet")
    chosen = select(what, faces=faces, people=people, listed=names, root=root)
    if not root.is_dir():
        raise StorageError(
            f"the photos are not in {root} any more, and a later run knows what to leave out by"
            " their content: give the folder they are in now (--photos FOLDER)"
        )
    part = path / FORGETTING_PART
    with storage_errors(part):
        make_folder(part)
    keep = [name not in chosen.photos for name in names]
    left = listed.filter(pa.array(keep, pa.bool_()))
    write_table(part / "photos.parquet", left)
    job["photos"] = {"count": left.num_rows, "sha256": listing_digest(left)}
    write_json(part / "job.json", job)
    unreadable = _write_list(path, part, chosen, faces, root)
    rewrite_skipped(path, part, chosen.photos)
    rewrite_names(path, part, chosen, faces)
    rewrite_history(path, part, chosen, faces)
    traces: list[Trace] = []
    shared = 0
    if folder.finished:
        rewritten = rewrite_faces(path, part, chosen, faces, people, keep)
        traces, shared = rewritten.traces, rewritten.shared
    discard = [name for name in ("report", "attributes") if (path / name).is_dir()]
    if not chosen.faces and "attributes" in discard:
        discard.remove("attributes")  # it shows faces, and they are the same
    gone = [*_given_names(people, chosen), *sorted(chosen.photos)]
    told, untraceable = text_traces(gone, _texts_that_stay(part, root))
    request = {
        "what": what,
        "traces": [trace.as_dict() for trace in (*traces, *told)],
        "discard": discard,
        "photo_root": str(root),
        "first_shard": min((i for i, kept in enumerate(keep) if not kept), default=len(keep))
        // PHOTOS_PER_SHARD,
        "removal": {
            "people": len(chosen.people),
            "photos": len(chosen.photos),
            "faces": len(chosen.faces),
            "vectors": sum(trace.kind == "vector" for trace in traces),
            "crops": sum(trace.kind == "crop" for trace in traces),
            "texts": len(gone) - len(untraceable),
            "untraceable": untraceable,
            "shared": shared,
            "unreadable": unreadable,
            "removed": [name for name in discard if name != "report"],
        },
    }
    write_json(part / REQUEST_FILE, request)
    with storage_errors(path):
        sync_folder(part)
        os.replace(part, path / FORGETTING)
        sync_folder(path)
    return request


def _root(folder: Path) -> Path:
    """Return where the photos were when the folder was finished."""
    summary = read_json(folder / _SUMMARY) if (folder / _SUMMARY).is_file() else {}
    root = summary.get("photo_root")
    if not isinstance(root, str):
        raise StorageError(f"{folder} does not say where the photos are: give --photos FOLDER")
    return Path(root)


def _write_list(
    folder: Path, part: Path, chosen: Selection, faces: pa.Table, root: Path
) -> list[str]:
    """Add to the list of what is left out; return photos that cannot be read for it."""
    boxes: dict[str, list[Any]] = {photo: [] for photo in sorted(chosen.photos)}
    columns = ("face_id", "photo", "left", "top", "right", "bottom")
    for face, photo, *box in zip(*(faces[name].to_pylist() for name in columns), strict=True):
        if face in chosen.faces:
            boxes.setdefault(photo, []).append(tuple(box))
    entries, unreadable = [*Forgotten.of(folder)], []
    for photo, theirs in boxes.items():
        entry = _entry(root / photo, None if photo in chosen.photos else theirs)
        if entry is None:
            unreadable.append(photo)
        else:
            entries.append(entry)
    Forgotten(entries).write(part / FORGOTTEN_FILE)
    return unreadable


def _entry(photo: Path, boxes: Sequence[Box] | None) -> ForgottenPhoto | None:
    try:
        return ForgottenPhoto.of(photo, boxes)
    except OSError:
        return None


def _given_names(people: pa.Table, chosen: Selection) -> list[str]:
    names = zip(people["person_id"].to_pylist(), people["name"].to_pylist(), strict=True)
    return [name for person, name in names if person in chosen.people and name]


def _texts_that_stay(part: Path, root: Path) -> list[str]:
    """Return every text that the folder will hold, and the words of the pages themselves."""
    import fastface.report

    pages = Path(fastface.report.__file__).parent
    own = [path for kind in ("*.html", "*.css", "*.py") for path in pages.rglob(kind)]
    texts = [str(root), *(path.read_text(encoding="utf-8") for path in own)]
    for path in part.iterdir():
        if path.suffix in (".json", ".jsonl"):
            texts.append(read_bytes(path).decode())
        elif path.suffix == ".parquet":
            table = read_table(path)
            texts += [
                cell
                for field in table.schema
                if pa.types.is_string(field.type)
                for cell in table[field.name].unique().to_pylist()
                if cell
            ]
    return texts


def _finish(folder: RunFolder, request: dict[str, Any]) -> Removal:
    """Put in place what was prepared, write the report again, and look for what must be gone."""
    removal = dict(request["removal"])
    removal["shards"] = folder.finish_forgetting()
    if "report" in request["discard"] and read_json(folder / _SUMMARY)["counts"]["people"]:
        from fastface.report import write_report

        write_report(folder.path, photo_root=request["photo_root"])
    traces = [Trace(**trace) for trace in request["traces"]]
    staged = folder / FORGETTING
    found = find_traces(folder.path, traces, skip=[staged])
    if found:
        raise StorageError(
            f"{folder.path} still holds something of what was forgotten: {'; '.join(found[:10])}."
            " fastface did not write that; remove it, then run the same command again"
        )
    removal["files"] = sum(path.is_file() for path in folder.path.rglob("*"))
    with storage_errors(staged):
        shutil.rmtree(staged)
        sync_folder(folder.path)
    for name in ("untraceable", "unreadable", "removed"):
        removal[name] = tuple(removal[name])
    return Removal(**removal)
