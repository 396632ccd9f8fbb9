"""Crops of people who are known: to calibrate by, and to measure what a change costs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InvalidInputError, NoFacesError
from fastface.faces import find_photos, load_image

__all__ = ["LabelledCrops", "read_labelled_crops"]

_MANIFEST = "manifest.csv"


class LabelledCrops(NamedTuple):
    """Aligned crops, and who is on each."""

    crops: NDArray[np.uint8]  # (n, height, width, 3)
    people: list[str]


def read_labelled_crops(
    folder: Path, size: tuple[int, int], *, limit: int | None = None
) -> LabelledCrops:
    """Read a folder of crops.

    Parameters
    ----------
    folder : Path
        Holds ``manifest.csv`` with the columns ``path`` and ``identity``, or else one subfolder
        a person.
    size : (int, int)
        Height and width that every crop must have.
    limit : int, optional
        Read only so many, spread over all of them.

    Raises
    ------
    InvalidInputError
        If there is no such folder, or a crop has another size.
    NoFacesError
        If there are no crops.
    ImageError
        If one cannot be read.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is no folder of crops")
    files = _manifest(folder) if (folder / _MANIFEST).is_file() else _subfolders(folder)
    if not files:
        raise NoFacesError(
            f"no crops in {folder}: one subfolder a person is wanted, or a {_MANIFEST} with the"
            " columns path and identity"
        )
    if limit is not None and limit < len(files):
        files = [files[place] for place in np.linspace(0, len(files) - 1, limit).astype(int)]
    crops = np.empty((len(files), *size, 3), dtype=np.uint8)
    for row, (path, _) in enumerate(files):
        crop = load_image(path)
        if crop.shape[:2] != size:
            raise InvalidInputError(
                f"{path} has {crop.shape[1]} × {crop.shape[0]} pixels; the model takes aligned "
                f"crops of {size[1]} × {size[0]}"
            )
        crops[row] = crop
    return LabelledCrops(crops, [person for _, person in files])


def _manifest(folder: Path) -> list[tuple[Path, str]]:
    with (folder / _MANIFEST).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"path", "identity"} <= rows[0].keys():
        raise InvalidInputError(f"{folder / _MANIFEST} has no columns path and identity")
    return [(folder / row["path"], row["identity"]) for row in rows]


def _subfolders(folder: Path) -> list[tuple[Path, str]]:
    listing = find_photos(folder)
    names = (Path(name) for name in listing.photos)
    return [(listing.root / name, name.parts[0]) for name in names if len(name.parts) > 1]
