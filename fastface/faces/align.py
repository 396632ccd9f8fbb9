"""Bring a face to a fixed place and size: one similarity warp for every alignment template.

The transform is the least-squares similarity from template to landmarks (Umeyama, IEEE TPAMI
13(4), 1991, without reflection), written with complex numbers: a point x + iy maps to a·z + b.
A face more than about twice the crop's size is first halved with a 5×5 binomial filter, as dlib
does, because bilinear sampling alone would skip pixels and alias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastface.backends.registry import get_kernels
from fastface.errors import InvalidInputError
from fastface.faces.images import check_photo
from fastface.faces.templates import AlignmentTemplate, get_template

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastface.faces.types import LandmarkScheme

__all__ = ["AlignmentTemplate", "align_face", "get_template"]


class _Sampling(NamedTuple):
    """Where a reference aligner puts its samples; networks were trained on exactly that.

    ``spans_edges``: the crop's outermost pixel centres lie half a photo pixel inside the
    template's square, rather than half a crop pixel.  ``pyramid_offset``: what one halving
    subtracts from x and y.  ``rounding`` is added before the fraction is cut off.
    """

    spans_edges: bool
    pyramid_offset: complex
    rounding: float


_SAMPLINGS = MappingProxyType(
    {
        # dlib/image_transforms/interpolation.h and image_pyramid.h.
        "dlib": _Sampling(True, 1.25 + 0.75j, 0.0),
        # cv2.warpAffine: template coordinates are pixel indices.
        "pixel": _Sampling(False, 1.0 + 1.0j, 0.5),
    }
)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Photo coordinates of the crop's pixels: origin + step·(column + i·row)."""

    origin: complex
    step: complex
    size: int

    @property
    def center(self) -> complex:
        return self.origin + self.step * (1 + 1j) * (self.size - 1) / 2

    def moved(self, offset: complex) -> _Grid:
        return _Grid(self.origin + offset, self.step, self.size)

    def halved(self, offset: complex) -> _Grid:
        """Express the grid in a photo of half the size, whose points are p / 2 - offset.

        Only the middle is moved; dlib keeps the rectangle's extent in pixel steps likewise.
        """
        step = self.step / 2
        center = self.center / 2 - offset
        return _Grid(center - step * (1 + 1j) * (self.size - 1) / 2, step, self.size)


def align_face(
    image: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    template: AlignmentTemplate | str = "dlib-150",
    *,
    scheme: LandmarkScheme = "eye-corners-nose",
) -> NDArray[np.uint8]:
    """Cut a face out of a photo, turned upright and scaled to the template.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        The upright photo.
    landmarks : ndarray, shape (5, 2)
        x and y of five points, in pixels of the photo.
    template : AlignmentTemplate or str
        Where the points go; a name is looked up by `get_template`.
    scheme : LandmarkScheme
        Which points they are.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)
        What lies outside the photo is black.

    Raises
    ------
    InvalidInputError
        A wrong shape or dtype, an unknown template, or landmarks that span no area.
    """
    if isinstance(template, str):
        template = get_template(template)
    check_photo(image)
    image = np.ascontiguousarray(image)
    scale, shift = _fit_similarity(template.points_for(scheme), _check_landmarks(landmarks))
    sampling = _SAMPLINGS[template.sampling]
    grid = _make_grid(scale, shift, template.size, sampling)
    return _sample(image, grid, abs(scale) * template.size, sampling)


def _check_landmarks(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise InvalidInputError(f"landmarks are five finite points (5, 2), not {points.shape}")
    return points


def _fit_similarity(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[complex, complex]:
    """Least-squares a, b of target = a·source + b over complex points."""
    z = source[:, 0] + 1j * source[:, 1]
    w = target[:, 0] + 1j * target[:, 1]
    z_centered = z - z.mean()
    scale = complex((z_centered.conj() * (w - w.mean())).sum() / (np.abs(z_centered) ** 2).sum())
    if abs(scale) < 1e-6:
        raise InvalidInputError("the five landmarks lie on one spot; no face can be cut out")
    return scale, complex(w.mean()) - scale * complex(z.mean())


def _make_grid(scale: complex, shift: complex, size: int, sampling: _Sampling) -> _Grid:
    if not sampling.spans_edges:
        return _Grid(shift, scale, size)
    width = abs(scale) * size
    step = scale / abs(scale) * (width - 1) / (size - 1)
    center = scale * (1 + 1j) * (size / 2) + shift
    return _Grid(center - step * (1 + 1j) * (size - 1) / 2, step, size)


def _sample(
    image: NDArray[np.uint8], grid: _Grid, width: float, sampling: _Sampling
) -> NDArray[np.uint8]:
    """Sample the photo on a grid of which ``width`` is the side in photo pixels."""
    halvings, border = _count_halvings(width, grid.size)
    left, top, right, bottom = _region(image, grid, border)
    region = image[top:bottom, left:right]
    grid = grid.moved(-complex(left, top))
    for _ in range(halvings):
        region = _halve(region)
        grid = grid.halved(sampling.pyramid_offset)
    return _bilinear(region, grid, sampling.rounding)


def _count_halvings(width: float, size: int) -> tuple[int, int]:
    """How often to halve, and the photo pixels around the crop that the filter then needs."""
    halvings, border = 0, 2
    while (width := (width + 1) / 2) > size:
        halvings, border = halvings + 1, border * 2 + 2
    return halvings, border


def _region(image: NDArray[np.uint8], grid: _Grid, border: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of the part of the photo that the crop reads."""
    last = grid.size - 1
    corners = [grid.origin + grid.step * last * corner for corner in (0, 1, 1j, 1 + 1j)]
    height, width = image.shape[:2]
    left = max(min(c.real for c in corners) - border, 0)
    top = max(min(c.imag for c in corners) - border, 0)
    right = min(max(c.real for c in corners) + border, width - 1)
    bottom = min(max(c.imag for c in corners) + border, height - 1)
    if left > right or top > bottom:
        return 0, 0, 0, 0
    return (
        math.floor(left + 0.5),
        math.floor(top + 0.5),
        math.floor(right + 0.5) + 1,
        math.floor(bottom + 0.5) + 1,
    )


def _halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Filter with [1 4 6 4 1] / 16 both ways and keep every second pixel."""
    if min(image.shape[:2]) <= 8:  # a sliver at the photo's edge, too thin to filter
        return image[:0]
    halved: NDArray[np.uint8] = get_kernels().halve_photo(image)
    return halved


def _bilinear(region: NDArray[np.uint8], grid: _Grid, rounding: float) -> NDArray[np.uint8]:
    # A sample whose four neighbors are not all inside the photo is black, as in dlib.
    if min(region.shape[:2]) < 2:
        return np.zeros((grid.size, grid.size, 3), dtype=np.uint8)
    crop: NDArray[np.uint8] = get_kernels().sample_photo(
        region, grid.origin, grid.step, grid.size, rounding
    )
    return crop
