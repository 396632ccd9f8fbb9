"""What the templates show, as plain data, and how the pages are addressed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import text
from .photos import Frame
from .run_data import Person


@dataclass(frozen=True, slots=True)
class PageLink:
    """One entry of the list of pages; no address for the page one is on and for a gap."""

    label: str
    href: str | None
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class FaceTile:
    """A face as pages show it; addresses start at the report's folder."""

    face_id: int
    crop: str
    view: str
    photo: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Card:
    """A person's contact sheet."""

    label: str
    href: str
    n_faces: int
    n_photos: int
    confidence: float
    crops: list[str]


@dataclass(frozen=True, slots=True)
class PhotoFace:
    """A face in its photo; `box` is x, y, width, height in the drawn photo."""

    tile: FaceTile
    person: str
    href: str
    box: tuple[int, int, int, int] | None
    corners: tuple[int, ...]
    detector_score: float


@dataclass(frozen=True, slots=True)
class PhotoView:
    """A photo with its faces."""

    index: int
    name: str
    url: str | None
    state: str
    frame: Frame | None
    faces: list[PhotoFace]
    previous: str | None
    following: str | None


@dataclass(frozen=True, slots=True)
class FileView:
    """A skipped file; linked where a look at it may help."""

    name: str
    message: str
    url: str | None


def crop_address(face_id: int) -> str:
    """Give a crop's place in the report, with at most a thousand files a folder."""
    return f"crops/{face_id // 1000:04d}/{face_id}.jpg"


def person_label(person: Person) -> str:
    """Name a person: the name given by the user, or the number in ``people.parquet``."""
    return person.name or f"Person {person.person_id}"


def numbered(name: str, page: int) -> str:
    """Give the address of a page of a series: ``name.html``, ``name-2.html`` and so on."""
    return f"{name}.html" if page == 1 else f"{name}-{page}.html"


def n_pages(n_items: int, per_page: int) -> int:
    """Count the pages of a series; there is at least one."""
    return max(1, math.ceil(n_items / per_page))


def page_links(page: int, last: int, address: Callable[[int], str]) -> list[PageLink]:
    """List the first and last page and those around the current one, with gaps between."""
    if last == 1:
        return []
    near = {1, 2, last - 1, last, *range(page - 2, page + 3)}
    links: list[PageLink] = []
    before = 0
    for number in sorted(near & set(range(1, last + 1))):
        if number != before + 1:
            links.append(PageLink("…", None))
        is_current = number == page
        links.append(
            PageLink(text.count(number), None if is_current else address(number), is_current)
        )
        before = number
    return links


def spread(faces: Sequence[int], cover: int, n: int) -> list[int]:
    """Choose `n` faces: the cover, then faces evenly spaced from the surest to the least sure."""
    others = [face for face in faces if face != cover]
    if len(others) < n:
        return [cover, *others]
    positions = np.linspace(0, len(others) - 1, n - 1).round().astype(int)
    return [cover, *(others[position] for position in positions)]
