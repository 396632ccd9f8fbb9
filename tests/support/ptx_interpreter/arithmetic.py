"""Integer and floating-point instructions, and moves between registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_interpreter import rounding
from ptx_interpreter.errors import Unsupported
from ptx_interpreter.halves import bind_half
from ptx_interpreter.lanes import DTYPES, Lanes, Mask, Step
from ptx_interpreter.memory import SHARED_ORIGIN
from ptx_interpreter.parse import Instruction, width_of

__all__ = ["STEPS"]

Values = NDArray[Any]
_WIDER = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}
_SMALLEST = {"f32": np.float32(-0.0), "f64": np.float64(-0.0)}


def _mode(parts: list[str]) -> int:
    if "ftz" in parts or "sat" in parts:
        raise Unsupported("flushing to zero and saturation")
    return next((rounding.MODES[part] for part in parts if part in rounding.MODES), 0)


def _sources(lanes: Lanes, instruction: Instruction, ptx_type: str, first: int = 1) -> list[Values]:
    return [lanes.source(operand, ptx_type) for operand in instruction.operands[first:]]


def _compiled(
    lanes: Lanes, operand: str, ptx_type: str, function: Any, mode: int, *sources: Values
) -> Step:
    """Return a step around a function of `rounding`, which writes into its last argument."""
    dtype = DTYPES[ptx_type]
    target, spare = lanes.view(operand, dtype), lanes.scratch_like(dtype)

    def run(mask: Mask) -> None:
        if mask is None:
            function(*sources, mode, target)
        else:
            function(*sources, mode, spare)
            np.copyto(target, spare, where=mask)

    return run


def _high(a: Values, b: Values) -> Values:
    """Return the upper half of the product."""
    size, is_signed = a.dtype.itemsize, a.dtype.kind == "i"
    if size < 8:
        wide = np.dtype(f"{a.dtype.kind}{2 * size}")
        return ((a.astype(wide) * b.astype(wide)) >> (8 * size)).astype(a.dtype)
    x, y = a.view(np.uint64), b.view(np.uint64)
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    cross = (x & low) * (y >> half) + (((x & low) * (y & low)) >> half)
    other = (x >> half) * (y & low) + (cross & low)
    product = (x >> half) * (y >> half) + (cross >> half) + (other >> half)
    if is_signed:
        product = product - np.where(a < 0, y, 0) - np.where(b < 0, x, 0)
    return product.view(a.dtype)


def _add_or_subtract(lanes: Lanes, instruction: Instruction) -> Step:
    parts = instruction.parts
    ptx_type, target = parts[-1], instruction.operands[0]
    if "16" in ptx_type and ptx_type[0] in "bf":
        return bind_half(lanes, instruction)
    a, b = _sources(lanes, instruction, ptx_type)
    is_sum = parts[0].startswith("add")
    if "cc" in parts or parts[0] in ("addc", "subc"):
        return _with_carry(lanes, instruction, is_sum)
    if ptx_type[0] == "f" and _mode(parts):
        signed_b = [b] if is_sum else [lanes.scratch_like(b.dtype, 1)]
        function = rounding.sum64 if ptx_type == "f64" else rounding.fma32
        sources = (a, *signed_b) if ptx_type == "f64" else (a, np.ones(1, np.float32), *signed_b)
        step = _compiled(lanes, target, ptx_type, function, _mode(parts), *sources)
        if is_sum:
            return step

        def negate_then_add(mask: Mask) -> None:
            np.negative(b, out=signed_b[0])
            step(mask)

        return negate_then_add
    if "sat" in parts:
        raise Unsupported("saturating sums")
    return lanes.compute(target, ptx_type, np.add if is_sum else np.subtract, a, b)


def _with_carry(lanes: Lanes, instruction: Instruction, is_sum: bool) -> Step:
    """add.cc, addc, sub.cc, subc: the carry lives beside the registers."""
    parts = instruction.parts
    unsigned = f"u{8 * width_of(parts[-1])}"
    a, b = _sources(lanes, instruction, unsigned)
    store = lanes.into(instruction.operands[0], unsigned)
    takes, gives = parts[0] in ("addc", "subc"), "cc" in parts

    def run(mask: Mask) -> None:
        carry = lanes.carry.astype(a.dtype) if takes else a.dtype.type(0)
        if is_sum:
            part = a + b
            total = part + carry
            over = (part < a) | (total < part)
        else:
            part = a - b
            total = part - carry
            over = (a < b) | (part < carry)
        store(total, mask)
        if gives:
            np.copyto(lanes.carry, over, where=True if mask is None else mask)

    return run


def _multiply(lanes: Lanes, instruction: Instruction) -> Step:
    parts, operands = instruction.parts, instruction.operands
    ptx_type, target = parts[-1], operands[0]
    if "16" in ptx_type and ptx_type[0] in "bf":
        return bind_half(lanes, instruction)
    a, b = (lanes.source(operand, ptx_type) for operand in operands[1:3])
    if ptx_type[0] == "f":
        if not _mode(parts):
            return lanes.compute(target, ptx_type, np.multiply, a, b)
        function = rounding.fma32 if ptx_type == "f32" else rounding.fma64
        zero = np.array([_SMALLEST[ptx_type]])
        return _compiled(lanes, target, ptx_type, function, _mode(parts), a, b, zero)
    if parts[0] not in ("mul", "mad") or "cc" in parts:
        raise Unsupported(instruction.opcode)
    result = _WIDER[ptx_type] if "wide" in parts else ptx_type
    addend = lanes.source(operands[3], result) if parts[0] == "mad" else None
    if "wide" in parts:
        dtype = DTYPES[result]
        spare, other = lanes.scratch_like(dtype, 1), lanes.scratch_like(dtype, 2)
        store = lanes.into(target, result)

        def widen(mask: Mask) -> None:
            spare[...] = a
            np.multiply(spare, b, out=other, dtype=dtype)
            if addend is not None:
                np.add(other, addend, out=other)
            store(other, mask)

        return widen
    if "hi" in parts:
        if addend is None:
            return lanes.compute(target, result, _high, a, b)
        return lanes.compute(target, result, lambda x, y, z: _high(x, y) + z, a, b, addend)
    if addend is None:
        return lanes.compute(target, result, np.multiply, a, b)
    return lanes.compute(target, result, lambda x, y, z: x * y + z, a, b, addend)


def _fused(lanes: Lanes, instruction: Instruction) -> Step:
    ptx_type = instruction.parts[-1]
    if "16" in ptx_type:
        return bind_half(lanes, instruction)
    function = rounding.fma32 if ptx_type == "f32" else rounding.fma64
    a, b, c = _sources(lanes, instruction, ptx_type)
    mode = _mode(instruction.parts)
    return _compiled(lanes, instruction.operands[0], ptx_type, function, mode, a, b, c)


def _truncated_quotient(a: Values, b: Values) -> Values:
    """Divide towards zero; by zero gives all ones, as the hardware does."""
    safe = np.where(b == 0, 1, b).astype(b.dtype)
    quotient = a // safe
    if a.dtype.kind == "i":
        quotient = quotient + ((quotient < 0) & (quotient * safe != a))
    return np.where(b == 0, np.array(-1).astype(a.dtype), quotient)


def _remainder(a: Values, b: Values) -> Values:
    return a - _truncated_quotient(a, b) * b


def _divide(lanes: Lanes, instruction: Instruction) -> Step:
    parts, target = instruction.parts, instruction.operands[0]
    ptx_type = parts[-1]
    a, b = _sources(lanes, instruction, ptx_type)
    if ptx_type[0] != "f":
        if parts[0] == "rem":
            return lanes.compute(
                target, ptx_type, lambda x, y: x - _truncated_quotient(x, y) * y, a, b
            )
        return lanes.compute(target, ptx_type, _truncated_quotient, a, b)
    if "approx" in parts or "full" in parts:
        raise Unsupported(f"{instruction.opcode}: its bits are not specified")
    if mode := _mode(parts):
        if ptx_type == "f64":
            raise Unsupported(instruction.opcode)
        return _compiled(lanes, target, ptx_type, rounding.quotient32, mode, a, b)
    return lanes.compute(target, ptx_type, np.divide, a, b)


def _root_or_reciprocal(lanes: Lanes, instruction: Instruction) -> Step:
    parts, target = instruction.parts, instruction.operands[0]
    ptx_type = parts[-1]
    if "approx" in parts:
        raise Unsupported(f"{instruction.opcode}: its bits are not specified")
    (a,) = _sources(lanes, instruction, ptx_type)
    mode = _mode(parts)
    if mode and ptx_type == "f64":
        raise Unsupported(instruction.opcode)
    if parts[0] == "sqrt":
        if mode:
            return _compiled(lanes, target, ptx_type, rounding.root32, mode, a)
        return lanes.compute(target, ptx_type, np.sqrt, a)
    one = np.ones(1, a.dtype)
    if mode:
        return _compiled(lanes, target, ptx_type, rounding.quotient32, mode, one, a)
    return lanes.compute(target, ptx_type, np.divide, one, a)


def _minimum_or_maximum(lanes: Lanes, instruction: Instruction) -> Step:
    parts = instruction.parts
    ptx_type = parts[-1]
    if "16" in ptx_type and ptx_type[0] in "bf":
        return bind_half(lanes, instruction)
    is_min = parts[0] == "min"
    function: Any = np.minimum if is_min else np.maximum
    if ptx_type[0] == "f" and "NaN" not in parts:
        function = np.fmin if is_min else np.fmax
    sources = _sources(lanes, instruction, ptx_type)
    return lanes.compute(instruction.operands[0], ptx_type, function, *sources)


def _unary(function: Callable[..., Any]) -> Callable[[Lanes, Instruction], Step]:
    def bind(lanes: Lanes, instruction: Instruction) -> Step:
        ptx_type = instruction.parts[-1]
        if "16" in ptx_type and ptx_type[0] in "bf":
            return bind_half(lanes, instruction)
        sources = _sources(lanes, instruction, ptx_type)
        return lanes.compute(instruction.operands[0], ptx_type, function, *sources)

    return bind


def _move(lanes: Lanes, instruction: Instruction) -> Step:
    """Move a register, or join and split one with ``{low, high}``."""
    ptx_type = instruction.parts[-1]
    target, source = instruction.operands
    if source.startswith("{"):
        pieces = [piece.strip() for piece in source[1:-1].split(",")]
        part = f"b{8 * width_of(ptx_type) // len(pieces)}"
        views = [lanes.source(piece, part) for piece in pieces]
        store = lanes.into(target, ptx_type)
        bits = 8 * width_of(part)
        dtype = DTYPES[ptx_type]

        def join(mask: Mask) -> None:
            joined = np.zeros(lanes.n, dtype)
            for position, view in enumerate(views):
                joined |= view.astype(dtype) << dtype(position * bits)
            store(joined, mask)

        return join
    if target.startswith("{"):
        pieces = [piece.strip() for piece in target[1:-1].split(",")]
        part = f"b{8 * width_of(ptx_type) // len(pieces)}"
        whole = lanes.source(source, ptx_type)
        stores = [lanes.into(piece, part) for piece in pieces]

        def split(mask: Mask) -> None:
            parts = np.ascontiguousarray(whole).view(DTYPES[part]).reshape(len(whole), -1)
            for position, store in enumerate(stores):
                store(parts[:, position], mask)

        return split
    view, store = lanes.source(source, ptx_type), lanes.into(target, ptx_type)
    return lambda mask: store(view, mask)


def _convert_address(lanes: Lanes, instruction: Instruction) -> Step:
    """Between generic addresses and those of a space; global ones are the same in both."""
    parts = instruction.parts
    shift = np.uint64(SHARED_ORIGIN if "shared" in parts else 0)
    if "local" in parts:
        raise Unsupported("generic addresses of local memory")
    view = lanes.source(instruction.operands[1], "u64")
    change = np.subtract if "to" in parts else np.add
    return lanes.compute(instruction.operands[0], "u64", change, view, np.array([shift]))


STEPS: dict[str, Callable[[Lanes, Instruction], Step]] = {
    **dict.fromkeys(("add", "sub", "addc", "subc"), _add_or_subtract),
    **dict.fromkeys(("mul", "mad"), _multiply),
    **dict.fromkeys(("div", "rem"), _divide),
    **dict.fromkeys(("sqrt", "rcp", "rsqrt"), _root_or_reciprocal),
    **dict.fromkeys(("min", "max"), _minimum_or_maximum),
    "fma": _fused,
    "abs": _unary(np.abs),
    "neg": _unary(np.negative),
    "mov": _move,
    "cvta": _convert_address,
}
