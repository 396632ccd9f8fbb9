"""Registers that are read before they hold anything: found where the compiler leaves them.

Which registers can be read before they are written is a question about the text, answered once a
kernel by following every path.  Those alone, and the sums of `wgmma` between their start and the
wait for them, are watched while lanes run; copies are watched with what they copy.  Everything else
costs nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

import numpy as np

from ptx_interpreter.errors import EarlyRead, Uninitialised
from ptx_interpreter.lanes import Lanes, Mask, Step
from ptx_interpreter.parse import Instruction, KernelText

__all__ = ["READY", "UNWRITTEN", "check_guard", "is_watched", "watched"]

# What is known of a watched register of a lane, beside the number of a group of products.
READY, UNWRITTEN = 0, 1 << 62

_NAME = re.compile(r"[%$\w]+")
_WRITES_NOTHING = ("st", "red", "bra", "brx", "ret", "exit", "trap", "membar", "fence", "cp")
_WRITES_NOTHING += ("nanosleep", "prefetch", "prefetchu", "discard", "pragma")


def _names(kernel: KernelText, operands: Iterable[str]) -> list[str]:
    words = (word for operand in operands for word in _NAME.findall(operand))
    return [word for word in words if word in kernel.registers]


def written(kernel: KernelText, instruction: Instruction) -> list[str]:
    """Return the registers that an instruction writes."""
    name, *rest = instruction.parts
    is_vote = name in ("bar", "barrier") and rest[0] == "red"
    if name in _WRITES_NOTHING or (name in ("bar", "barrier") and not is_vote):
        return []
    if name == "wgmma" and rest[0] != "mma_async":
        return []
    return _names(kernel, instruction.operands[:1])


def read(kernel: KernelText, instruction: Instruction) -> list[str]:
    """Return the registers that an instruction reads; sums of `wgmma` see to themselves."""
    skipped = 1 if written(kernel, instruction) else 0
    guard = [instruction.guard] if instruction.guard else []
    return _names(kernel, (*instruction.operands[skipped:], *guard))


def _successors(kernel: KernelText, place: int) -> list[int]:
    instruction = kernel.instructions[place]
    name = instruction.parts[0]
    after = [place + 1] if place + 1 < len(kernel.instructions) else []
    if name == "bra":
        target = kernel.labels[instruction.operands[0]]
        return [target, *(after if instruction.guard else [])]
    if name == "brx":
        return [kernel.labels[label] for label in kernel.jump_tables[instruction.operands[1]]]
    if name in ("ret", "exit", "trap"):
        return after if instruction.guard else []
    return after


def _early(kernel: KernelText) -> set[str]:
    """Return the registers that some path reads before it has written them."""
    count = len(kernel.instructions)
    bit = {name: 1 << i for i, name in enumerate(kernel.registers)}
    gains = [
        0 if i.guard else sum(bit[name] for name in set(written(kernel, i)))
        for i in kernel.instructions
    ]
    everything = (1 << len(bit)) - 1
    known = [everything] * (count + 1)
    known[0] = 0
    waiting = [0]
    visited = set()
    while waiting:
        place = waiting.pop()
        while place < count:
            visited.add(place)
            leaving = known[place] | gains[place]
            following = []
            for target in _successors(kernel, place):
                joined = known[target] & leaving
                if joined != known[target] or target not in visited:
                    known[target] = joined
                    following.append(target)
            if not following:
                break
            place, *more = following
            waiting += more
    return {
        name
        for place in visited
        for name in read(kernel, kernel.instructions[place])
        if not known[place] & bit[name]
    }


@functools.cache
def is_watched(kernel: KernelText) -> frozenset[str]:
    """Return the registers that have to be watched while the kernel runs."""
    found = _early(kernel)
    for instruction in kernel.instructions:
        if instruction.parts[:2] == ["wgmma", "mma_async"]:
            found |= set(written(kernel, instruction))
    copies = [i for i in kernel.instructions if i.parts[0] == "mov"]
    size = -1
    while size != len(found):
        size = len(found)
        for instruction in copies:
            if set(read(kernel, instruction)) & found:
                found |= set(written(kernel, instruction))
    return frozenset(found)


def _require(lanes: Lanes, instruction: Instruction, names: list[str], mask: Mask) -> None:
    active = lanes.all_lanes if mask is None else mask
    for name in names:
        knowledge = lanes.knowledge[name]
        missing = active & (knowledge > lanes.finished_groups)
        if missing.any():
            lane = int(np.flatnonzero(missing)[0])
            if knowledge[lane] == UNWRITTEN:
                raise lanes.fail(Uninitialised, instruction, lane, f"nobody has written {name}")
            raise lanes.fail(
                EarlyRead, instruction, lane, f"products for {name} have not been waited for"
            )


def watched(lanes: Lanes, instruction: Instruction, step: Step) -> Step:
    """Return a step that looks at the watched registers it reads, and notes those it writes."""
    watch = is_watched(lanes.kernel)
    if not watch:
        return step
    reads = [name for name in read(lanes.kernel, instruction) if name in watch]
    writes = [name for name in written(lanes.kernel, instruction) if name in watch]
    if instruction.parts[0] == "wgmma":  # notes for itself what its sums wait for
        writes = []
    if not reads and not writes:
        return step
    is_copy = instruction.parts[0] == "mov" and len(reads) == 1 and len(writes) == 1
    knowledge = lanes.knowledge

    def run(mask: Mask) -> None:
        value = knowledge[reads[0]] if is_copy else np.int64(READY)
        if not is_copy:
            _require(lanes, instruction, reads, mask)
        for name in writes:
            np.copyto(knowledge[name], value, where=lanes.all_lanes if mask is None else mask)
        step(mask)

    return run


def check_guard(lanes: Lanes, instruction: Instruction) -> Step | None:
    """Return a step that looks at a guard before it decides, if that has to be."""
    guard = instruction.guard
    if guard is None or guard not in is_watched(lanes.kernel):
        return None
    return lambda mask: _require(lanes, instruction, [guard], mask)
