"""Loads, stores, atomics and asynchronous copies, every one of them checked."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_interpreter import touch
from ptx_interpreter.atomics import OPERATIONS, apply_atomic
from ptx_interpreter.errors import (
    EarlyRead,
    LaunchError,
    Misaligned,
    OutOfBounds,
    RaceFound,
    Uninitialised,
    Unsupported,
)
from ptx_interpreter.lanes import DTYPES, UNSIGNED, Lanes, Mask, Step
from ptx_interpreter.memory import ORIGIN, Space
from ptx_interpreter.parse import Instruction, KernelText, width_of

__all__ = ["STEPS", "Checked"]

Values = NDArray[Any]
_ADDRESS = re.compile(r"\[([%$\w]+)(?:\s*\+\s*(-?\d+))?\]")

_FAULTS: dict[int, tuple[type[LaunchError], str]] = {
    touch.OUT_OF_BOUNDS: (OutOfBounds, "out of bounds"),
    touch.MISALIGNED: (Misaligned, "misaligned"),
    touch.WRITE_WRITE: (RaceFound, "a race: written as well by"),
    touch.READ_WRITE: (RaceFound, "a race: read here, written by"),
    touch.WRITE_READ: (RaceFound, "a race: written here, read by"),
    touch.UNWRITTEN: (Uninitialised, "nobody has written what is read"),
    touch.PENDING: (EarlyRead, "an asynchronous copy to this place has not been waited for"),
    touch.NOT_READ_ONLY: (RaceFound, "read as constant for the launch, but written by"),
}


def space_of(instruction: Instruction) -> str:
    """Return the state space; generic addresses are those of global memory."""
    for part in instruction.parts:
        if part.split(":")[0] in ("shared", "local", "global", "const", "param"):
            return part.split(":")[0]
    return "global"


class Checked:
    """An address operand of one instruction, with all checks of what it reaches.

    Parameters
    ----------
    nbytes : int
        Bytes of one access, which is also its alignment.
    """

    def __init__(
        self, lanes: Lanes, instruction: Instruction, operand: str, nbytes: int, space: str
    ) -> None:
        match = _ADDRESS.fullmatch(operand)
        if match is None:
            raise Unsupported(f"the address {operand}")
        name, displacement = match.group(1), int(match.group(2) or 0)
        self.lanes, self.instruction, self.nbytes = lanes, instruction, nbytes
        self.space_name = space
        self.space: Space = {"shared": lanes.shared, "local": lanes.local}.get(space, lanes.memory)
        self.displacement = displacement
        if name in lanes.registers:
            raw = lanes.registers[name]
        else:
            raw = np.full(lanes.n, lanes.constant(name, np.uint64))
        self.addresses = raw
        self.offsets = lanes.offsets
        self.shift = granules(lanes.kernel)[space if space in ("shared", "local") else "global"]
        self.bounds = lanes.memory.bounds()

    def resolve(self, mask: Mask) -> Values:
        """Return the place of every active lane in the bytes of the space."""
        lanes = self.lanes
        active = lanes.all_lanes if mask is None else mask
        if self.space is lanes.memory:
            found = touch.resolve_global(
                self.addresses,
                self.displacement,
                active,
                ORIGIN,
                self.nbytes,
                *self.bounds,
                self.offsets,
                lanes.answer,
            )
        else:
            is_shared = self.space is lanes.shared
            found = touch.resolve_window(
                self.addresses,
                self.displacement,
                active,
                lanes.shared_base if is_shared else lanes.local_base,
                self.nbytes,
                lanes.shared_bytes if is_shared else lanes.local_bytes,
                self.offsets,
                lanes.answer,
            )
        if found:
            lane, address = int(lanes.answer[0]), int(lanes.answer[1])
            raise self.fault(found, lane, self.name_address(address))
        return self.offsets

    def name_address(self, address: int) -> str:
        """Say where an address lies."""
        if self.space is self.lanes.memory:
            return f"{address:#x} ({self.lanes.memory.describe(address)})"
        size = (
            self.lanes.shared_bytes if self.space is self.lanes.shared else self.lanes.local_bytes
        )
        names = [
            (place, name) for name, place in self.lanes.shared_places.items() if place <= address
        ]
        inside = f", {max(names)[1]}+{address - max(names)[0]}" if names else ""
        return f"{self.space_name} address {address} of {size} bytes{inside}"

    def fault(self, found: int, lane: int, what: str) -> LaunchError:
        """Return the error of an answer of `touch`."""
        error, text = _FAULTS[found]
        size = f"{self.nbytes} bytes at {what}"
        return self.lanes.fail(error, self.instruction, lane, f"{text}; {size}")

    def check(self, kind: int, mask: Mask, offsets: Values | None = None) -> None:
        """Raise if the access is a race or reads what nobody wrote; remember it."""
        lanes = self.lanes
        places = self.offsets if offsets is None else offsets
        if not lanes.checks:
            if kind == touch.WRITE:
                active = lanes.all_lanes if mask is None else mask
                for byte in range(self.nbytes):
                    self.space.state[places[active] + byte] = 1
            return
        writers, readers = self.space.shadow(self.shift)
        found = touch.touch(
            kind,
            places,
            lanes.all_lanes if mask is None else mask,
            self.nbytes,
            self.space.state,
            writers,
            readers,
            self.shift,
            lanes.identity,
            lanes.block_lanes,
            lanes.sync,
            lanes.fences,
            lanes.launched if self.space is lanes.memory else lanes.batch_began,
            lanes.memory.ticks,
            lanes.answer,
        )
        if found:
            lane, place, stamp = (int(value) for value in lanes.answer)
            base = -ORIGIN
            if self.space is not lanes.memory:
                bases = lanes.shared_base if self.space is lanes.shared else lanes.local_base
                base = int(bases[lane])
            what = self.name_address(place - base)
            if _FAULTS[found][0] is RaceFound:
                what += f"; the other is {lanes.name_thread(touch.stamp_thread(stamp))}"
            raise self.fault(found, lane, what)


@functools.cache
def granules(kernel: KernelText) -> dict[str, int]:
    """Return, for each space, the logarithm of the smallest access of the kernel."""
    found = {"shared": 3, "local": 3, "global": 3}
    for instruction in kernel.instructions:
        if instruction.parts[0] in ("ld", "st", "atom", "red", "ldmatrix", "cp"):
            space = space_of(instruction)
            size = {"ldmatrix": 4, "cp": 4}.get(instruction.parts[0], 0)
            size = size or width_of(instruction.parts[-1])
            spaces = ("shared", "global") if instruction.parts[0] == "cp" else (space,)
            for name in spaces:
                key = name if name in found else "global"
                found[key] = min(found[key], size.bit_length() - 1)
    return found


def _pieces(operand: str) -> list[str]:
    return [piece.strip() for piece in operand.strip("{}").split(",")]


def _parameter(lanes: Lanes, instruction: Instruction) -> Step:
    ptx_type = instruction.parts[-1]
    match = _ADDRESS.fullmatch(instruction.operands[1])
    assert match is not None
    parameter = next(p for p in lanes.kernel.parameters if p.name == match.group(1))
    start = parameter.offset + int(match.group(2) or 0)
    size = width_of(ptx_type)
    steps = []
    for position, piece in enumerate(_pieces(instruction.operands[0])):
        at = start + position * size
        value = lanes.parameter_bytes[at : at + size].view(DTYPES[ptx_type])
        steps.append((lanes.into(piece, ptx_type), value))

    def run(mask: Mask) -> None:
        for store, value in steps:
            store(value, mask)

    return run


def _load(lanes: Lanes, instruction: Instruction) -> Step:
    parts = instruction.parts
    space = space_of(instruction)
    if space == "param":
        return _parameter(lanes, instruction)
    ptx_type, pieces = parts[-1], _pieces(instruction.operands[0])
    size = width_of(ptx_type)
    checked = Checked(lanes, instruction, instruction.operands[1], size * len(pieces), space)
    kind = touch.READ_ONLY if "nc" in parts else touch.READ
    if any(part in parts for part in ("volatile", "relaxed", "acquire")):
        kind = touch.ATOMIC_READ
    raw = UNSIGNED[size]
    view = checked.space.data.view(raw)
    shift = size.bit_length() - 1
    stores = [lanes.into(piece, ptx_type) for piece in pieces]
    spare, places = lanes.scratch_like(raw, 3), lanes.scratch_like(np.int64, 3)
    typed = spare.view(DTYPES[ptx_type])

    def run(mask: Mask) -> None:
        offsets = checked.resolve(mask)
        checked.check(kind, mask)
        for step, store in enumerate(stores):
            np.right_shift(offsets, shift, out=places)
            if step:
                np.add(places, step, out=places)
            np.take(view, places, out=spare, mode="wrap")
            store(typed, mask)

    return run


def _store(lanes: Lanes, instruction: Instruction) -> Step:
    parts = instruction.parts
    ptx_type, pieces = parts[-1], _pieces(instruction.operands[1])
    size = width_of(ptx_type)
    space = space_of(instruction)
    checked = Checked(lanes, instruction, instruction.operands[0], size * len(pieces), space)
    raw = UNSIGNED[size]
    view, shift = checked.space.data.view(raw), size.bit_length() - 1
    sources = [lanes.source(piece, ptx_type) for piece in pieces]
    spare = lanes.scratch_like(raw, 3)
    typed = spare.view(DTYPES[ptx_type])
    kind = touch.WRITE
    if any(part in parts for part in ("volatile", "relaxed", "release")):
        raise Unsupported("ordered stores")

    def run(mask: Mask) -> None:
        offsets = checked.resolve(mask)
        checked.check(kind, mask)
        active = lanes.all_lanes if mask is None else mask
        for step, source in enumerate(sources):
            typed[...] = source
            touch.scatter(view, offsets, active, shift, step, spare)

    return run


def _atomic(lanes: Lanes, instruction: Instruction) -> Step:
    parts, operands = instruction.parts, instruction.operands
    returns = parts[0] == "atom"
    ptx_type = parts[-1]
    operation = next((part for part in parts if part in OPERATIONS), None)
    if operation is None or ptx_type not in DTYPES or ptx_type[-2:] == "x2":
        raise Unsupported(instruction.opcode)
    space = space_of(instruction)
    size = width_of(ptx_type)
    checked = Checked(lanes, instruction, operands[1 if returns else 0], size, space)
    values = [lanes.source(operand, ptx_type) for operand in operands[2 if returns else 1 :]]
    view = checked.space.data.view(DTYPES[ptx_type])
    store = lanes.into(operands[0], ptx_type) if returns else None
    old = lanes.scratch_like(DTYPES[ptx_type], 3)
    code = OPERATIONS[operation]

    def run(mask: Mask) -> None:
        offsets = checked.resolve(mask)
        checked.check(touch.ATOMIC, mask)
        active = lanes.all_lanes if mask is None else mask
        apply_atomic(code, view, offsets, active, size, values[0], values[-1], lanes.reverse, old)
        if store is not None:
            store(old, mask)

    return run


@dataclass
class _Copy:
    """One executed cp.async: where its bytes go, and the group each lane put it in."""

    checked: Checked
    offsets: Values
    waiting: Values
    rows: Values
    groups: Values


class _Copies:
    """Asynchronous copies under way; one of these a batch of blocks."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.pending: list[_Copy] = []
        self.groups = np.zeros(lanes.n, np.int64)

    def wait(self, mask: Mask, allowed: int, everything: bool = False) -> None:
        """Finish all copies but those of the `allowed` latest groups of every lane."""
        active = self.lanes.all_lanes if mask is None else mask
        for copy in self.pending:
            done = copy.waiting & active
            if not everything:
                done &= copy.groups < self.groups - allowed
            if not done.any():
                continue
            copy.waiting &= ~done
            for byte in range(copy.rows.shape[1]):
                copy.checked.space.state[copy.offsets[done] + byte] = 0
            touch.scatter_bytes(copy.checked.space.data, copy.offsets, done, copy.rows)
            copy.checked.check(touch.WRITE, done, copy.offsets)
        self.pending = [copy for copy in self.pending if copy.waiting.any()]


def copies_of(lanes: Lanes) -> _Copies:
    """Return the copies under way of this batch."""
    if not hasattr(lanes, "copies"):
        lanes.copies = _Copies(lanes)  # type: ignore[attr-defined]
    found: _Copies = lanes.copies  # type: ignore[attr-defined]
    return found


def _copy(lanes: Lanes, instruction: Instruction) -> Step:
    parts, operands = instruction.parts, instruction.operands
    copies = copies_of(lanes)
    if "wait_group" in parts:
        allowed = int(operands[0])
        return lambda mask: copies.wait(mask, allowed)
    if "wait_all" in parts:
        return lambda mask: copies.wait(mask, 0, everything=True)
    if "commit_group" in parts:

        def commit(mask: Mask) -> None:
            copies.groups += 1 if mask is None else mask

        return commit
    if parts[1] != "async" or not parts[3].startswith("shared"):
        raise Unsupported(instruction.opcode)
    nbytes = int(operands[2])
    target = Checked(lanes, instruction, operands[0], nbytes, "shared")
    target.offsets = np.zeros(lanes.n, np.int64)
    source = Checked(lanes, instruction, operands[1], nbytes, "global")
    counts = lanes.source(operands[3], "u32") if len(operands) > 3 else None

    def run(mask: Mask) -> None:
        active = lanes.all_lanes if mask is None else mask
        sizes = np.broadcast_to(np.uint32(nbytes) if counts is None else counts, lanes.n)
        reads = active & (sizes > 0)
        rows = np.zeros((lanes.n, nbytes), np.uint8)
        if reads.any():
            if (sizes[reads] != nbytes).any():
                raise Unsupported("cp.async of a part of its bytes")
            offsets = source.resolve(reads)
            source.check(touch.READ, reads)
            touch.gather_bytes(source.space.data, offsets, reads, sizes.copy(), rows)
        places = target.resolve(active).copy()
        target.check(touch.WRITE, active, places)
        for byte in range(nbytes):
            target.space.state[places[active] + byte] = touch.PENDING_STATE
        copies.pending.append(_Copy(target, places, active.copy(), rows, copies.groups.copy()))

    return run


STEPS: dict[str, Callable[[Lanes, Instruction], Step]] = {
    "ld": _load,
    "ldu": _load,
    "st": _store,
    "atom": _atomic,
    "red": _atomic,
    "cp": _copy,
}
