"""Which photos a run folder was made from, so that another set of photos is told apart."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from fastface.faces import PhotoListing
from fastface.pipeline.schema import PHOTOS

__all__ = ["describe_difference", "listing_digest", "photos_table"]


def photos_table(listing: PhotoListing) -> pa.Table:
    """Return name, size and time of every photo; one that vanished meanwhile has no size."""
    stats = [_stat(listing.root / photo) for photo in listing.photos]
    return pa.table(
        [
            pa.array(listing.photos, pa.string()),
            pa.array([size for size, _ in stats], pa.int64()),
            pa.array([time for _, time in stats], pa.int64()),
        ],
        schema=PHOTOS,
    )


def _stat(path: Path) -> tuple[int | None, int | None]:
    try:
        status = os.stat(path)
    except OSError:
        return None, None
    return status.st_size, status.st_mtime_ns


def listing_digest(photos: pa.Table) -> str:
    """Return a SHA-256 that is the same for the same photos, wherever the folder is now."""
    digest = hashlib.sha256()
    for batch in photos.to_batches(max_chunksize=8192):
        rows = batch.to_pydict()
        for row in zip(rows["photo"], rows["size"], rows["mtime_ns"], strict=True):
            digest.update(f"{row!r}\n".encode())
    return digest.hexdigest()


def describe_difference(before: pa.Table, now: pa.Table) -> str:
    """Say how many photos were added, removed or changed, and name one of each."""
    old, new = _by_name(before), _by_name(now)
    changed = [name for name in old.keys() & new.keys() if old[name] != new[name]]
    kinds = {
        "added": new.keys() - old.keys(),
        "removed": old.keys() - new.keys(),
        "changed": changed,
    }
    return ", ".join(
        f"{len(names)} {'photo' if len(names) == 1 else 'photos'} {kind} since"
        f" (such as {min(names)!r})"
        for kind, names in kinds.items()
        if names
    )


def _by_name(photos: pa.Table) -> dict[str, tuple[Any, Any]]:
    rows = photos.to_pydict()
    return {
        name: (size, time)
        for name, size, time in zip(rows["photo"], rows["size"], rows["mtime_ns"], strict=True)
    }
