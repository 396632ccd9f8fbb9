"""At what size a photo is searched: what every detector has in common."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fastface.errors import InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["DEFAULT_MAX_SIDE", "PhotoSearch", "scale_box", "shrink"]

DEFAULT_MAX_SIDE = 1600
"""Longest side, in pixels, of the copy of a photo that faces are looked for in."""

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class PhotoSearch:
    """Shrinks large photos, doubles small ones, looks again where nothing is found.

    Parameters
    ----------
    threshold : float
        Least score of a face, on the detector's own scale.
    upsample : int
        How often the photo is doubled before the search.
    max_side : int or None
        Longest side of what is searched; None for no limit.
    second_look : bool
        Where no face is found, look once more at twice the size, unless that exceeds `max_side`.

    Raises
    ------
    InvalidInputError
        A parameter outside its range.
    """

    threshold: float
    upsample: int
    max_side: int | None
    second_look: bool

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise InvalidInputError(f"threshold must be a finite number, not {self.threshold!r}")
        times, side = self.upsample, self.max_side
        if isinstance(times, bool) or not isinstance(times, int) or not 0 <= times <= 4:
            raise InvalidInputError(f"upsample must be an integer from 0 to 4, not {times!r}")
        if side is not None and (not isinstance(side, int) or side < 80):
            raise InvalidInputError(f"max_side must be an integer from 80, or None, not {side!r}")

    def run(
        self,
        image: NDArray[np.uint8],
        look: Callable[[NDArray[np.uint8], int], list[_Found]],
    ) -> tuple[list[_Found], tuple[float, float]]:
        """Search a photo.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
        look : callable
            Is given what to search and how often to double it first; returns what it found, in
            pixels of what it was given.

        Returns
        -------
        found : list
        scale : (float, float)
            Factors of x and y that lead from there to the photo.
        """
        small = image if self.max_side is None else shrink(image, self.max_side)
        found = look(small, self.upsample)
        side = max(small.shape[:2]) * 2 ** (self.upsample + 1)
        if not found and self.second_look and (self.max_side is None or side <= self.max_side):
            found = look(small, self.upsample + 1)
        return found, (image.shape[1] / small.shape[1], image.shape[0] / small.shape[0])


def scale_box(box: tuple[int, ...], scale: tuple[float, float]) -> tuple[int, ...]:
    """Return a box (right and bottom inclusive) in a photo of another size."""
    if scale == (1.0, 1.0):
        return box
    left, top, right, bottom = box
    x, y = scale
    return (
        math.floor(left * x + 0.5),
        math.floor(top * y + 0.5),
        math.floor((right + 1) * x + 0.5) - 1,
        math.floor((bottom + 1) * y + 0.5) - 1,
    )


def shrink(image: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """Scale a photo down, antialiased, until its longer side is max_side."""
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= max_side:
        return image
    try:
        import PIL.Image
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "Pillow", extra="faces", purpose="shrinking photos for detection"
        ) from error
    size = max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest))
    # reducing_gap: large photos are first averaged in whole blocks, many times faster.
    small = PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(small)
