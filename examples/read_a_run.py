"""Read a run folder: copy the photos of each person into a folder of their own.

Usage: ``python examples/read_a_run.py RUN PHOTOS SORTED``
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq


def sort_photos(run: Path, photos: Path, target: Path) -> int:
    """Copy every photo into one folder for each person on it; return how many copies."""
    faces = pq.read_table(run / "faces.parquet", columns=["photo", "person_id"]).to_pydict()
    pairs = sorted(set(zip(faces["person_id"], faces["photo"], strict=True)))
    for person, photo in pairs:
        folder = target / f"person-{person:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        # The path, not the name alone: two folders may hold photos of one name.
        shutil.copy2(photos / photo, folder / photo.replace("/", "__"))
    return len(pairs)


if __name__ == "__main__":
    print(sort_photos(*(Path(argument) for argument in sys.argv[1:4])), "copies")
