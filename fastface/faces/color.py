"""Any of Pillow's pixel modes to plain 8-bit RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["to_rgb"]

_WHITE_LEVELS = (1.0, 255.0, 65535.0)


def to_rgb(image: Image) -> NDArray[np.uint8]:
    """Convert a decoded picture to RGB.

    Transparent pixels are laid over white.  16-bit grey is scaled by 1/257.  Floating-point and
    32-bit grey carry no statement of their range: white is the smallest of 1 (floating point
    only), 255 and 65,535 that no pixel exceeds, or else the largest pixel; negative and
    undefined values are black.  Embedded color profiles are not applied.

    Parameters
    ----------
    image : PIL.Image.Image
        Any mode that Pillow's decoders produce, its pixels loaded.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        A copy, C-contiguous and writable.
    """
    if image.mode.startswith("I;16"):
        return _stack_grey(_divide_by_257(np.asarray(image).astype(np.uint16)))
    if image.mode in ("I", "F"):
        return _stack_grey(_scale_to_8_bits(np.asarray(image)))
    if image.has_transparency_data:
        image = _flatten_on_white(image)
    if image.mode != "RGB":  # converting would copy it once more
        image = image.convert("RGB")
    return np.array(image, dtype=np.uint8)


def _flatten_on_white(image: Image) -> Image:
    import PIL.Image

    pixels = image.convert("RGBA")
    white = PIL.Image.new("RGBA", pixels.size, (255, 255, 255, 255))
    white.alpha_composite(pixels)
    return white


def _stack_grey(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _divide_by_257(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    # 65535 / 257 = 255 exactly, so that white stays white; 128 rounds to nearest.
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _scale_to_8_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    is_float = np.issubdtype(values.dtype, np.floating)
    light = values.astype(np.float64)
    light = np.clip(np.where(np.isfinite(light), light, 0), 0, None)
    largest = float(light.max())
    levels = _WHITE_LEVELS if is_float else _WHITE_LEVELS[1:]
    white = next((level for level in levels if largest <= level), largest)
    scaled: NDArray[np.float64] = np.rint(light * (255.0 / white))
    return scaled.astype(np.uint8)
