"""Arithmetic of float16 and bfloat16, alone and in pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_interpreter.errors import Unsupported
from ptx_interpreter.lanes import Lanes, Mask, Step
from ptx_interpreter.parse import Instruction

__all__ = ["bind_half", "from_bfloat16", "to_bfloat16", "to_tf32"]

Values = NDArray[Any]


def from_bfloat16(bits: Values) -> Values:
    """Return the float32 values of bfloat16 bits."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bfloat16(values: Values, mode: str = "rn") -> Values:
    """Round float32 to bfloat16 bits, to nearest even or towards zero."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    if mode == "rn":
        rounded = (
            bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        ) >> np.uint32(16)
    elif mode == "rz":
        rounded = bits >> np.uint32(16)
    else:
        raise Unsupported(f"bfloat16 with .{mode}")
    return np.where(np.isnan(values), np.uint32(0x7FFF), rounded).astype(np.uint16)


def to_tf32(values: Values, mode: str = "rna") -> Values:
    """Round float32 to the 10 bits of TF32: ties away from zero, to even, or truncation."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    step = {
        "rna": np.uint32(0x1000),
        "rn": np.uint32(0x0FFF) + ((bits >> np.uint32(13)) & np.uint32(1)),
        "rz": np.uint32(0),
    }[mode]
    rounded = ((bits + step) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)


def _operation(parts: list[str]) -> Callable[..., Values]:
    """Return the operation in float64, wide enough to be rounded once afterwards."""
    name = parts[0]
    if any(part in parts for part in ("ftz", "sat", "relu", "rz", "rm", "rp")):
        raise Unsupported(".".join(parts))
    operations: dict[str, Callable[..., Values]] = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "min": np.fmin,
        "max": np.fmax,
        "neg": lambda a: -a,
        "abs": np.abs,
    }
    if name not in operations:
        raise Unsupported(f"{'.'.join(parts)}: not rounded once by this interpreter")
    return operations[name]


def bind_half(lanes: Lanes, instruction: Instruction) -> Step:
    """Bind an instruction on f16, bf16 or pairs of them."""
    ptx_type = instruction.parts[-1]
    is_brain, is_pair = ptx_type.startswith("b"), ptx_type.endswith("x2")
    operation = _operation(instruction.parts)
    raw = "b32" if is_pair else "b16"
    sources = [lanes.source(operand, raw) for operand in instruction.operands[1:]]
    store = lanes.into(instruction.operands[0], raw)

    def widen(values: Values) -> Values:
        halves = np.ascontiguousarray(values).view(np.uint16)
        wide = from_bfloat16(halves) if is_brain else halves.view(np.float16)
        return wide.astype(np.float64)

    def run(mask: Mask) -> None:
        result = operation(*(widen(source) for source in sources))
        if is_brain:
            # The sum of two bfloat16 may need more than float32 has: through rounding to odd.
            narrow = result.astype(np.float32)
            lost = narrow.astype(np.float64) != result
            even = (narrow.view(np.uint32) & 1) == 0
            towards = np.where(result > narrow, np.inf, -np.inf).astype(np.float32)
            halves = to_bfloat16(np.where(lost & even, np.nextafter(narrow, towards), narrow))
        else:
            halves = result.astype(np.float16).view(np.uint16)
        store(np.ascontiguousarray(halves).view(np.uint32 if is_pair else np.uint16), mask)

    return run
