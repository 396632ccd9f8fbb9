"""Sums and products rounded as PTX says, where NumPy has no such operation.

Round-to-nearest sums and products are NumPy's own.  The fused multiply-add and the directed modes
work from an exact error: of a float32 operation in float64 by rounding to odd (Boldo and
Melquiond, 2008), of a float64 operation by TwoSum, or by the error of a fused multiply-add.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic

__all__ = ["MODES", "fma32", "fma64", "quotient32", "root32", "sum64"]

NEAREST, ZERO, DOWN, UP = 0, 1, 2, 3
MODES = {"rn": NEAREST, "rz": ZERO, "rm": DOWN, "rp": UP}

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@intrinsic
def _fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c rounded once, by the processor or the C library."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    double = numba.types.float64
    return double(double, double, double), generate


@numba.njit(inline="always")
def _bits(value: float) -> int:
    return np.float64(value).view(np.int64)


@numba.njit(inline="always")
def _directed(nearest: float, error: float, mode: int) -> float:
    """Move a nearest rounding so that it obeys `mode`; `error` has the sign of exact - nearest."""
    if error == 0.0 or mode == 0 or not np.isfinite(nearest):
        return nearest
    if mode == 2 or (mode == 1 and (nearest > 0.0 or (nearest == 0.0 and error > 0.0))):
        return np.nextafter(nearest, -np.inf) if error < 0.0 else nearest
    if mode == 3 or mode == 1:
        return np.nextafter(nearest, np.inf) if error > 0.0 else nearest
    return nearest


@numba.njit(inline="always")
def _narrow(value: float, error: float, mode: int) -> float:
    """Round ``value + error`` (error below half a unit of value) once to float32."""
    if error != 0.0 and np.isfinite(value) and _bits(value) & 1 == 0:
        value = np.nextafter(value, np.inf if error > 0.0 else -np.inf)  # to odd
    rounded = np.float32(value)
    rest = value - np.float64(rounded)
    if mode == 0 or rest == 0.0 or np.isnan(value):
        return rounded
    down = mode == 2 or (mode == 1 and value > 0.0)
    if down and rest < 0.0:
        return np.nextafter(rounded, np.float32(-np.inf))
    if not down and rest > 0.0:
        return np.nextafter(rounded, np.float32(np.inf))
    return rounded


@numba.njit(inline="always")
def _two_sum_error(a: float, b: float, total: float) -> float:
    part = total - a
    return (a - (total - part)) + (b - part)


@numba.njit(inline="always")
def _at(values: Any, lane: int) -> float:
    return values[lane] if len(values) > 1 else values[0]


@_jit
def fma32(a: Any, b: Any, c: Any, mode: int, out: Any) -> None:
    """Write a * b + c, rounded once to float32; c of minus zero makes it a product."""
    for lane in range(len(out)):
        product = np.float64(_at(a, lane)) * np.float64(_at(b, lane))  # exact
        addend = np.float64(_at(c, lane))
        total = product + addend
        error = _two_sum_error(product, addend, total)
        if not np.isfinite(total):
            error = 0.0
        out[lane] = _narrow(total, error, mode)


@_jit
def fma64(a: Any, b: Any, c: Any, mode: int, out: Any) -> None:
    """Write a * b + c, rounded once to float64."""
    for lane in range(len(out)):
        x, y, z = _at(a, lane), _at(b, lane), _at(c, lane)
        nearest = _fused(x, y, z)
        if mode != 0:
            # The error of a fused multiply-add is two numbers (Boldo and Muller, 2011); its sign.
            product = x * y
            low = _fused(x, y, -product)
            total = product + z
            rest = _two_sum_error(product, z, total)
            tail = rest + low
            tail_error = _two_sum_error(rest, low, tail)
            gap = total - nearest
            error = gap + tail
            error += _two_sum_error(gap, tail, error) + tail_error
            nearest = _directed(nearest, error, mode)
        out[lane] = nearest


@_jit
def sum64(a: Any, b: Any, mode: int, out: Any) -> None:
    """Write a + b, rounded to float64."""
    for lane in range(len(out)):
        x, y = _at(a, lane), _at(b, lane)
        total = x + y
        out[lane] = _directed(total, _two_sum_error(x, y, total), mode)


@_jit
def quotient32(a: Any, b: Any, mode: int, out: Any) -> None:
    """Write a / b, rounded to float32."""
    for lane in range(len(out)):
        x, y = np.float64(_at(a, lane)), np.float64(_at(b, lane))
        quotient = x / y
        out[lane] = _narrow(quotient, -_fused(quotient, y, -x) * np.sign(y), mode)


@_jit
def root32(a: Any, mode: int, out: Any) -> None:
    """Write the square root, rounded to float32."""
    for lane in range(len(out)):
        x = np.float64(_at(a, lane))
        root = np.sqrt(x)
        out[lane] = _narrow(root, -_fused(root, root, -x), mode)
