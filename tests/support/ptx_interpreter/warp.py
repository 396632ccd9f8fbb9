"""Instructions by which the lanes of a warp talk to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_interpreter.errors import BadShuffle, Unsupported
from ptx_interpreter.lanes import WARP, Lanes, Mask, Step
from ptx_interpreter.parse import Instruction

__all__ = ["STEPS", "is_collective", "member_operand"]

Values = NDArray[Any]


def is_collective(instruction: Instruction) -> bool:
    """Return whether the lanes of a warp must execute the instruction together."""
    name = instruction.parts[0]
    if name == "bar":
        return instruction.parts[1] == "warp"
    return name in ("shfl", "vote", "redux", "match", "mma", "ldmatrix", "wgmma")


def member_operand(instruction: Instruction) -> str:
    """Return the operand that names the lanes which take part; all of them for matrices."""
    if instruction.parts[0] in ("mma", "ldmatrix"):
        return "-1"
    return instruction.operands[-1]


def _active(lanes: Lanes, mask: Mask) -> Values:
    return lanes.all_lanes if mask is None else mask


def _shuffle(lanes: Lanes, instruction: Instruction) -> Step:
    mode = instruction.parts[2]
    target, valid, clamp_operand = _shuffle_targets(instruction)
    source = lanes.source(instruction.operands[1], "b32")
    amount = lanes.source(instruction.operands[2], "u32")
    clamp = lanes.source(clamp_operand, "u32")
    store = lanes.into(target, "b32")
    store_valid = lanes.into(valid, "pred") if valid else None
    lane = lanes.thread % WARP
    first = np.arange(lanes.n) - lane

    def run(mask: Mask) -> None:
        by = amount.astype(np.int64) & 31
        limit = clamp.astype(np.int64)
        segment = (limit >> 8) & 31
        largest = (lane & segment) | (limit & 31 & ~segment)
        smallest = lane & segment
        if mode == "up":
            wanted = lane - by
            is_valid = wanted >= largest
        elif mode == "down":
            wanted = lane + by
            is_valid = wanted <= largest
        elif mode == "bfly":
            wanted = lane ^ by
            is_valid = wanted <= largest
        else:
            wanted = smallest | (by & ~segment)
            is_valid = wanted <= largest
        read_from = first + np.where(is_valid, wanted, lane)
        active = _active(lanes, mask)
        missing = active & ~active[read_from]
        if missing.any():
            reader = int(np.flatnonzero(missing)[0])
            raise lanes.fail(
                BadShuffle,
                instruction,
                reader,
                f"reads lane {int(read_from[reader]) % WARP}, which does not take part",
            )
        values = np.broadcast_to(source, lanes.n)[read_from]
        store(values, mask)
        if store_valid is not None:
            store_valid(is_valid, mask)

    return run


def _shuffle_targets(instruction: Instruction) -> tuple[str, str, str]:
    target, _, valid = instruction.operands[0].partition("|")
    return target, valid, instruction.operands[3]


def _vote(lanes: Lanes, instruction: Instruction) -> Step:
    mode = instruction.parts[2]
    predicate_name = instruction.operands[1]
    predicate = lanes.source(predicate_name.lstrip("!"), "pred")
    negated = predicate_name.startswith("!")
    is_ballot = mode == "ballot"
    store = lanes.into(instruction.operands[0], "b32" if is_ballot else "pred")
    bits = np.uint64(1) << np.arange(WARP, dtype=np.uint64)

    def run(mask: Mask) -> None:
        votes = np.broadcast_to(predicate ^ negated, lanes.n)
        active = _active(lanes, mask).reshape(-1, WARP)
        yes = votes.reshape(-1, WARP) & active
        result: Values
        if is_ballot:
            result = (yes * bits).sum(axis=1).astype(np.uint32)
        elif mode == "any":
            result = yes.any(axis=1)
        elif mode == "all":
            result = (yes == active).all(axis=1)
        else:
            result = (yes == active).all(axis=1) | ~yes.any(axis=1)
        store(np.repeat(result, WARP), mask)

    return run


def _reduce(lanes: Lanes, instruction: Instruction) -> Step:
    operation, ptx_type = instruction.parts[2], instruction.parts[-1]
    source = lanes.source(instruction.operands[1], ptx_type)
    functions: dict[str, Any] = {
        "add": np.add,
        "min": np.minimum,
        "max": np.maximum,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
    }
    store = lanes.into(instruction.operands[0], ptx_type)

    def run(mask: Mask) -> None:
        info = np.iinfo(source.dtype)
        neutral = {"min": info.max, "max": info.min, "and": -1 if info.min else info.max}
        filler = source.dtype.type(neutral.get(operation, 0))
        values = np.where(_active(lanes, mask), source, filler).reshape(-1, WARP)
        result = functions[operation].reduce(values, axis=1, dtype=source.dtype)
        store(np.repeat(result, WARP), mask)

    return run


def _match(lanes: Lanes, instruction: Instruction) -> Step:
    ptx_type = instruction.parts[-1]
    if instruction.parts[1] != "any":
        raise Unsupported(instruction.opcode)
    source = lanes.source(instruction.operands[1], ptx_type)
    store = lanes.into(instruction.operands[0], "b32")
    bits = np.uint64(1) << np.arange(WARP, dtype=np.uint64)

    def run(mask: Mask) -> None:
        values = np.broadcast_to(source, lanes.n).reshape(-1, WARP)
        active = _active(lanes, mask).reshape(-1, WARP)
        same = (values[:, :, None] == values[:, None, :]) & active[:, None, :]
        store((same * bits).sum(axis=2).astype(np.uint32).ravel(), mask)

    return run


def _active_mask(lanes: Lanes, instruction: Instruction) -> Step:
    raise Unsupported("activemask: what it returns is not specified")


def _synchronise(lanes: Lanes, instruction: Instruction) -> Step:
    def run(mask: Mask) -> None:
        lanes.memory.ticks += 1
        np.copyto(lanes.sync[1], lanes.memory.ticks, where=_active(lanes, mask))

    return run


STEPS: dict[str, Callable[[Lanes, Instruction], Step]] = {
    "shfl": _shuffle,
    "vote": _vote,
    "redux": _reduce,
    "match": _match,
    "activemask": _active_mask,
    "bar": _synchronise,
}
