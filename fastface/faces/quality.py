"""How good a face is to recognize somebody by: large, sharp and surely a face.

Three terms, each in [0, 1], whose geometric mean is the overall quality, so that one very bad
term cannot be made up for by the others:

size        side / (side + 50): the side of the face's box, in pixels of the photo
sharpness   see `measure_sharpness`
certainty   1 / (1 + exp(-2 · score)), score being the detector's
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastface.faces.types import Quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastface.faces.types import Detection

__all__ = ["grade_face", "measure_sharpness"]

_TYPICAL_RATIO = 0.09
_HALF_SIZE = 50.0
# What rounding to 8 bits alone adds: (4² + 4 · 1²) taps of variance 1/12 each.
_ROUNDING_VARIANCE = 20 / 12
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def grade_face(detection: Detection, crop: NDArray[np.uint8]) -> Quality:
    """Grade one face.

    Parameters
    ----------
    detection : Detection
    crop : ndarray of uint8, shape (size, size, 3)
        The aligned face.

    Returns
    -------
    Quality
    """
    left, top, right, bottom = detection.box
    side = math.sqrt((right - left) * (bottom - top))
    sharpness = measure_sharpness(crop)
    certainty = 1 / (1 + math.exp(-2 * min(max(detection.score, -50), 50)))
    overall = (side / (side + _HALF_SIZE) * sharpness * certainty) ** (1 / 3)
    return Quality(size=side, sharpness=sharpness, overall=overall)


def measure_sharpness(crop: NDArray[np.uint8]) -> float:
    """Measure how much fine detail the middle of a crop holds.

    The variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) over the variance of the
    brightness itself, less what rounding to 8 bits adds, so that contrast and light cancel
    out; that ratio r is mapped to r / (r + 0.09), where 0.09 is the median of ordinary photos.
    Only the central half of the crop counts: a sharp background, or the black beyond the
    photo's edge, says nothing about the face.  Noise counts as detail.

    Parameters
    ----------
    crop : ndarray of uint8, shape (size, size, 3)

    Returns
    -------
    float
        In [0, 1); 0 for a crop of one color.
    """
    size = crop.shape[0]
    margin = size // 4
    luma = crop[margin : size - margin, margin : size - margin] @ _LUMA
    contrast = float(luma[1:-1, 1:-1].var())
    if contrast < 1e-6:
        return 0.0
    laplacian = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    )
    ratio = max(float(laplacian.var()) - _ROUNDING_VARIANCE, 0.0) / contrast
    return ratio / (ratio + _TYPICAL_RATIO)
