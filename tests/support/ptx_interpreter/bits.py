"""Bit operations, comparisons, selections and conversions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_interpreter.errors import Unsupported
from ptx_interpreter.halves import from_bfloat16, to_bfloat16, to_tf32
from ptx_interpreter.lanes import DTYPES, UNSIGNED, Lanes, Mask, Step
from ptx_interpreter.parse import Instruction, width_of

__all__ = ["STEPS"]

Values = NDArray[Any]
Binder = Callable[[Lanes, Instruction], Step]

_COMPARISONS: dict[str, Callable[..., Any]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
    # True as well where an operand is no number.
    "equ": lambda a, b: ~((a < b) | (a > b)),
    "neu": np.not_equal,
    "ltu": lambda a, b: ~(a >= b),
    "leu": lambda a, b: ~(a > b),
    "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b),
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}


def _not_equal_and_ordered(a: Values, b: Values) -> Values:
    return (a < b) | (a > b)


def _simple(function: Callable[..., Any]) -> Binder:
    def bind(lanes: Lanes, instruction: Instruction) -> Step:
        ptx_type = instruction.parts[-1]
        sources = [lanes.source(operand, ptx_type) for operand in instruction.operands[1:]]
        return lanes.compute(instruction.operands[0], ptx_type, function, *sources)

    return bind


def _invert(lanes: Lanes, instruction: Instruction) -> Step:
    ptx_type = instruction.parts[-1]
    source = lanes.source(instruction.operands[1], ptx_type)
    function: Any = np.logical_not if ptx_type == "pred" else np.invert
    return lanes.compute(instruction.operands[0], ptx_type, function, source)


def _shift(lanes: Lanes, instruction: Instruction) -> Step:
    """Shift; by the width or more gives zeros, or copies of the sign."""
    parts, (target, value, amount) = instruction.parts, instruction.operands
    ptx_type = parts[-1]
    a, by = lanes.source(value, ptx_type), lanes.source(amount, "u32")
    bits = 8 * width_of(ptx_type)
    function: Any = np.left_shift if parts[0] == "shl" else np.right_shift
    if len(by) == 1 and by[0] < bits:
        return lanes.compute(target, ptx_type, function, a, by.astype(a.dtype))

    def shift(x: Values, n: Values) -> Values:
        largest = bits - 1
        shifted = function(x, np.minimum(n, largest).astype(x.dtype))
        if parts[0] == "shr" and x.dtype.kind == "i":
            return shifted
        return np.where(n > largest, x.dtype.type(0), shifted)

    return lanes.compute(target, ptx_type, shift, a, by)


def _funnel(lanes: Lanes, instruction: Instruction) -> Step:
    _, direction, clamp, _ = instruction.parts
    low, high, by = (lanes.source(operand, "u32") for operand in instruction.operands[1:])

    def funnel(a: Values, b: Values, n: Values) -> Values:
        wide = (b.astype(np.uint64) << np.uint64(32)) | a
        count = (n & 31 if clamp == "wrap" else np.minimum(n, 32)).astype(np.uint64)
        if direction == "r":
            return (wide >> count).astype(np.uint32)
        return ((wide << count) >> np.uint64(32)).astype(np.uint32)

    return lanes.compute(instruction.operands[0], "u32", funnel, low, high, by)


def _lookup(lanes: Lanes, instruction: Instruction) -> Step:
    """lop3: every bit by a table of eight."""
    target, *operands, table_text = instruction.operands
    a, b, c = (lanes.source(operand, "u32") for operand in operands)
    table = int(table_text, 0)

    def lookup(x: Values, y: Values, z: Values) -> Values:
        result = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.uint32)
        for entry in range(8):
            if table >> entry & 1:
                term = x if entry & 4 else ~x
                term = term & (y if entry & 2 else ~y)
                result |= term & (z if entry & 1 else ~z)
        return result

    return lanes.compute(target, "u32", lookup, a, b, c)


def _permute(lanes: Lanes, instruction: Instruction) -> Step:
    if len(instruction.parts) > 2:
        raise Unsupported(instruction.opcode)
    a, b, selector = (lanes.source(operand, "u32") for operand in instruction.operands[1:])

    def permute(x: Values, y: Values, chosen: Values) -> Values:
        wide = (y.astype(np.uint64) << np.uint64(32)) | x
        result = np.zeros(wide.shape, np.uint64)
        for byte in range(4):
            nibble = (chosen >> np.uint32(4 * byte)).astype(np.uint64) & np.uint64(0xF)
            value = (wide >> (np.uint64(8) * (nibble & np.uint64(7)))) & np.uint64(0xFF)
            sign = np.where(value & np.uint64(0x80), np.uint64(0xFF), np.uint64(0))
            value = np.where(nibble & np.uint64(8), sign, value)
            result = result | (value << np.uint64(8 * byte))
        return result.astype(np.uint32)

    return lanes.compute(instruction.operands[0], "u32", permute, a, b, selector)


def _dot_of_bytes(lanes: Lanes, instruction: Instruction) -> Step:
    """dp4a: four products of bytes and an addend, modulo 2^32."""
    kinds = [{"u32": np.uint8, "s32": np.int8}[part] for part in instruction.parts[1:]]
    ptx_type = "s32" if "s32" in instruction.parts else "u32"
    a, b, c = (lanes.source(operand, "u32") for operand in instruction.operands[1:])

    def dot(x: Values, y: Values, addend: Values) -> Values:
        left, right = (
            np.ascontiguousarray(words).view(kind).reshape(-1, 4).astype(np.int64)
            for words, kind in zip((x, y), kinds, strict=True)
        )
        total = (left * right).sum(axis=1) + addend.astype(np.int64)
        return total.astype(np.uint32).view(DTYPES[ptx_type])

    return lanes.compute(instruction.operands[0], ptx_type, dot, a, b, c)


def _insert_field(lanes: Lanes, instruction: Instruction) -> Step:
    ptx_type = instruction.parts[-1]
    a, b = (lanes.source(operand, ptx_type) for operand in instruction.operands[1:3])
    start, length = (lanes.source(operand, "u32") & 0xFF for operand in instruction.operands[3:])
    bits, dtype = 8 * width_of(ptx_type), DTYPES[ptx_type]
    if max(len(start), len(length)) > 1:
        raise Unsupported(f"{instruction.opcode} with a field that varies")
    first, count = int(start[0]), int(length[0])
    field = dtype(((1 << count) - 1 << first) & ((1 << bits) - 1))

    def insert(x: Values, y: Values) -> Values:
        return ((x << dtype(first)) & field) | (y & ~field) if first < bits else y

    return lanes.compute(instruction.operands[0], ptx_type, insert, a, b)


def _extract_field(lanes: Lanes, instruction: Instruction) -> Step:
    ptx_type = instruction.parts[-1]
    a = lanes.source(instruction.operands[1], ptx_type)
    start, length = (lanes.source(operand, "u32") & 0xFF for operand in instruction.operands[2:])
    bits = 8 * width_of(ptx_type)

    def extract(x: Values, first: Values, count: Values) -> Values:
        if x.dtype.kind == "i" and ((first + count) > bits).any():
            raise Unsupported("a signed field past the last bit")
        up = np.clip(bits - first.astype(np.int64) - count, 0, bits - 1).astype(x.dtype)
        down = np.clip(bits - count.astype(np.int64), 0, bits - 1).astype(x.dtype)
        return np.where(count == 0, x.dtype.type(0), ((x << up) >> down))

    return lanes.compute(instruction.operands[0], ptx_type, extract, a, start, length)


def _count(lanes: Lanes, instruction: Instruction) -> Step:
    """popc, clz, brev."""
    parts = instruction.parts
    unsigned = f"u{8 * width_of(parts[-1])}"
    a = lanes.source(instruction.operands[1], unsigned)
    bits = 8 * width_of(unsigned)

    def leading_zeros(x: Values) -> Values:
        for shift in (1, 2, 4, 8, 16, 32):
            if shift < bits:
                x = x | (x >> x.dtype.type(shift))
        return bits - np.bitwise_count(x)

    def reversed_bits(x: Values) -> Values:
        found = np.zeros_like(x)
        for bit in range(bits):
            found |= ((x >> x.dtype.type(bit)) & x.dtype.type(1)) << x.dtype.type(bits - 1 - bit)
        return found

    functions = {"popc": np.bitwise_count, "clz": leading_zeros, "brev": reversed_bits}
    function = functions[parts[0]]
    result = unsigned if parts[0] == "brev" else "u32"
    return lanes.compute(instruction.operands[0], result, lambda x: function(x), a)


def _find_leading(lanes: Lanes, instruction: Instruction) -> Step:
    ptx_type = instruction.parts[-1]
    a = lanes.source(instruction.operands[1], ptx_type)

    def find(x: Values) -> Values:
        magnitude = np.where(x < 0, ~x, x) if x.dtype.kind == "i" else x
        magnitude = magnitude.astype(UNSIGNED[x.dtype.itemsize])
        found = np.full(magnitude.shape, -1, np.int32)
        for bit in range(8 * x.dtype.itemsize):
            found = np.where(magnitude >> magnitude.dtype.type(bit) != 0, bit, found)
        if "shiftamt" in instruction.parts:
            found = np.where(found < 0, found, 8 * x.dtype.itemsize - 1 - found)
        return found.astype(np.uint32)

    return lanes.compute(instruction.operands[0], "u32", find, a)


def _compare(lanes: Lanes, instruction: Instruction) -> Step:
    """setp, with an optional second predicate and a boolean to combine with."""
    parts, operands = instruction.parts, instruction.operands
    ptx_type = parts[-1]
    if "16" in ptx_type and ptx_type[0] in "bf" and ptx_type != "b16":
        raise Unsupported(instruction.opcode)
    first, _, second = operands[0].partition("|")
    a, b = (lanes.source(operand, ptx_type) for operand in operands[1:3])
    function = _COMPARISONS[parts[1]]
    if ptx_type[0] == "f" and parts[1] == "ne":
        function = _not_equal_and_ordered
    if len(operands) == 3 and not second:
        return lanes.compute(first, "pred", function, a, b)
    stores = [lanes.into(name, "pred") for name in (first, second) if name]
    combine: Any = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}.get(parts[2])
    other_name = operands[3] if len(operands) > 3 else ""
    other = lanes.source(other_name.lstrip("!"), "pred") if other_name else None

    def run(mask: Mask) -> None:
        result = function(a, b)
        results = [result, ~result]
        if other is not None:
            term = ~other if other_name.startswith("!") else other.copy()
            results = [combine(value, term) for value in results]
        for store, value in zip(stores, results, strict=False):
            store(value, mask)

    return run


def _select(lanes: Lanes, instruction: Instruction) -> Step:
    ptx_type = instruction.parts[-1]
    target, first, second, chooser = instruction.operands
    a, b = lanes.source(first, ptx_type), lanes.source(second, ptx_type)
    chosen = lanes.source(chooser, "pred")
    return lanes.compute(target, ptx_type, lambda p, x, y: np.where(p, x, y), chosen, a, b)


_ROUND: dict[str, Callable[..., Any]] = {
    "rni": np.rint,
    "rzi": np.trunc,
    "rmi": np.floor,
    "rpi": np.ceil,
}


def _to_integer(values: Values, dtype: Any, rounding: str) -> Values:
    """Round, then clamp; what is no number gives 0, or the middle of the range for 64 bits."""
    rounded = _ROUND[rounding](values.astype(np.float64))
    limits = np.iinfo(dtype)
    inside = (rounded >= float(limits.min)) & (rounded < float(limits.max) + (limits.bits < 53))
    result = np.where(inside, rounded, 0).astype(dtype)
    result = np.where(rounded > 0, np.where(inside, result, limits.max), result).astype(dtype)
    result = np.where((rounded < 0) & ~inside, limits.min, result).astype(dtype)
    no_number = 0
    if limits.bits == 64 or values.dtype == np.float64:
        no_number = limits.min if limits.min else 1 << (limits.bits - 1)
    return np.where(np.isnan(values), np.array(no_number).astype(dtype), result).astype(dtype)


def _directed_float32(values: Values, mode: str) -> Values:
    """Round float64, or integers, to float32 in a direction."""
    exact = values.astype(np.float64)
    if mode != "rn" and values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        raise Unsupported("64-bit integers rounded in a direction")
    rounded = values.astype(np.float32)
    infinity = np.float32(np.inf)
    too_high, too_low = rounded > exact, rounded < exact
    down = np.nextafter(rounded, -infinity)
    up = np.nextafter(rounded, infinity)
    if mode == "rm":
        return np.where(too_high, down, rounded)
    if mode == "rp":
        return np.where(too_low, up, rounded)
    if mode == "rz":
        smaller = np.where(too_high & (exact > 0), down, rounded)
        return np.where(too_low & (exact < 0), up, smaller)
    return rounded


def _convert(lanes: Lanes, instruction: Instruction) -> Step:
    parts, operands = instruction.parts[1:], instruction.operands
    modifiers, to, source_type = parts[:-2], parts[-2], parts[-1]
    if any(m in ("ftz", "sat", "relu", "satfinite") for m in modifiers):
        raise Unsupported(instruction.opcode)
    mode = next((m for m in modifiers if m[0] == "r"), "")
    if to in ("bf16x2", "f16x2"):
        high, low = (lanes.source(operand, "f32") for operand in operands[1:])

        def narrow(values: Values) -> Values:
            if to == "bf16x2":
                return to_bfloat16(values, mode)
            return values.astype(np.float16).view(np.uint16)

        def pack(x: Values, y: Values) -> Values:
            return (narrow(x).astype(np.uint32) << np.uint32(16)) | narrow(y)

        return lanes.compute(operands[0], "b32", pack, high, low)
    values = lanes.source(operands[1], source_type)
    if to == "tf32":
        return lanes.compute(operands[0], "f32", lambda x: to_tf32(x, mode), values)

    def convert(x: Values) -> Values:
        if source_type == "bf16":
            x = from_bfloat16(x)
        if to == "bf16":
            return to_bfloat16(x, mode or "rn")
        if to[0] in "us" and source_type[0] in "fb":
            return _to_integer(x, DTYPES[to], mode)
        if to[0] == "f" and mode in _ROUND:
            return _ROUND[mode](x).astype(DTYPES[to])
        if to == "f32" and mode in ("rm", "rp", "rz"):
            return _directed_float32(x, mode)
        if mode not in ("", "rn"):
            raise Unsupported(instruction.opcode)
        return x.astype(DTYPES[to])

    return lanes.compute(operands[0], to if to != "bf16" else "b16", convert, values)


STEPS: dict[str, Binder] = {
    "and": _simple(np.bitwise_and),
    "or": _simple(np.bitwise_or),
    "xor": _simple(np.bitwise_xor),
    "not": _invert,
    "shl": _shift,
    "shr": _shift,
    "shf": _funnel,
    "lop3": _lookup,
    "prmt": _permute,
    "dp4a": _dot_of_bytes,
    "bfi": _insert_field,
    "bfe": _extract_field,
    "popc": _count,
    "clz": _count,
    "brev": _count,
    "bfind": _find_leading,
    "setp": _compare,
    "selp": _select,
    "cvt": _convert,
}
