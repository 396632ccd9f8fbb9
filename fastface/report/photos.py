"""Where a photo is, seen from a page, and where a box lies on it in a browser."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote

from fastface.errors import MissingDependencyError

# Tag of the EXIF orientation, and the formats that browsers turn upright by it.  Chromium shows
# a WebP as it is stored, whatever its EXIF data say.
_ORIENTATION = 0x0112
_TURNED_BY_BROWSERS = frozenset(("JPEG", "MPO", "PNG"))
_NOT_SHOWN_BY_BROWSERS = frozenset((".tif", ".tiff", ".heic", ".heif"))

State = Literal["shown", "unseen", "missing", "outside"]


@dataclass(frozen=True, slots=True)
class Frame:
    """The pixels a browser draws for a photo, and how the upright photo lies in them."""

    width: int
    height: int
    turn: int = 1

    def place(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Map a box of the upright photo to the drawn one; both left, top, right, bottom."""
        left, top, right, bottom = box
        corners = [self._place(left, top), self._place(right, bottom)]
        (x0, x1), (y0, y1) = (sorted(values) for values in zip(*corners, strict=True))
        return x0, y0, x1, y1

    def _place(self, x: int, y: int) -> tuple[int, int]:
        across, down = self.width - x, self.height - y
        turned_across, turned_down = self.width - y, self.height - x
        return {
            1: (x, y),
            2: (across, y),
            3: (across, down),
            4: (x, down),
            5: (y, x),
            6: (y, turned_down),
            7: (turned_across, turned_down),
            8: (turned_across, x),
        }[self.turn]


class PhotoLinks:
    """Addresses of photos for the pages of one report.

    The address is relative where photos and report share a folder other than the file system's
    root, so that both can be moved together, and an absolute ``file:`` address otherwise.

    Parameters
    ----------
    photo_root : Path
        Folder that the names of photos start from.
    report : Path
        The report's final folder.
    """

    def __init__(self, photo_root: Path, report: Path) -> None:
        self.root = Path(os.path.abspath(photo_root))
        report = Path(os.path.abspath(report))
        try:
            shared = Path(os.path.commonpath([self.root, report]))
        except ValueError:  # other drives
            shared = Path(report.anchor)
        self._is_relative = shared != Path(report.anchor)
        if self._is_relative:
            self._base = quote(Path(os.path.relpath(self.root, report)).as_posix())
        else:
            self._base = self.root.as_uri()

    def path(self, photo: str) -> Path | None:
        """Give the photo's path, or None if its name points out of the photo folder."""
        name = PurePosixPath(photo)
        if not photo or name.is_absolute() or ".." in name.parts or "\0" in photo:
            return None
        return self.root / name

    def url(self, photo: str, *, to_report: str) -> str | None:
        """Give the percent-encoded address, or None if the name points out of the photo folder.

        Parameters
        ----------
        photo : str
            Name of the photo, relative to the photo folder.
        to_report : str
            How the page reaches the report's folder: ``""`` or ``"../"``.
        """
        if self.path(photo) is None:
            return None
        prefix = to_report if self._is_relative else ""
        return f"{prefix}{self._base.rstrip('/')}/{quote(photo, errors='surrogateescape')}"

    def look(self, photo: str) -> tuple[State, Frame | None]:
        """Say whether a browser can show the photo, and what it draws then.

        Only the header is read.  The frame is None where it cannot be known.
        """
        path = self.path(photo)
        if path is None:
            return "outside", None
        if not path.is_file():
            return "missing", None
        if path.suffix.lower() in _NOT_SHOWN_BY_BROWSERS:
            return "unseen", None
        return "shown", read_frame(path)


def read_frame(path: Path) -> Frame | None:
    """Read a photo's size and orientation from its header; None where that fails."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "Pillow", extra="report", purpose="Drawing boxes on photos"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no pixel is decoded, so a large size does no harm
            with Image.open(path) as image:
                width, height = image.size
                turn = image.getexif().get(_ORIENTATION, 1)
                turned_by_browser = image.format in _TURNED_BY_BROWSERS
    except Exception:  # damaged headers raise whatever the format's reader raises
        return None
    if turn not in range(2, 9):
        return Frame(width, height)
    if turned_by_browser:
        return Frame(height, width) if turn >= 5 else Frame(width, height)
    return Frame(width, height, turn)
