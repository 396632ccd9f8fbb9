"""Who was grouped with whom, in a few lines of text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fastface.cli.output import printable

__all__ = ["describe_people"]

_PEOPLE_SHOWN = 5
_PHOTOS_SHOWN = 4


def describe_people(folder: Path) -> Iterator[str]:
    """Yield one line for each of the largest people of a run folder, with their first photos.

    Parameters
    ----------
    folder : Path
        A finished run folder.

    Yields
    ------
    str
        A line without control characters, whatever the photos are called.
    """
    import pyarrow.parquet as pq

    sizes = pq.read_table(folder / "people.parquet", columns=["n_faces"])["n_faces"].to_pylist()
    together = sum(size > 1 for size in sizes)
    shown = min(together, _PEOPLE_SHOWN)
    if shown:
        # People are numbered by size, so those with company come first.
        photos = _photos_of_first(folder, shown)
        for person in range(shown):
            yield f"  person {person}, {sizes[person]} faces: {_join(photos[person])}"
    if together > shown:
        yield f"  and {together - shown} more with several faces"
    if len(sizes) > together:
        yield f"  {len(sizes) - together} seen only once"


def _photos_of_first(folder: Path, n_people: int) -> dict[int, list[str]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(
        folder / "faces.parquet",
        columns=["photo", "person_id"],
        filters=[("person_id", "<", n_people)],
    ).to_pydict()
    photos: dict[int, list[str]] = defaultdict(list)
    for photo, person in zip(rows["photo"], rows["person_id"], strict=True):
        photos[person].append(photo)
    return photos


def _join(photos: list[str]) -> str:
    names = ", ".join(printable(photo) for photo in photos[:_PHOTOS_SHOWN])
    more = len(photos) - _PHOTOS_SHOWN
    return f"{names} and {more} more" if more > 0 else names
