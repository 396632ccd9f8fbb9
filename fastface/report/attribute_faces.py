"""Which faces show what a split is, and the mean face of each of its sides."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import MissingDependencyError
from fastface.private import create, make_folder, write

from .run_data import iterate_crops

FACES_PER_SHEET = 10
FACES_PER_MEAN = 100


@dataclass(frozen=True, slots=True)
class Sheet:
    """Faces of one side, or of the border between two."""

    title: str
    faces: list[int]
    mean: str | None = None


def typical(
    margins: NDArray[Any], people: NDArray[np.int64], side: int, n: int = FACES_PER_SHEET
) -> list[int]:
    """Return the rows that lie farthest on a side, one a person while there are people enough."""
    along = margins if side == 1 else -margins
    order = np.argsort(-along, kind="stable")
    return _one_a_person(order[along[order] > 0], people, n)


def borderline(
    margins: NDArray[Any], people: NDArray[np.int64], n: int = FACES_PER_SHEET
) -> list[int]:
    """Return the rows nearest to the border, from side 0 to side 1."""
    order = np.argsort(np.abs(margins), kind="stable")
    chosen = _one_a_person(order, people, n)
    return sorted(chosen, key=lambda row: (float(margins[row]), row))


def _one_a_person(order: NDArray[np.int64], people: NDArray[np.int64], n: int) -> list[int]:
    # Of a long list the head is enough: nobody has more than a few of the first rows.
    head = order[: 50 * n + 1000]
    first = np.sort(np.unique(people[head], return_index=True)[1])
    chosen: list[int] = head[first][:n].tolist()
    more = [row for row in head[: 2 * n].tolist() if row not in set(chosen)]
    return chosen + more[: n - len(chosen)]


@dataclass
class Album:
    """Collects the faces a page shows, then reads the crops once.

    Attributes
    ----------
    folder : Path
        The run folder.
    n_faces : int
        How many faces it has.
    """

    folder: Path
    n_faces: int
    _shown: set[int] = field(default_factory=set)
    _means: dict[str, list[int]] = field(default_factory=dict)

    def show(self, faces: Iterable[int]) -> list[int]:
        """Note faces to be copied, and return them."""
        faces = [int(face) for face in faces]
        self._shown.update(faces)
        return faces

    def mean(self, name: str, faces: Sequence[int]) -> str | None:
        """Note a mean face to be made, and return its address."""
        if not faces:
            return None
        self._means[name] = [int(face) for face in faces]
        return f"means/{name}.jpg"

    def write(self, building: Path, advance: Callable[[int], None]) -> None:
        """Write ``crops/`` and ``means/`` below a folder in one pass over the stored crops."""
        image = _pillow()
        make_folder(building / "crops")
        make_folder(building / "means")
        wanted: dict[int, list[str]] = {}
        for name, faces in self._means.items():
            for face in faces:
                wanted.setdefault(face, []).append(name)
        sums: dict[str, NDArray[np.float64]] = {}
        for face_id, jpeg in iterate_crops(self.folder, self.n_faces):
            advance(1)
            if face_id in self._shown:
                write(building / "crops" / f"{face_id}.jpg", jpeg)
            if face_id in wanted:
                with image.open(io.BytesIO(jpeg)) as opened:
                    pixels = np.asarray(opened.convert("RGB"), np.float64)
                for name in wanted[face_id]:
                    sums[name] = sums[name] + pixels if name in sums else pixels
        for name, total in sums.items():
            mean = np.round(total / len(self._means[name])).astype(np.uint8)
            with create(building / "means" / f"{name}.jpg") as file:
                image.fromarray(mean).save(file, "JPEG", quality=92)


def _pillow() -> Any:
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "Pillow", extra="report", purpose="The page of attributes"
        ) from error
