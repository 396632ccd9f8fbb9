"""Tensor-core instructions: ldmatrix and mma.

NVIDIA does not specify how the sums of mma are rounded.  Products of 16-bit and TF32 elements are
exact in float64 here, and a launch chooses how they are added (`Lanes.mma_mode`):

float64
    all of them and the addend in float64, rounded once;
float32-reversed
    one after the other in float32, from the last product to the first, the addend at the end;
truncating
    in groups of eight (four for TF32), aligned to the largest exponent and cut two bits below a
    float32's last, towards zero: what Fasi, Higham, Mikaitis and Pranesh (Numerical behavior of
    NVIDIA tensor cores, 2021) observed on an A100.

A result that is right under all of them does not depend on the hardware's choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ptx_interpreter import touch
from ptx_interpreter.access import Checked
from ptx_interpreter.errors import BadShuffle, Unsupported
from ptx_interpreter.fragments import shape_of
from ptx_interpreter.halves import from_bfloat16
from ptx_interpreter.lanes import WARP, Lanes, Mask, Step
from ptx_interpreter.parse import Instruction

__all__ = ["MMA_MODES", "STEPS", "multiply", "widened"]

Values = NDArray[Any]
MMA_MODES = ("float64", "float32-reversed", "truncating")


def _names(operand: str) -> list[str]:
    return [name.strip() for name in operand.strip("{}").split(",")]


def _whole_warps(lanes: Lanes, instruction: Instruction, mask: Mask) -> Values:
    """Return which warps take part; every one of their lanes must."""
    if mask is None:
        return np.ones(lanes.n // WARP, np.bool_)
    by_warp = mask.reshape(-1, WARP)
    some, every = by_warp.any(axis=1), by_warp.all(axis=1)
    if (some != every).any():
        lane = int(np.flatnonzero(some != every)[0]) * WARP
        raise lanes.fail(BadShuffle, instruction, lane, "not all lanes of the warp take part")
    return every


@numba.njit(cache=True, nogil=True)
def multiply(a: Any, b: Any, c: Any, mode: int, group: int) -> None:
    """Add the products of a[w] (m, k) and b[w] (k, n) to c[w] for every warp w."""
    warps, m, k = a.shape
    n = b.shape[2]
    products = np.empty(k + 1)
    for w in range(warps):
        for i in range(m):
            for j in range(n):
                for q in range(k):
                    products[q] = a[w, i, q] * b[w, q, j]
                if mode == 0:
                    total = np.float64(c[w, i, j])
                    for q in range(k):
                        total += products[q]
                    c[w, i, j] = np.float32(total)
                elif mode == 1:
                    narrow = np.float32(0.0)
                    for q in range(k):
                        narrow = np.float32(narrow + np.float32(products[k - 1 - q]))
                    c[w, i, j] = np.float32(narrow + c[w, i, j])
                else:
                    for first in range(0, k, group):
                        c[w, i, j] = _truncated_sum(products, first, first + group, c[w, i, j])


@numba.njit(cache=True, nogil=True)
def _truncated_sum(products: Any, first: int, last: int, addend: Any) -> Any:
    largest = abs(np.float64(addend))
    for q in range(first, last):
        largest = max(largest, abs(products[q]))
    if largest == 0.0 or not np.isfinite(largest):
        total = np.float64(addend)
        for q in range(first, last):
            total += products[q]
        return np.float32(total)
    exponent = np.floor(np.log2(largest))
    unit = 2.0 ** max(exponent - 25.0, -1000.0)
    total = np.trunc(np.float64(addend) / unit)
    for q in range(first, last):
        total += np.trunc(products[q] / unit)
    total *= unit
    rounded = np.float32(total)
    if abs(np.float64(rounded)) > abs(total):
        rounded = np.nextafter(rounded, np.float32(0.0))
    return rounded


def widened(words: Values, element: str) -> Values:
    """Return the elements of 32-bit words in float64, low half first."""
    if element == "tf32":
        # Hardware does not look at the 13 low bits.
        return (words & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)
    halves = words.view(np.uint16)
    wide = from_bfloat16(halves) if element == "bf16" else halves.view(np.float16)
    return wide.astype(np.float64)


def _mma(lanes: Lanes, instruction: Instruction) -> Step:
    parts = instruction.parts
    if parts[1:3] != ["sync", "aligned"] or parts[4:6] != ["row", "col"] or len(parts) != 10:
        raise Unsupported(instruction.opcode)
    form, (d_type, a_type, b_type, c_type) = parts[3], parts[6:]
    shape = shape_of(form, a_type)
    if shape is None or a_type != b_type or (d_type, c_type) != ("f32", "f32"):
        raise Unsupported(instruction.opcode)
    sources = [
        [lanes.source(name, "b32") for name in _names(operand)]
        for operand in instruction.operands[1:]
    ]
    stores = [lanes.into(name, "f32") for name in _names(instruction.operands[0])]
    mode, group = MMA_MODES.index(lanes.mma_mode), 4 if a_type == "tf32" else 8

    def elements(registers: list[Values], warps: Values) -> Values:
        """Return the registers of every warp as (warps, 32, elements of a lane) in float64."""
        rows = [np.broadcast_to(r, lanes.n).reshape(-1, WARP)[warps] for r in registers]
        return widened(np.stack(rows, axis=-1), a_type)

    def run(mask: Mask) -> None:
        warps = _whole_warps(lanes, instruction, mask)
        count = int(warps.sum())
        a, b = np.zeros((count, 16, shape.k)), np.zeros((count, shape.k, 8))
        c = np.zeros((count, 16, 8), np.float32)
        a[:, shape.a.rows, shape.a.columns] = elements(sources[0], warps)
        b[:, shape.b.rows, shape.b.columns] = elements(sources[1], warps)
        addends = [np.broadcast_to(r, lanes.n).reshape(-1, WARP)[warps] for r in sources[2]]
        c[:, shape.c.rows, shape.c.columns] = np.stack(addends, axis=-1).view(np.float32)
        multiply(a, b, c, mode, group)
        out = c[:, shape.c.rows, shape.c.columns]
        full = lanes.scratch_like(np.float32, 3).reshape(-1, WARP)
        for register, store in enumerate(stores):
            full[warps] = out[:, :, register]
            store(full.reshape(-1), mask)

    return run


def _load_matrix(lanes: Lanes, instruction: Instruction) -> Step:
    """ldmatrix: lanes 8 i ... 8 i + 7 give the addresses of the rows of matrix i."""
    parts = instruction.parts
    count = int(parts[4][1:]) if parts[4].startswith("x") else 0
    if parts[3] != "m8n8" or parts[-1] != "b16" or not count:
        raise Unsupported(instruction.opcode)
    transposed = "trans" in parts
    names = _names(instruction.operands[0])
    stores = [lanes.into(name, "b32") for name in names]
    checked = Checked(lanes, instruction, instruction.operands[1], 16, "shared")
    # Lanes beyond the rows of x1 and x2 give addresses that nobody looks at.
    gives = (lanes.thread % WARP) < 8 * count
    first = np.arange(lanes.n) - lanes.thread % WARP
    lane = lanes.thread % WARP
    checked.nbytes = 16
    halves = lanes.shared.data.view(np.uint16)

    def run(mask: Mask) -> None:
        _whole_warps(lanes, instruction, mask)
        active = lanes.all_lanes if mask is None else mask
        rows = checked.resolve(active & gives).copy()
        checked.check(touch.READ, active & gives, rows)
        for matrix, store in enumerate(stores):
            if transposed:
                low = rows[first + 8 * matrix + 2 * (lane & 3)] // 2 + (lane >> 2)
                high = rows[first + 8 * matrix + 2 * (lane & 3) + 1] // 2 + (lane >> 2)
            else:
                low = rows[first + 8 * matrix + (lane >> 2)] // 2 + 2 * (lane & 3)
                high = low + 1
            value = halves[low].astype(np.uint32) | (
                halves[high].astype(np.uint32) << np.uint32(16)
            )
            store(value, mask)

    return run


STEPS: dict[str, Callable[[Lanes, Instruction], Step]] = {
    "mma": _mma,
    "ldmatrix": _load_matrix,
}
