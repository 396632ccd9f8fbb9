"""Products of Hopper's warpgroups: PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions".

Both matrices lie in shared memory, where descriptors say, and are read behind the threads' backs:
what a thread wrote there has to be published by `fence.proxy.async` and then by a barrier, and may
not be written again before the group of products has been waited for.  Sums are registers that
belong to the products until then (`registers`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ptx_interpreter import touch
from ptx_interpreter.access import Checked
from ptx_interpreter.errors import BadShuffle, EarlyRead, Misaligned, RaceFound, Unsupported
from ptx_interpreter.lanes import Lanes, Mask, Step
from ptx_interpreter.matrix import MMA_MODES, multiply, widened
from ptx_interpreter.parse import Instruction
from ptx_interpreter.registers import UNWRITTEN, written

__all__ = ["STEPS", "publish", "whole_groups"]

Values = NDArray[Any]
_GROUP = 128  # threads
_PIECE = 16  # bytes that swizzling keeps together
_ROW_BYTES = 32  # of the features of one instruction


def whole_groups(mask: Values, alive: Values) -> Values:
    """Return the lanes of `mask` whose warpgroups are complete."""
    if len(mask) % _GROUP:
        return mask  # refused later, in words
    missing = (alive & ~mask).reshape(-1, _GROUP).any(axis=1)
    return mask & ~np.repeat(missing, _GROUP)


def _groups(lanes: Lanes, instruction: Instruction, mask: Mask) -> Values:
    """Return the numbers of the warpgroups that take part; every one of their threads must."""
    if lanes.block_lanes % _GROUP:
        raise lanes.fail(BadShuffle, instruction, None, "a block of no whole warpgroups")
    active = (lanes.all_lanes if mask is None else mask).reshape(-1, _GROUP)
    some, every = active.any(axis=1), active.all(axis=1)
    if (some != every).any():
        lane = int(np.flatnonzero(some != every)[0]) * _GROUP
        raise lanes.fail(BadShuffle, instruction, lane, "not all threads of the group take part")
    return np.flatnonzero(every)


# Shared memory -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """Where a descriptor says that a matrix lies; the features of a row are next to each other."""

    start: int
    leading: int
    stride: int
    base: int
    mode: int

    @classmethod
    def of(cls, descriptor: int) -> _Layout:
        def field(first: int) -> int:
            return (descriptor >> first & 0x3FFF) << 4

        return cls(field(0), field(16), field(32), descriptor >> 49 & 7, descriptor >> 62)

    def pieces(self, rows: int) -> Values:
        """Return the address of each of the two pieces of every row."""
        row, piece = np.arange(rows)[:, None], np.arange(2)[None, :]
        if self.mode == 0:
            core = row // 8 * self.stride + piece * self.leading
            return self.start + core + row % 8 * _PIECE
        width = 256 >> self.mode  # 128, 64 or 32 bytes
        plain = self.start + row // 8 * self.stride + row % 8 * width + piece * _PIECE
        chunks = width // _PIECE
        return plain ^ ((plain >> 7 & (chunks - 1)) << 4)

    def fault(self) -> str:
        """Say what is wrong with it, or nothing."""
        if self.base:
            return "a base offset is not known to the interpreter"
        width = 0 if self.mode == 0 else 256 >> self.mode
        if width and (self.start // width * width) % (8 * width):
            return f"rows of {width} bytes, swizzled, begin at {self.start}, not at {8 * width} n"
        if width and self.stride % (8 * width):
            return f"groups of eight rows of {width} bytes are {self.stride} bytes apart"
        return ""


@numba.njit(cache=True, nogil=True)
def _unpublished(
    offsets: Any, active: Any, writers: Any, shift: int, published: Any, first: int, since: int,
    answer: Any,
) -> bool:  # fmt: skip
    """Return whether a piece was written by a thread that has not published it since."""
    for lane in range(len(offsets)):
        if not active[lane]:
            continue
        for cell in range(offsets[lane] >> shift, ((offsets[lane] + 15) >> shift) + 1):
            tick = writers[cell] & ((1 << 29) - 1)
            if tick >= since and published[(writers[cell] >> 32) - first] <= tick:
                answer[0], answer[1], answer[2] = lane, cell << shift, writers[cell]
                return True
    return False


@numba.njit(cache=True, nogil=True)
def _written_since(
    offsets: Any, active: Any, writers: Any, shift: int, since: int, answer: Any
) -> bool:
    """Return whether a piece has been written at or after a tick."""
    for lane in range(len(offsets)):
        if not active[lane]:
            continue
        for cell in range(offsets[lane] >> shift, ((offsets[lane] + 15) >> shift) + 1):
            if writers[cell] & ((1 << 29) - 1) >= since:
                answer[0], answer[1], answer[2] = lane, cell << shift, writers[cell]
                return True
    return False


class _Reads:
    """The pieces that one executed instruction reads, shared out among the threads of a group."""

    def __init__(self, lanes: Lanes, checked: Checked, active: Values) -> None:
        self.lanes, self.checked, self.active = lanes, checked, active
        self.offsets: list[Values] = []
        self.groups = np.zeros(lanes.n, np.int64)
        self.began = 0

    def add(self, groups: Values, addresses: Values) -> None:
        """Take pieces of the matrices of some groups, shape (groups, pieces)."""
        for first in range(0, addresses.shape[1], _GROUP):
            offsets = np.zeros(self.lanes.n, np.int64)
            for group, row in zip(groups, addresses, strict=True):
                lane = group * _GROUP
                # Few pieces are read by several threads.
                shared_out = np.resize(row[first : first + _GROUP], _GROUP)
                offsets[lane : lane + _GROUP] = shared_out + self.lanes.shared_base[lane]
            self.offsets.append(offsets)

    def begin(self) -> None:
        """Check that everything is there, for all threads to read."""
        lanes, checked = self.lanes, self.checked
        for offsets in self.offsets:
            checked.check(touch.READ, self.active, offsets)
            writers, _ = lanes.shared.shadow(checked.shift)
            first = lanes.first_block * lanes.block_lanes
            if lanes.checks and _unpublished(
                offsets, self.active, writers, checked.shift, lanes.published, first,
                lanes.batch_began, lanes.answer,
            ):  # fmt: skip
                raise self.fault(EarlyRead, "written without fence.proxy.async by")
        lanes.memory.ticks += 1
        self.began = lanes.memory.ticks

    def end(self, done: Values) -> None:
        """Check that nobody has written meanwhile."""
        lanes, checked = self.lanes, self.checked
        for offsets in self.offsets:
            writers, _ = lanes.shared.shadow(checked.shift)
            if lanes.checks and _written_since(
                offsets, done, writers, checked.shift, self.began, lanes.answer
            ):
                raise self.fault(RaceFound, "products were under way, and it was written by")
            checked.check(touch.READ, done, offsets)

    def fault(self, error: type[Any], text: str) -> Exception:
        lane, place, stamp = (int(value) for value in self.lanes.answer)
        what = self.checked.name_address(place - int(self.lanes.shared_base[lane]))
        other = self.lanes.name_thread(touch.stamp_thread(stamp))
        return self.lanes.fail(error, self.checked.instruction, lane, f"{what}: {text} {other}")


def publish(lanes: Lanes, instruction: Instruction) -> Step:
    """Bind fence.proxy.async: what a lane wrote is known to asynchronous readers."""
    if instruction.parts[2:] not in (["async"], ["async", "shared:cta"]):
        raise Unsupported(instruction.opcode)

    def run(mask: Mask) -> None:
        lanes.memory.ticks += 1
        active = lanes.all_lanes if mask is None else mask
        np.copyto(lanes.published, lanes.memory.ticks, where=active)

    return run


# Instructions --------------------------------------------------------------------------------


def _pending(lanes: Lanes) -> list[_Reads]:
    if not hasattr(lanes, "products"):
        lanes.products = []  # type: ignore[attr-defined]
    found: list[_Reads] = lanes.products  # type: ignore[attr-defined]
    return found


def _uniform(values: Values, groups: Values, fail: Callable[[int], Exception]) -> list[int]:
    by_group = values.reshape(-1, _GROUP)[groups]
    apart = (by_group != by_group[:, :1]).any(axis=1)
    if apart.any():
        raise fail(int(groups[apart][0]) * _GROUP)
    return [int(value) for value in by_group[:, 0]]


def _multiply_accumulate(lanes: Lanes, instruction: Instruction) -> Step:
    parts, operands = instruction.parts, instruction.operands
    if parts[2:4] != ["sync", "aligned"] or len(parts) != 8 or parts[5] != "f32":
        raise Unsupported(instruction.opcode)
    element = parts[6]
    rows, columns, k = (int(n) for n in parts[4][1:].replace("n", "k").split("k"))
    if (rows, parts[7]) != (64, element) or k * {"bf16": 2, "f16": 2, "tf32": 4}[element] != 32:
        raise Unsupported(instruction.opcode)
    wanted = (["1", "1"] if element == "tf32" else ["1", "1", "0", "0"],)
    if list(operands[4:]) not in wanted or operands[1].startswith("{"):
        raise Unsupported("negated or transposed matrices, or one in registers")
    names = written(lanes.kernel, instruction)
    if len(names) != columns // 2:
        raise Unsupported(f"{len(names)} sums for {columns} columns")
    sums = [lanes.view(name, np.float32) for name in names]
    descriptors = [lanes.source(name, "u64") for name in operands[1:3]]
    adds = lanes.source(operands[3], "pred")
    checked = Checked(lanes, instruction, "[0]", _PIECE, "shared")
    mode, together = MMA_MODES.index(lanes.mma_mode), 4 if element == "tf32" else 8
    words = lanes.shared.data.view(np.uint32)
    lane = np.arange(_GROUP)
    register = np.arange(columns // 2)[:, None]
    row = lane // 32 * 16 + lane % 32 // 4 + register // 2 % 2 * 8
    column = register // 4 * 8 + lane % 4 * 2 + register % 2

    def layouts(which: int, groups: Values) -> list[_Layout]:
        def fail(at: int) -> Exception:
            return lanes.fail(BadShuffle, instruction, at, "threads of a group name two matrices")

        found = []
        for group, value in zip(groups, _uniform(descriptors[which], groups, fail), strict=True):
            layout = _Layout.of(value)
            if wrong := layout.fault():
                raise lanes.fail(Misaligned, instruction, int(group) * _GROUP, wrong)
            found.append(layout)
        return found

    def fetch(which: int, n_rows: int, groups: Values, reads: _Reads) -> Values:
        pieces = np.stack([layout.pieces(n_rows) for layout in layouts(which, groups)])
        outside = (pieces < 0) | (pieces + _PIECE > lanes.shared_bytes)
        if outside.any():
            group, _, _ = (int(i[0]) for i in np.nonzero(outside))
            address = int(pieces[outside][0])
            raise checked.fault(
                touch.OUT_OF_BOUNDS, int(groups[group]) * _GROUP, checked.name_address(address)
            )
        reads.add(groups, pieces.reshape(len(groups), -1))
        base = lanes.shared_base[groups * _GROUP][:, None, None, None]
        at = (pieces[..., None] + base) // 4 + np.arange(4)
        return widened(words[at].reshape(len(groups), n_rows, 8), element)

    def run(mask: Mask) -> None:
        groups = _groups(lanes, instruction, mask)
        active = lanes.all_lanes if mask is None else mask
        if (active & ~lanes.fenced).any():
            at = int(np.flatnonzero(active & ~lanes.fenced)[0])
            raise lanes.fail(EarlyRead, instruction, at, "no wgmma.fence since the last group")
        reads = _Reads(lanes, checked, active.copy())
        a, b = fetch(0, rows, groups, reads), fetch(1, columns, groups, reads)
        reads.begin()
        added = np.broadcast_to(adds, lanes.n) & active
        number = lanes.closed_groups + 1
        c = np.zeros((len(groups), rows, columns), np.float32)
        for i, name in enumerate(names):
            unwritten = added & (lanes.knowledge[name] == UNWRITTEN)
            if unwritten.any():
                at = int(np.flatnonzero(unwritten)[0])
                raise lanes.fail(EarlyRead, instruction, at, f"adds to {name}, which holds nothing")
            old = np.where(added, sums[i], np.float32(0.0)).reshape(-1, _GROUP)[groups]
            c[:, row[i], column[i]] = old
        multiply(a, b.transpose(0, 2, 1).copy(), c, mode, together)
        for i, name in enumerate(names):
            sums[i].reshape(-1, _GROUP)[groups] = c[:, row[i], column[i]]
            np.copyto(lanes.knowledge[name], number, where=active)
        np.copyto(reads.groups, number, where=active)
        _pending(lanes).append(reads)

    return run


def _group(lanes: Lanes, instruction: Instruction) -> Step:
    kind = instruction.parts[1]
    if kind == "mma_async":
        return _multiply_accumulate(lanes, instruction)
    if instruction.parts[2:] != ["sync", "aligned"] or kind not in _KINDS:
        raise Unsupported(instruction.opcode)

    def run(mask: Mask) -> None:
        _groups(lanes, instruction, mask)
        active = lanes.all_lanes if mask is None else mask
        if kind == "fence":
            lanes.fenced |= active
        elif kind == "commit_group":
            lanes.fenced &= ~active
            np.add(lanes.closed_groups, 1, out=lanes.closed_groups, where=active)
        elif kind == "wait_group":
            reached = lanes.closed_groups - int(instruction.operands[0])
            np.maximum(lanes.finished_groups, reached, out=lanes.finished_groups, where=active)
            for reads in _pending(lanes):
                done = reads.active & active & (reads.groups <= lanes.finished_groups)
                if done.any():
                    reads.end(done)
                    reads.active &= ~done
            _pending(lanes)[:] = [reads for reads in _pending(lanes) if reads.active.any()]

    return run


_KINDS = ("fence", "commit_group", "wait_group")
STEPS: dict[str, Callable[[Lanes, Instruction], Step]] = {"wgmma": _group}
