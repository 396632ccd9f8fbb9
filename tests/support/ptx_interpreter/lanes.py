"""Registers of a batch of blocks, one array a register and one element a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_interpreter.errors import LaunchError, Unsupported
from ptx_interpreter.memory import DeviceMemory, Space
from ptx_interpreter.parse import Instruction, KernelText, width_of

__all__ = ["DTYPES", "UNSIGNED", "WARP", "Lanes", "Mask", "Step"]

WARP = 32
Values = NDArray[Any]
Mask = NDArray[np.bool_] | None  # None: every lane
Step = Callable[[Mask], None]

UNSIGNED: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
DTYPES: dict[str, Any] = {
    **{f"{kind}{8 * n}": UNSIGNED[n] for kind in "bu" for n in UNSIGNED},
    "s8": np.int8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "f16": np.float16,
    "f32": np.float32,
    "f64": np.float64,
    "pred": np.bool_,
    "bf16": np.uint16,
    "f16x2": np.uint32,
    "bf16x2": np.uint32,
    "tf32": np.float32,
}


@dataclass
class Lanes:
    """State of all threads of a batch of blocks; every block is padded to whole warps."""

    kernel: KernelText
    memory: DeviceMemory
    block: tuple[int, int, int]
    grid: tuple[int, int, int]
    n_blocks: int
    shared_bytes: int
    shared_places: dict[str, int]
    local_bytes: int
    local_places: dict[str, int]
    global_places: dict[str, int]
    parameter_bytes: NDArray[np.uint8]
    mma_mode: str
    checks: bool
    reverse: bool
    registers: dict[str, Values] = field(default_factory=dict)
    scratch: dict[tuple[Any, int], Values] = field(default_factory=dict)
    first_block: int = 0
    launched: int = 1
    batch_began: int = 1

    def __post_init__(self) -> None:
        threads = self.block[0] * self.block[1] * self.block[2]
        self.block_lanes = -(-threads // WARP) * WARP
        self.n = n = self.n_blocks * self.block_lanes
        lane = np.arange(n)
        self.block_of = lane // self.block_lanes
        self.thread = lane % self.block_lanes
        self.exists = self.thread < threads
        self.all_lanes = np.ones(n, np.bool_)
        for name, kind in self.kernel.registers.items():
            # A pattern that no test would take for an answer.
            self.registers[name] = (
                np.ones(n, np.bool_)
                if kind == "pred"
                else np.full(n, 0xBADBADBADBADBAD % (1 << 8 * width_of(kind)), self._raw(kind))
            )
        self.carry = np.zeros(n, np.bool_)
        self.shared = Space(self.n_blocks * self.shared_window)
        self.shared_base = self.block_of * self.shared_window
        self.local = Space(n * self.local_bytes)
        self.local_base = lane * self.local_bytes
        self.specials = self._specials()
        self.identity = np.zeros(n, np.int64)
        # When each lane's block, and its warp, were last synchronised.
        self.sync = np.zeros((2, n), np.int64)
        self.fences = np.zeros(0, np.int64)
        # When each lane last made its writes to shared memory known to asynchronous readers.
        self.published = np.zeros(n, np.int64)
        # Of watched registers: what they wait for (`registers`); groups of products, the last one
        # closed and the last one waited for.
        self.knowledge: dict[str, Values] = {}
        self.closed_groups = np.zeros(n, np.int64)
        self.finished_groups = np.zeros(n, np.int64)
        self.fenced = np.zeros(n, np.bool_)  # since the last group was closed
        self.offsets = np.zeros(n, np.int64)
        self.answer = np.zeros(3, np.int64)

    @staticmethod
    def _raw(kind: str) -> Any:
        return UNSIGNED[width_of(kind)]

    @property
    def shared_window(self) -> int:
        """Return the bytes from one block's shared memory to the next."""
        return -(-self.shared_bytes // 128) * 128 + 128

    def _specials(self) -> dict[str, Values]:
        x, y, _ = self.block
        thread, lane = self.thread, self.thread % WARP
        one = np.uint32(1)
        bit = one << lane.astype(np.uint32)
        found: dict[str, Any] = {
            "%tid.x": thread % x,
            "%tid.y": thread // x % y,
            "%tid.z": thread // (x * y),
            "%laneid": lane,
            "%warpid": thread // WARP,
            "%lanemask_eq": bit,
            "%lanemask_lt": bit - one,
            "%lanemask_le": bit - one + bit,
            "%lanemask_gt": ~(bit - one + bit),
            "%lanemask_ge": ~(bit - one),
            "%smid": self.block_of * 0,
            "%ctaid.x": self.block_of * 0,
            "%ctaid.y": self.block_of * 0,
            "%ctaid.z": self.block_of * 0,
        }
        for axis, size, count in zip("xyz", self.block, self.grid, strict=True):
            found[f"%ntid.{axis}"] = np.array([size])
            found[f"%nctaid.{axis}"] = np.array([count])
        return {name: np.asarray(values).astype(np.uint32) for name, values in found.items()}

    def start(self, first_block: int, launched: int) -> Values:
        """Begin a batch at a block; return which lanes exist."""
        self.first_block, self.launched = first_block, launched
        # Shared and local memory are used again: stamps of the batch before mean nothing.
        self.memory.ticks += 1
        tick = self.batch_began = self.memory.ticks
        block = first_block + self.block_of
        gx, gy, gz = self.grid
        self.specials["%ctaid.x"][:] = block % gx
        self.specials["%ctaid.y"][:] = block // gx % gy
        self.specials["%ctaid.z"][:] = block // (gx * gy)
        self.identity[:] = block * self.block_lanes + self.thread
        self.sync[:] = tick
        self.shared.state[:] = 0
        self.shared.data[:] = 0xCD
        self.local.state[:] = 0
        self.published[:] = self.closed_groups[:] = self.finished_groups[:] = 0
        self.fenced[:] = False
        for knowledge in self.knowledge.values():
            knowledge[:] = 1 << 62
        return self.exists & (block < gx * gy * gz)

    # What instructions read and write -------------------------------------------------------

    def view(self, name: str, dtype: Any) -> Values:
        """Return a register as an array of `dtype`; of a wider register, its low part."""
        register = self.registers.get(name)
        if register is None:
            raise Unsupported(f"unknown register {name}")
        if dtype is np.bool_ or register.dtype == np.bool_:
            return register
        size = np.dtype(dtype).itemsize
        if size > register.itemsize:
            raise Unsupported(f"{name} is narrower than {np.dtype(dtype)}")
        return register.view(dtype)[:: register.itemsize // size]

    def source(self, operand: str, ptx_type: str) -> Values:
        """Return an operand as a live array of one element a lane, or of one element."""
        dtype = DTYPES[ptx_type]
        if operand in self.registers:
            return self.view(operand, dtype)
        if operand.startswith("!"):
            raise Unsupported("a negated predicate as an operand")
        if operand in self.specials:
            values = self.specials[operand]
            return values if np.dtype(dtype).itemsize == 4 else values.astype(dtype)
        return np.array([self.constant(operand, dtype)])

    def constant(self, operand: str, dtype: Any) -> Any:
        """Return an immediate or the address of a variable."""
        name, _, offset = operand.partition("+")
        for places in (self.shared_places, self.local_places, self.global_places):
            if name in places:
                return np.array([places[name] + int(offset or 0)], np.uint64).astype(dtype)[0]
        if operand == "%dynamic_smem_size":
            return dtype(self.shared_bytes - max(self.shared_places.values(), default=0))
        if operand.startswith(("0f", "0F")):
            return np.array([int(operand[2:], 16)], np.uint32).view(np.float32)[0].astype(dtype)
        if operand.startswith(("0d", "0D")):
            return np.array([int(operand[2:], 16)], np.uint64).view(np.float64)[0].astype(dtype)
        try:
            number = int(operand.rstrip("U"), 0)
        except ValueError:
            raise Unsupported(f"unknown operand {operand}") from None
        if dtype is np.bool_:
            return np.bool_(number != 0)
        size = np.dtype(dtype).itemsize
        return np.array([number % (1 << 8 * size)], UNSIGNED[size]).view(dtype)[0]

    def scratch_like(self, dtype: Any, which: int = 0) -> Values:
        """Return a shared array for a value that is used up before the next instruction."""
        key = (np.dtype(dtype), which)
        if key not in self.scratch:
            self.scratch[key] = np.zeros(self.n, dtype)
        return self.scratch[key]

    def into(self, operand: str, ptx_type: str) -> Callable[[Values, Mask], None]:
        """Return how to store values of `ptx_type`, extended to the width of the register."""
        if operand == "_":
            return lambda values, mask: None
        register = self.registers[operand]
        dtype = np.dtype(DTYPES[ptx_type])
        if register.dtype == np.bool_:
            target = register
        elif register.itemsize > dtype.itemsize and ptx_type[0] == "s":
            target = register.view(np.dtype(f"i{register.itemsize}"))
        elif register.itemsize > dtype.itemsize:
            target = register
        else:
            target = self.view(operand, dtype.type)

        def store(values: Values, mask: Mask) -> None:
            if mask is None:
                target[...] = values
            else:
                np.copyto(target, values, where=mask, casting="unsafe")

        return store

    def compute(
        self, operand: str, ptx_type: str, function: Callable[..., Any], *sources: Values
    ) -> Step:
        """Return a step that stores ``function(*sources)`` in a register."""
        if not isinstance(function, np.ufunc):
            store = self.into(operand, ptx_type)
            return lambda mask: store(function(*sources), mask)
        dtype = DTYPES[ptx_type]
        target, spare = self.view(operand, dtype), self.scratch_like(dtype)

        def run(mask: Mask) -> None:
            if mask is None:
                function(*sources, out=target)
            else:
                function(*sources, out=spare)
                np.copyto(target, spare, where=mask)

        return run

    # Errors ---------------------------------------------------------------------------------

    def where(self, lane: int) -> str:
        """Name the block and the thread of a lane."""
        identity = int(self.identity[lane])
        return self.name_thread(identity)

    def name_thread(self, identity: int) -> str:
        """Name a thread that a stamp knows by its number in the grid."""
        block, thread = divmod(identity, self.block_lanes)
        gx, gy, _ = self.grid
        x, y, _ = self.block
        return (
            f"block ({block % gx}, {block // gx % gy}, {block // (gx * gy)}) "
            f"thread ({thread % x}, {thread // x % y}, {thread // (x * y)})"
        )

    def fail(
        self, error: type[LaunchError], instruction: Instruction, lane: int | None, message: str
    ) -> LaunchError:
        """Return an error that says where it happened."""
        at = f", {self.where(lane)}" if lane is not None else ""
        return error(
            f"kernel {self.kernel.name}, PTX line {instruction.line} `{instruction}`{at}: {message}"
        )
