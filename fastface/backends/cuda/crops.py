"""Faces cut out of photos that are on a GPU already, with the bits of the CPU's kernels.

For photos in this process the CPU is the better place: bringing a whole photo over the bus takes
longer than cutting it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastface.backends.cuda.device import Gpu

__all__ = ["CropGrid", "cut_crops", "halve_photo", "normalized_crops"]

_BLOCK = 256
_BYTES, _FLOATS = 0, 1  # LAYOUT of warp.cu
_MOST_ROWS = 65535  # blocks along the second axis of a grid
_CHANNELS = {"rgb": (0, 1, 2), "bgr": (2, 1, 0)}
_PHOTO = np.dtype([("offset", "i8"), ("rows", "i8"), ("columns", "i8"), ("row_stride", "i8")])
_GRID = np.dtype(
    [(name, "f8") for name in ("x", "y", "step_x", "step_y", "rounding")] + [("photo", "i8")]
)


@dataclass(frozen=True)
class CropGrid:
    """Where the pixels of a crop lie in its photo.

    Attributes
    ----------
    photo : int
        Number of the photo.
    x, y : float
        Of the crop's first pixel, in pixels of the photo.
    step_x, step_y : float
        From one pixel of a row to the next; turned by a quarter, from one row to the next.
    rounding : float
        Added to a color before its fraction is cut off.
    """

    photo: int
    x: float
    y: float
    step_x: float
    step_y: float
    rounding: float = 0.5


def halve_photo(gpu: Gpu, photo: Any) -> Any:
    """Return a photo at half its size, filtered by [1 4 6 4 1] / 16 both ways.

    Parameters
    ----------
    gpu : Gpu
        Where.
    photo : device array of uint8, shape (rows, columns, 3)
        At least 5 by 5 pixels, C-contiguous.

    Returns
    -------
    device array of uint8, shape ((rows - 3) // 2, (columns - 3) // 2, 3)
        Written in the order of the current stream.
    """
    rows, columns = ((extent - 3) // 2 for extent in photo.shape[:2])
    if rows < 1 or columns < 1:
        raise ValueError(f"a photo of {photo.shape[0]} x {photo.shape[1]} pixels; 5 x 5 are needed")
    out = gpu.empty((rows, columns, 3), np.uint8)
    grid = (-(-3 * columns // _BLOCK), min(rows, _MOST_ROWS))
    arguments = (photo, 3 * photo.shape[1], rows, columns, out)
    gpu.launch("warp", "halve", grid, _BLOCK, *arguments, LAYOUT=_BYTES)
    return out


def cut_crops(gpu: Gpu, photos: Sequence[Any], grids: Sequence[CropGrid], size: int) -> Any:
    """Return crops of `size` by `size` pixels, bilinear, black outside of the photo.

    Parameters
    ----------
    gpu : Gpu
        Where.
    photos : sequence of device arrays of uint8, shape (rows, columns, 3)
        C-contiguous.
    grids : sequence of CropGrid
        One for every crop.
    size : int
        Of the crops.

    Returns
    -------
    device array of uint8, shape (n, size, size, 3)
        As the CPU cuts them, to the bit; written in the order of the current stream.
    """
    crops = gpu.empty((len(grids), size, size, 3), np.uint8)
    _warp(gpu, photos, grids, size, (None, None, None), crops, _BYTES)
    return crops


def normalized_crops(
    gpu: Gpu,
    photos: Sequence[Any],
    grids: Sequence[CropGrid],
    size: int,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    color_order: str = "rgb",
) -> Any:
    """Return crops as a network takes them in: ``(value - mean) / std`` in planes.

    Parameters
    ----------
    gpu, photos, grids, size
        As for `cut_crops`.
    mean, std : sequence of three float
        Of the planes, in the network's order.
    color_order : {"rgb", "bgr"}
        The network's.

    Returns
    -------
    device array of float32, shape (n, 3, size, size)
        Bit-identical to NumPy's float32 arithmetic on `cut_crops`.
    """
    crops = gpu.empty((len(grids), 3, size, size), np.float32)
    constants = (
        gpu.put(np.asarray(mean, np.float32)),
        gpu.put(np.asarray(std, np.float32)),
        gpu.put(np.asarray(_CHANNELS[color_order], np.int32)),
    )
    _warp(gpu, photos, grids, size, constants, crops, _FLOATS)
    return crops


def _warp(
    gpu: Gpu,
    photos: Sequence[Any],
    grids: Sequence[CropGrid],
    size: int,
    constants: tuple[Any, Any, Any],
    out: Any,
    layout: int,
) -> None:
    if not grids:
        return
    addresses = [int(photo.__cuda_array_interface__["data"][0]) for photo in photos]
    table = np.array(
        [
            (address - addresses[0], *photo.shape[:2], 3 * photo.shape[1])
            for address, photo in zip(addresses, photos, strict=True)
        ],
        _PHOTO,
    )
    places = np.array([(g.x, g.y, g.step_x, g.step_y, g.rounding, g.photo) for g in grids], _GRID)
    for first in range(0, len(grids), _MOST_ROWS):
        some = places[first : first + _MOST_ROWS]
        gpu.launch(
            "warp",
            "warp",
            (-(-size * size // _BLOCK), len(some)),
            _BLOCK,
            *(photos[0], gpu.put(table.view(np.uint8)), gpu.put(some.view(np.uint8))),
            *(size, *constants, out[first : first + len(some)]),
            LAYOUT=layout,
        )
