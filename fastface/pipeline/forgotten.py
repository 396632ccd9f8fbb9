"""What a run folder must not bring back: photos and faces that were forgotten.

The list holds no picture, no vector and no name: a photo is known by the SHA-256 of its content, a
face by its box in such a photo.  A new photo of a forgotten person is therefore a new face; to
know them again, one would have to keep what they asked to be forgotten.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastface.errors import CorruptFileError
from fastface.faces import PhotoListing
from fastface.pipeline.names import SAME_FACE, overlap
from fastface.pipeline.photo_worker import FoundFace, PhotoResult
from fastface.pipeline.storage import read_json, write_json

__all__ = [
    "FORGETTING",
    "FORGETTING_PART",
    "FORGOTTEN_FILE",
    "REQUEST_FILE",
    "Box",
    "Forgotten",
    "ForgottenPhoto",
    "hide",
]

FORGOTTEN_FILE = "forgotten.json"
# Where `fastface forget` prepares what a folder will be, until and after it is committed.
FORGETTING_PART = ".forgetting.part"
FORGETTING = ".forgetting"
REQUEST_FILE = "request.json"

_FORMAT = "fastface-forgotten-1"
_WHAT_IT_IS = (
    "Photos (by the SHA-256 of their content) and faces (by their boxes in such photos) that"
    " `fastface forget` removed and `fastface run` leaves out. It holds no picture, vector or name."
    " `fastface run --force --include-forgotten` takes them in again."
)
_BLOCK = 1 << 20

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ForgottenPhoto:
    """One entry of the list.

    Attributes
    ----------
    sha256 : str
        Of the photo's content.
    size : int
        Bytes of it: photos of other sizes need not be read to be told apart.
    boxes : tuple of (left, top, right, bottom), or None
        The faces that are left out; None for the photo as a whole.
    """

    sha256: str
    size: int
    boxes: tuple[Box, ...] | None

    @classmethod
    def of(cls, path: Path, boxes: Sequence[Box] | None) -> ForgottenPhoto:
        """Read a photo and describe it."""
        return cls(_sha256(path), path.stat().st_size, None if boxes is None else tuple(boxes))


class Forgotten:
    """The list of one run folder.

    Parameters
    ----------
    photos : iterable of ForgottenPhoto
        Later entries for the same photo add to earlier ones.
    """

    def __init__(self, photos: Iterable[ForgottenPhoto] = ()) -> None:
        self._photos: dict[str, ForgottenPhoto] = {}
        for photo in photos:
            known = self._photos.get(photo.sha256)
            if known is None or photo.boxes is None:
                self._photos[photo.sha256] = photo
            elif known.boxes is not None:
                boxes = tuple(dict.fromkeys((*known.boxes, *photo.boxes)))
                self._photos[photo.sha256] = replace(known, boxes=boxes)

    def __iter__(self) -> Iterator[ForgottenPhoto]:
        return iter(self._photos.values())

    def __len__(self) -> int:
        return len(self._photos)

    @classmethod
    def of(cls, folder: str | os.PathLike[str], *, unless: bool = False) -> Forgotten:
        """Read the list of a run folder; empty where there is none, or if it shall not count.

        Raises
        ------
        CorruptFileError
            If there is one, damaged: without it, what was forgotten would come back.
        """
        # The newer one first: a process that was killed may have left both.
        for path in (Path(folder, FORGETTING, FORGOTTEN_FILE), Path(folder, FORGOTTEN_FILE)):
            if path.is_file() and not unless:
                return cls(_parse(path, read_json(path)))
        return cls()

    def write(self, path: Path) -> None:
        """Write the list."""
        photos = [
            {"sha256": photo.sha256, "size": photo.size, "boxes": photo.boxes}
            for photo in sorted(self, key=lambda photo: photo.sha256)
        ]
        write_json(path, {"format": _FORMAT, "what_it_is": _WHAT_IT_IS, "photos": photos})

    def leave_out(self, listing: PhotoListing) -> tuple[PhotoListing, dict[str, tuple[Box, ...]]]:
        """Return a listing without the photos that are left out, and the boxes to hide in others.

        Only photos of the size of one that is left out are read.
        """
        if not self._photos:
            return listing, {}
        sizes = {photo.size for photo in self}
        kept: list[str] = []
        hidden: dict[str, tuple[Box, ...]] = {}
        for name in listing.photos:
            photo = self._find(listing.root / name, sizes)
            if photo is None:
                kept.append(name)
            elif photo.boxes is not None:
                kept.append(name)
                hidden[name] = photo.boxes
        return replace(listing, photos=kept), hidden

    def _find(self, path: Path, sizes: set[int]) -> ForgottenPhoto | None:
        try:
            if not path.is_file() or os.stat(path).st_size not in sizes:
                return None
            return self._photos.get(_sha256(path))
        except OSError:
            return None  # what cannot be read here cannot be read later: it gives no face


def hide(
    results: Iterable[PhotoResult], names: Iterable[str], hidden: Mapping[str, Sequence[Box]]
) -> Iterator[PhotoResult]:
    """Pass results on without the faces that are to be left out, before they are embedded.

    Parameters
    ----------
    results : iterable of PhotoResult
        In the order of `names`.
    names : iterable of str
        Of the photos.
    hidden : mapping
        From `Forgotten.leave_out`.
    """
    for name, result in zip(names, results, strict=True):
        faces = _without(result.faces, hidden.get(name, ()))
        if len(faces) == len(result.faces):
            yield result
        elif faces:
            yield replace(result, faces=faces)
        else:
            message = "its faces were forgotten (fastface forget)"
            yield replace(result, faces=[], reason="forgotten", message=message)


def _without(faces: list[FoundFace], boxes: Sequence[Box]) -> list[FoundFace]:
    """Return faces without those that the boxes frame."""
    left = list(faces)
    for box in boxes:
        # Another detector frames the same face a little differently.
        nearest = max(left, key=lambda face: overlap(face.box, box), default=None)
        if nearest is not None and overlap(nearest.box, box) >= SAME_FACE:
            left = [face for face in left if face is not nearest]
    return left


def _parse(path: Path, content: Mapping[str, Any]) -> Iterator[ForgottenPhoto]:
    try:
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        for photo in content["photos"]:
            boxes = photo["boxes"]
            yield ForgottenPhoto(
                str(photo["sha256"]),
                int(photo["size"]),
                None if boxes is None else tuple(_box(box) for box in boxes),
            )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{path} is no list of what was forgotten ({error!r}): put it back from a copy, or"
            " remove it to take everything in again"
        ) from error


def _box(values: Sequence[int]) -> Box:
    left, top, right, bottom = map(int, values)
    return left, top, right, bottom


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
