"""Histograms of oriented gradients and the filters over them, compiled.

The features are those of Felzenszwalb, Girshick, McAllester & Ramanan ("Object Detection with
Discriminatively Trained Part-Based Models", IEEE TPAMI 32(9), 2010), computed as dlib does
(dlib/image_transforms/fhog.h), in the same order and precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CELL", "PLANES", "TAPS", "add_responses", "bin_gradients", "describe", "orientations"]

CELL = 8
PLANES = 31
TAPS = 10
"""Rows and columns of a filter, in cells."""

_BINS = 18
# So many rows of windows at a time stay in a core's own cache.
_BAND = 32
_LANES = 8
_SPAN = 511  # a difference of two bytes is -255 to 255
_DIRECTIONS = np.array(
    [
        (1.0000, 0.0000),
        (0.9397, 0.3420),
        (0.7660, 0.6428),
        (0.500, 0.8660),
        (0.1736, 0.9848),
        (-0.1736, 0.9848),
        (-0.5000, 0.8660),
        (-0.7660, 0.6428),
        (-0.9397, 0.3420),
    ],
    dtype=np.float32,
)
_EPS = np.float32(0.0001)
_CLIP, _HALF_CLIP = np.float32(0.2), np.float32(0.1)
_TEXTURE = np.float32(2 * 0.2357)


def orientations() -> NDArray[np.uint8]:
    """Return the nearest of 18 directions for every gradient.

    Returns
    -------
    ndarray of uint8, shape (511 * 511,)
        The entry of gradient (x, y) is at ``(y + 255) * 511 + x + 255``.
    """
    side = np.arange(-255, 256, dtype=np.float32)
    x, y = side[None, :], side[:, None]
    best = np.zeros((_SPAN, _SPAN), dtype=np.float32)
    direction = np.zeros((_SPAN, _SPAN), dtype=np.uint8)
    for o, (dx, dy) in enumerate(_DIRECTIONS):
        dot = x * dx + y * dy
        for sign, label in ((1, o), (-1, o + 9)):
            better = sign * dot > best
            best[better] = (sign * dot)[better]
            direction[better] = label
    return direction.ravel()


@njit(nogil=True, cache=True)
def bin_gradients(
    planes: NDArray[np.uint8], table: NDArray[np.uint8], histogram: NDArray[np.float32]
) -> None:
    """Add each pixel's gradient to the histograms of the four cells around it.

    Parameters
    ----------
    planes : ndarray of uint8, shape (3, height, width)
        Red, green and blue; the strongest of the three gradients counts.
    table : ndarray of uint8
        From `orientations`.
    histogram : ndarray of float32, shape (cell rows + 2, cell columns + 2, 18)
        Zeros, filled; the first and last row and column only catch what falls outside.
    """
    rows, columns = histogram.shape[0] - 2, histogram.shape[1] - 2
    last_row = min(rows * CELL, planes.shape[1]) - 1
    last_column = min(columns * CELL, planes.shape[2]) - 1
    n_lanes = 1 + max(last_column - 1, 0) // _LANES * _LANES
    place = np.empty(last_column + 1, np.int32)
    cell = np.empty(last_column + 1, np.int32)
    right = np.empty(last_column + 1, np.float32)
    for x in range(last_column + 1):
        across = (x + 0.5) / CELL + 0.5
        cell[x] = int(across)
        right[x] = across - cell[x]
    left = np.float32(1) - right
    votes = np.empty((4, last_column + 1), np.float32)
    v0, v1, v2, v3 = votes[0], votes[1], votes[2], votes[3]
    red, green, blue = planes[0], planes[1], planes[2]
    for y in range(1, last_row):
        along = (y + 0.5) / CELL + 0.5
        row = int(along)
        down = np.float32(along - row)
        up = np.float32(1) - down
        for x in range(1, last_column):
            rx = np.int32(red[y, x + 1]) - np.int32(red[y, x - 1])
            ry = np.int32(red[y + 1, x]) - np.int32(red[y - 1, x])
            gx = np.int32(green[y, x + 1]) - np.int32(green[y, x - 1])
            gy = np.int32(green[y + 1, x]) - np.int32(green[y - 1, x])
            bx = np.int32(blue[y, x + 1]) - np.int32(blue[y, x - 1])
            by = np.int32(blue[y + 1, x]) - np.int32(blue[y - 1, x])
            r, g, b = rx * rx + ry * ry, gx * gx + gy * gy, bx * bx + by * by
            # Where two are as strong, dlib takes the later one of eight pixels at once, and the
            # earlier one of the few that are left over.
            tie = np.int32(x < n_lanes)
            second = g + tie > r
            best = g if second else r
            dx = gx if second else rx
            dy = gy if second else ry
            third = b + tie > best
            best = b if third else best
            dx = bx if third else dx
            dy = by if third else dy
            length = np.sqrt(np.float32(best))
            place[x] = (dy + 255) * _SPAN + dx + 255
            v0[x] = up * (left[x] * length)
            v1[x] = down * (left[x] * length)
            v2[x] = up * (right[x] * length)
            v3[x] = down * (right[x] * length)
        upper, lower = histogram[row], histogram[row + 1]
        for x in range(1, last_column):
            # Unsigned, so that no index has to be tested for being negative.
            o = np.uintp(table[np.uintp(place[x])])
            here = np.uintp(cell[x])
            there = here + np.uintp(1)
            upper[here, o] += v0[x]
            lower[here, o] += v1[x]
            upper[there, o] += v2[x]
            lower[there, o] += v3[x]


@njit(nogil=True, cache=True)
def describe(histogram: NDArray[np.float32], features: NDArray[np.float32]) -> None:
    """Turn histograms into features that do not depend on contrast.

    Parameters
    ----------
    histogram : ndarray of float32, shape (cell rows + 2, cell columns + 2, 18)
        From `bin_gradients`.
    features : ndarray of float32, shape (31, cell rows - 2, cell columns - 2)
        Filled: 18 signed directions, 9 unsigned ones, 4 textures.
    """
    rows, columns = histogram.shape[0] - 2, histogram.shape[1] - 2
    energy = np.zeros((rows, columns), np.float32)
    for r in range(rows):
        for c in range(columns):
            for o in range(9):
                both = histogram[r + 1, c + 1, o] + histogram[r + 1, c + 1, o + 9]
                energy[r, c] += both * both
    width = columns - 2
    values = np.empty((_BINS, width), np.float32)
    clip = np.empty((4, width), np.float32)
    factor = np.empty((4, width), np.float32)
    texture = np.empty((4, width), np.float32)
    for y in range(rows - 2):
        for x in range(width):
            for o in range(_BINS):
                values[o, x] = histogram[y + 2, x + 2, o]
        # Lane k normalises by the block of four cells that ends, or begins, at the middle one.
        for k in range(4):
            i, j = y + 1 - (k & 1), 1 - (k >> 1)
            for x in range(width):
                c = x + j
                total = energy[i, c] + energy[i, c + 1] + energy[i + 1, c] + energy[i + 1, c + 1]
                clip[k, x] = _CLIP * np.sqrt(total + _EPS)
                factor[k, x] = _HALF_CLIP / clip[k, x]
                texture[k, x] = 0
        for o in range(_BINS):
            target, source = features[o, y], values[o]
            for x in range(width):
                v = source[x]
                h0 = min(v, clip[0, x]) * factor[0, x]
                h1 = min(v, clip[1, x]) * factor[1, x]
                h2 = min(v, clip[2, x]) * factor[2, x]
                h3 = min(v, clip[3, x]) * factor[3, x]
                target[x] = (h0 + h1) + (h2 + h3)
                texture[0, x] += h0
                texture[1, x] += h1
                texture[2, x] += h2
                texture[3, x] += h3
        for o in range(9):
            target, first, second = features[_BINS + o, y], values[o], values[o + 9]
            for x in range(width):
                v = first[x] + second[x]
                target[x] = (
                    min(v, clip[0, x]) * factor[0, x] + min(v, clip[1, x]) * factor[1, x]
                ) + (min(v, clip[2, x]) * factor[2, x] + min(v, clip[3, x]) * factor[3, x])
        for k in range(4):
            for x in range(width):
                features[27 + k, y, x] = texture[k, x] * _TEXTURE


@njit(nogil=True, cache=True, fastmath={"contract"})
def add_responses(
    features: NDArray[np.float32],
    plane: NDArray[np.int32],
    row_filters: NDArray[np.float32],
    column_filters: NDArray[np.float32],
    responses: NDArray[np.float32],
) -> None:
    """Add the response of separable filters to every window of 10 × 10 cells.

    Parameters
    ----------
    features : ndarray of float32, shape (31, rows + 9, columns)
        C-contiguous.
    plane : ndarray of int32, shape (n_filters,)
        Which plane each filter looks at.
    row_filters, column_filters : ndarray of float32, shape (n_filters, 10)
    responses : ndarray of float32, shape (rows, columns)
        C-contiguous.  The last 9 columns belong to windows that go on in the next row: they mean
        nothing, and save a loop that would end at every row.
    """
    rows, width = responses.shape
    for first_row in range(0, rows, _BAND):
        n_rows = min(_BAND, rows - first_row)
        n_scratch = (n_rows + TAPS - 1) * width - (TAPS - 1)
        n_responses = n_rows * width - (TAPS - 1)
        scratch = np.empty(n_scratch, np.float32)
        target = responses[first_row : first_row + n_rows].reshape(-1)
        for n in range(len(plane)):
            image = features[plane[n]]
            source = image[first_row : first_row + n_rows + TAPS - 1].reshape(-1)
            f0, f1, f2, f3, f4, f5, f6, f7, f8, f9 = row_filters[n]
            for i in range(n_scratch):
                scratch[i] = (
                    source[i] * f0
                    + source[i + 1] * f1
                    + source[i + 2] * f2
                    + source[i + 3] * f3
                    + source[i + 4] * f4
                    + source[i + 5] * f5
                    + source[i + 6] * f6
                    + source[i + 7] * f7
                    + source[i + 8] * f8
                    + source[i + 9] * f9
                )
            # Two taps at a time: a loop over ten would not be compiled to vector instructions.
            for tap in range(0, TAPS, 2):
                first = scratch[tap * width : tap * width + n_responses]
                second = scratch[(tap + 1) * width : (tap + 1) * width + n_responses]
                f0, f1 = column_filters[n, tap], column_filters[n, tap + 1]
                for i in range(n_responses):
                    target[i] += first[i] * f0 + second[i] * f1
