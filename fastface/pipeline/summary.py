"""``run.json``: what a finished job found, and how."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastface.backends import get_isa
from fastface.errors import CorruptFileError
from fastface.pipeline.folder import RunFolder
from fastface.pipeline.storage import count_rows, read_json, read_table, write_json
from fastface.pipeline.versions import all_versions

if TYPE_CHECKING:
    from fastface.faces import PhotoListing
    from fastface.models import Model

__all__ = ["RunResult", "explain_no_faces", "explain_no_photos", "read_result", "write_summary"]


@dataclass(frozen=True)
class RunResult:
    """What a job found.

    Attributes
    ----------
    folder : Path
        The run folder.
    n_photos, n_faces, n_people, n_skipped : int
        Counts; a skipped file gave no face.
    report : Path or None
        The page to look at.
    reused : bool
        The folder was finished already, and nothing was done.
    """

    folder: Path
    n_photos: int
    n_faces: int
    n_people: int
    n_skipped: int
    report: Path | None
    reused: bool = False


def write_summary(
    folder: RunFolder,
    *,
    photo_root: Path,
    n_photos: int,
    model: Model,
    parameters: Mapping[str, Any],
    times: Mapping[str, Any],
) -> None:
    """Write ``run.json``, which says that all other tables are there.

    Parameters
    ----------
    folder : RunFolder
        With all its tables.
    photo_root : Path
        What the paths of photos are relative to.
    n_photos : int
        How many were listed.
    model : Model
        That embedded the faces.
    parameters : mapping
        As they were used.
    times : mapping
        From `Clock.summary`.
    """
    counts = {
        name: count_rows(folder / f"{name}.parquet") for name in ("faces", "people", "skipped")
    }
    spec = model.spec
    write_json(
        folder / "run.json",
        {
            "versions": all_versions(),
            "model": {
                "name": spec.name,
                "sha256": model.sha256,
                "licence": spec.licence,
                "licence_url": spec.licence_url,
            },
            "parameters": {**parameters, "instruction_set": get_isa()},
            "photo_root": str(photo_root.resolve()),
            "counts": {"photos": n_photos, **counts},
            **times,
        },
    )


def read_result(folder: RunFolder, *, reused: bool) -> RunResult:
    """Return what a finished run folder says."""
    counts = read_json(folder / "run.json").get("counts")
    names = ("photos", "faces", "people", "skipped")
    if not isinstance(counts, dict) or not all(isinstance(counts.get(n), int) for n in names):
        raise CorruptFileError(f"{folder / 'run.json'} does not say what the run found")
    page = folder / "report" / "index.html"
    return RunResult(
        folder.path,
        counts["photos"],
        counts["faces"],
        counts["people"],
        counts["skipped"],
        page if page.is_file() else None,
        reused,
    )


def explain_no_faces(folder: RunFolder, result: RunResult) -> str:
    """Say why no photo gave a face, and what may help."""
    reasons = Counter(read_table(folder / "skipped.parquet")["reason"].to_pylist())
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return (
        f"no face in {result.n_photos} photos ({why}): {folder / 'skipped.parquet'} says why for"
        " each; small faces may need --upsample 1"
    )


def explain_no_photos(photos: str | os.PathLike[str], listing: PhotoListing) -> str:
    """Say that a folder holds no photo, and what was passed over."""
    text = (
        f"no photos in {os.fspath(photos)}: JPEG, PNG, WebP, BMP, TIFF, GIF and HEIC are looked"
        " for, in subfolders too"
    )
    if listing.skipped:
        first = listing.skipped[0]
        text += f"; {len(listing.skipped)} files cannot be used, such as {first.file!r} ("
        text += f"{first.message})"
    return text
