"""dlib's bilinear resampling, to the bit: what its detectors see depends on it.

dlib takes four columns at a time, whose positions it adds up in single precision, and the last few
one by one in double precision.  Both are done here as it does them
(dlib/image_transforms/interpolation.h, ``resize_image``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Columns", "place_columns", "resample_bytes", "resample_plane"]

_LANES = 4


class Columns(NamedTuple):
    """Where the columns of a resampled image lie in the one it is made from.

    Attributes
    ----------
    left : ndarray of int32
        The nearest column to the left.
    right_share : ndarray of float64
        How much the column after it counts.
    n_lanes : int
        How many of the columns dlib computes four at a time.
    """

    left: NDArray[np.int32]
    right_share: NDArray[np.float64]
    n_lanes: int


def place_columns(n_source: int, n_target: int) -> Columns:
    """Return where each column of the target lies, corners on corners.

    Parameters
    ----------
    n_source, n_target : int
        Columns of either image, at least 1.
    """
    step = (n_source - 1) / max(n_target - 1, 1)
    # Lane l starts at (l - 4)·step and goes on by 4·step, all in single precision.
    n_groups = n_target // _LANES + 1
    moves = np.full((n_groups + 1, _LANES), np.float32(_LANES * step))
    start = -_LANES * step
    moves[0] = [start, start + step, start + 2 * step, start + 3 * step]
    lanes = np.add.accumulate(moves, axis=0, dtype=np.float32)[1:]
    inside = lanes[:, -1].astype(np.int32) + 1 < n_source
    n_lanes = _LANES * (n_groups if inside.all() else int(inside.argmin()))

    rest = np.add.accumulate(np.r_[-step + n_lanes * step, np.full(n_target - n_lanes, step)])[1:]
    positions = np.concatenate([lanes.ravel()[:n_lanes].astype(np.float64), rest])
    left = np.floor(positions).astype(np.int32)
    shares = positions - left
    # The subtraction, too, is one in single precision where four are computed at a time.
    shares[:n_lanes] = (lanes.ravel()[:n_lanes] - left[:n_lanes].astype(np.float32)).astype(float)
    return Columns(left, shares, n_lanes)


@njit(nogil=True, cache=True)
def resample_plane(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    left: NDArray[np.int32],
    right_share: NDArray[np.float64],
    n_lanes: int,
) -> None:
    """Fill `target` with `source` at another size; both float32 (rows, columns)."""
    last_row, last_column = source.shape[0] - 1, source.shape[1] - 1
    n_rows, n_columns = target.shape
    step = last_row / max(n_rows - 1, 1)
    y = -step
    for row in range(n_rows):
        y += step
        top = int(np.floor(y))
        above, below = source[top], source[min(top + 1, last_row)]
        down = y - top
        down32, up32 = np.float32(down), np.float32(1 - down)
        for column in range(n_lanes):
            x = left[column]
            share = np.float32(right_share[column])
            rest = np.float32(1) - share
            target[row, column] = (
                (up32 * rest) * above[x]
                + (up32 * share) * above[x + 1]
                + (down32 * rest) * below[x]
                + (down32 * share) * below[x + 1]
            )
        for column in range(n_lanes, n_columns):
            x = left[column]
            right = min(x + 1, last_column)
            share = np.float32(right_share[column])
            rest = np.float32(1) - share
            upper = rest * above[x] + share * above[right]
            lower = rest * below[x] + share * below[right]
            target[row, column] = np.float32((1 - down) * upper + down * lower)


@njit(nogil=True, cache=True)
def _spread(
    row: NDArray[np.uint8], left: NDArray[np.int32], n: int, nearby: NDArray[np.uint8]
) -> None:
    """Write the pixels left and right of each of the first n target columns into two rows."""
    near, far = nearby[0], nearby[1]
    for column in range(n):
        # Unsigned, so that no index has to be tested for being negative.
        x = np.uintp(left[column])
        near[column] = row[x]
        far[column] = row[x + np.uintp(1)]


@njit(nogil=True, cache=True)
def resample_bytes(
    source: NDArray[np.uint8],
    target: NDArray[np.uint8],
    left: NDArray[np.int32],
    right_share: NDArray[np.float64],
    n_lanes: int,
) -> None:
    """Fill `target` with a photo at another size; both uint8 (3, rows, columns)."""
    last_row, last_column = source.shape[1] - 1, source.shape[2] - 1
    n_rows, n_columns = target.shape[1:]
    step = last_row / max(n_rows - 1, 1)
    share = right_share[:n_lanes].astype(np.float32)
    rest = np.float32(1) - share
    # Pixels are first gathered, which is slow, and then mixed, eight or more at a time; the lower
    # row of one target row is mostly the upper row of the next.
    upper = np.empty((3, 2, n_lanes), np.uint8)
    lower = np.empty((3, 2, n_lanes), np.uint8)
    in_lower = -1
    y = -step
    for row in range(n_rows):
        y += step
        top = int(np.floor(y))
        bottom = min(top + 1, last_row)
        down = y - top
        down32, up32 = np.float32(down), np.float32(1 - down)
        upper, lower = lower, upper
        for color in range(3):
            if in_lower != top:
                _spread(source[color, top], left, n_lanes, upper[color])
            _spread(source[color, bottom], left, n_lanes, lower[color])
            a, b, c, d = upper[color, 0], upper[color, 1], lower[color, 0], lower[color, 1]
            made = target[color, row]
            for column in range(n_lanes):
                # Fractions are cut off, not rounded.
                made[column] = np.uint8(
                    np.int32(
                        (up32 * rest[column]) * np.float32(a[column])
                        + (up32 * share[column]) * np.float32(b[column])
                        + (down32 * rest[column]) * np.float32(c[column])
                        + (down32 * share[column]) * np.float32(d[column])
                    )
                )
            above, below = source[color, top], source[color, bottom]
            for column in range(n_lanes, n_columns):
                near = left[column]
                far = min(near + 1, last_column)
                share64 = right_share[column]
                high = (1 - share64) * above[near] + share64 * above[far]
                low = (1 - share64) * below[near] + share64 * below[far]
                made[column] = np.uint8((1 - down) * high + down * low)
        in_lower = bottom
