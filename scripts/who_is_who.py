#!/usr/bin/env python3
"""Print who was grouped with whom in a run folder, and where its page is.

Usage: ``python scripts/who_is_who.py RUN``
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

MAX_PEOPLE = 20
MAX_PHOTOS = 8


def photos_of_people(run: Path) -> dict[int, list[str]]:
    """Return the photos of each person by number, the largest person first."""
    table = pq.read_table(run / "faces.parquet", columns=["photo", "person_id"]).to_pydict()
    people: dict[int, list[str]] = defaultdict(list)
    for photo, person in zip(table["photo"], table["person_id"], strict=True):
        people[person].append(photo)
    return dict(sorted(people.items()))


def listing(names: Sequence[str]) -> str:
    """Join names, saying how many were left out of a long list."""
    more = len(names) - MAX_PHOTOS
    return ", ".join(names[:MAX_PHOTOS]) + (f" and {more} more" if more > 0 else "")


def print_people(people: Mapping[int, Sequence[str]]) -> None:
    """Print those with several faces one a line, and the others together."""
    together = {number: photos for number, photos in people.items() if len(photos) > 1}
    alone = [photos[0] for photos in people.values() if len(photos) == 1]
    for number, photos in islice(together.items(), MAX_PEOPLE):
        print(f"  person {number}, {len(photos)} faces: {listing(photos)}")
    if len(together) > MAX_PEOPLE:
        print(f"  and {len(together) - MAX_PEOPLE} more people with several faces")
    if alone:
        print(f"  once only, {len(alone)}: {listing(alone)}")


def print_skipped(run: Path) -> None:
    """Print the files that gave no face."""
    table = pq.read_table(run / "skipped.parquet", columns=["file", "reason"]).to_pydict()
    names = [f"{file} ({why})" for file, why in zip(table["file"], table["reason"], strict=True)]
    if names:
        print(f"  no face from {len(names)}: {listing(names)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args(argv).run
    print("\nWho is who:")
    print_people(photos_of_people(run))
    print_skipped(run)
    print(f"\nThe page to look at: {(run / 'report' / 'index.html').resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
