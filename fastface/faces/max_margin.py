"""Geometry of dlib's max-margin CNN detector: the tiled pyramid, its boxes, suppression.

All levels of an image pyramid lie on one canvas, so that the network runs once.  The layout, the
way from a place on the canvas back to the photo, and every rounding are dlib's
(dlib/image_transforms/image_pyramid.h, dlib/dnn/loss.h, ``loss_mmod_``): boxes come out the same.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastface.backends.registry import get_kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Box",
    "Tiling",
    "double",
    "go_up",
    "halve_box",
    "place_tiles",
    "round_half_away",
    "suppress",
    "tile_pyramid",
]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom inclusive, as dlib has them."""

# One level of the pyramid has 5/6 of the side of the one before.
_RATE = 5 / 6
_MIN_ROWS = 5


class Tile(NamedTuple):
    """Where one level lies on the canvas."""

    left: int
    top: int
    width: int
    height: int


class Tiling(NamedTuple):
    """A canvas and the levels on it, the photo itself first."""

    rows: int
    columns: int
    tiles: list[Tile]

    def box_around(self, center: tuple[int, int], window: tuple[int, int]) -> Box:
        """Return the box of the photo that a window on the canvas shows."""
        level = self._nearest(*center)
        tile = self.tiles[level]
        half = (window[0] - 1) / 2, (window[1] - 1) / 2
        left, top = center[0] - half[0] - tile.left, center[1] - half[1] - tile.top
        right, bottom = center[0] + half[0] - tile.left, center[1] + half[1] - tile.top
        return (
            round_half_away(go_up(left, level)),
            round_half_away(go_up(top, level)),
            round_half_away(go_up(right, level)),
            round_half_away(go_up(bottom, level)),
        )

    def _nearest(self, x: int, y: int) -> int:
        """Return the level that a point lies in, or else lies nearest to."""

        def distance(tile: Tile) -> float:
            dx = max(tile.left - x, 0, x - (tile.left + tile.width - 1))
            dy = max(tile.top - y, 0, y - (tile.top + tile.height - 1))
            return math.hypot(dx, dy)

        distances = [distance(tile) for tile in self.tiles]
        return distances.index(min(distances))


def place_tiles(height: int, width: int, padding: tuple[int, int]) -> Tiling:
    """Lay the levels out: down the first column, then back up along the right edge.

    Parameters
    ----------
    height, width : int
        Of the photo.
    padding : (int, int)
        Pixels between levels, and around all.
    """
    gap, border = padding
    sizes = [(height, width)]
    while True:
        rows, columns = (math.floor(_RATE * side) for side in sizes[-1])
        if rows < _MIN_ROWS or columns == 0:
            break
        sizes.append((rows, columns))

    total = sum(rows + gap for rows, _ in sizes) - 2 * gap
    used, previous = 0, 0
    for rows, columns in sizes:
        # The first column ends where a level fits beside the one before it, past the middle.
        if columns <= width - previous - gap and (used - height) * 2 >= total - height:
            break
        used, previous = used + rows + gap, columns
    used -= gap

    tiles: list[Tile] = []
    y = border
    for rows, columns in sizes:
        if y >= used + border:
            break
        tiles.append(Tile(border, y, columns, rows))
        y += rows + gap
    y -= gap
    for rows, columns in sizes[len(tiles) :]:
        tile = Tile(border + width - columns, y - rows, columns, rows)
        if tile.top <= border + height - 1:  # it would touch the photo itself
            break
        tiles.append(tile)
        y -= rows + gap
    return Tiling(used + 2 * border, width + 2 * border, tiles)


def tile_pyramid(
    image: NDArray[np.uint8], mean: Sequence[float], padding: tuple[int, int]
) -> tuple[NDArray[np.float32], Tiling]:
    """Make the canvas of a photo.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
    mean : three floats
        Subtracted from red, green and blue, before they are divided by 256.
    padding : (int, int)
        See `place_tiles`.

    Returns
    -------
    canvas : ndarray of float32, shape (3, rows, columns)
        0 between the levels.
    tiling : Tiling
    """
    tiling = place_tiles(image.shape[0], image.shape[1], padding)
    canvas = np.zeros((3, tiling.rows, tiling.columns), dtype=np.float32)
    levels = [canvas[:, t.top : t.top + t.height, t.left : t.left + t.width] for t in tiling.tiles]
    for plane, value in enumerate(mean):
        # dlib: float minus float, then a division in double precision.
        np.subtract(image[..., plane], np.float32(value), out=levels[0][plane], dtype=np.float32)
        levels[0][plane] /= np.float32(256)
    for source, target in pairwise(levels):
        for plane in range(3):
            get_kernels().resample_plane(source[plane], target[plane])
    return canvas, tiling


def double(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a photo at about twice its size, as dlib's upsampling makes it."""
    height, width = image.shape[:2]
    # ``pyramid_down<2>::rect_up`` of the photo's last pixel.
    rows, columns = (
        round_half_away((height - 1 + 0.75) * 2) + 1,
        round_half_away((width - 1 + 1.25) * 2) + 1,
    )
    doubled: NDArray[np.uint8] = get_kernels().resample_photo(image, rows, columns)
    return doubled


def halve_box(box: Box) -> Box:
    """Return a box of the doubled photo in the photo itself."""
    left, top, right, bottom = box
    return (
        round_half_away(left / 2 - 1.25),
        round_half_away(top / 2 - 0.75),
        round_half_away(right / 2 - 1.25),
        round_half_away(bottom / 2 - 0.75),
    )


def suppress(
    found: Iterable[tuple[float, Box]], overlap: float, covered: float = 1.0
) -> list[tuple[float, Box]]:
    """Keep the best of boxes that overlap, best first.

    Parameters
    ----------
    found : iterable of (score, box)
    overlap : float
        Largest intersection of two kept boxes, as a share of the smallest rectangle around both.
    covered : float
        Largest intersection as a share of either.
    """
    kept: list[tuple[float, Box]] = []
    for score, box in sorted(found, key=lambda item: -item[0]):
        if not any(_overlap(box, other, overlap, covered) for _, other in kept):
            kept.append((score, box))
    return kept


def _overlap(a: Box, b: Box, overlap: float, covered: float) -> bool:
    inner = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    if inner == 0:
        return False
    around = _area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    return inner / around > overlap or inner / min(_area(a), _area(b)) > covered


def _area(box: Box) -> int:
    return max(box[2] - box[0] + 1, 0) * max(box[3] - box[1] + 1, 0)


def go_up(value: float, levels: int) -> float:
    """Return where a coordinate lies in the photo, so many levels up the pyramid."""
    ratio = 6 / 5  # first: value * 6 / 5 rounds differently where a pixel is cut in half
    for _ in range(levels):
        value = value * ratio + 0.3
    return value


def round_half_away(value: float) -> int:
    """Return the nearest integer; half a pixel goes away from zero, as by C's ``lround``."""
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)
