"""Modules of PTX, and launches of their kernels on the CPU."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_interpreter.errors import BadArgument, Unsupported
from ptx_interpreter.flow import Runner, register_bytes, uses_fences
from ptx_interpreter.lanes import WARP, Lanes
from ptx_interpreter.matrix import MMA_MODES
from ptx_interpreter.memory import DeviceArray, DeviceMemory
from ptx_interpreter.parse import KernelText, Parameter, Variable, parse_module

__all__ = ["Kernel", "LaunchStatistics", "Module"]

# So many lanes at a time: wide enough to hide NumPy's cost of a call, and kind to the caches.
_LANES_AT_A_TIME = 8192
_REGISTER_BYTES = 256 << 20
_STATIC_SHARED_LIMIT = 48 << 10


@dataclass
class Kernel:
    """One kernel of a module.

    Attributes
    ----------
    static_shared_bytes : int
        Bytes of its static shared arrays.
    max_dynamic_shared : int
        What `cuFuncSetAttribute` would set; more than 48 KiB has to be asked for.
    """

    text: KernelText
    static_shared_bytes: int
    max_dynamic_shared: int = _STATIC_SHARED_LIMIT

    @property
    def parameters(self) -> list[Parameter]:
        """Return the parameters in order."""
        return self.text.parameters


@dataclass(frozen=True)
class LaunchStatistics:
    """What a launch took: instructions of batches, and of single threads."""

    instructions: int
    lane_instructions: int
    seconds: float
    n_batches: int


def _place(variables: Sequence[Variable], start: int = 0) -> tuple[dict[str, int], int]:
    places, end = {}, start
    for variable in variables:
        end = -(-end // variable.alignment) * variable.alignment
        places[variable.name] = end
        end += variable.nbytes
    return places, end


def _triple(extent: int | Sequence[int]) -> tuple[int, int, int]:
    given = (extent,) if isinstance(extent, int | np.integer) else tuple(extent)
    x, y, z = (*(int(value) for value in given), 1, 1, 1)[:3]
    return x, y, z


class Module:
    """Kernels of one PTX file."""

    def __init__(self, ptx: str) -> None:
        self.text = parse_module(ptx)
        self.kernels = {
            name: Kernel(kernel, _place([v for v in kernel.variables if v.space == "shared"])[1])
            for name, kernel in self.text.kernels.items()
        }

    @classmethod
    def from_ptx(cls, ptx: str) -> Module:
        """Read PTX."""
        return cls(ptx)

    @classmethod
    def from_source(
        cls,
        source: str,
        *,
        arch: str = "compute_80",
        options: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Module:
        """Compile CUDA C++ by NVRTC and read the PTX."""
        from ptx_interpreter.nvrtc import compile_ptx

        return cls(compile_ptx(source, arch=arch, options=options, headers=headers))

    def launch(
        self,
        name: str,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        args: Sequence[Any],
        *,
        memory: DeviceMemory,
        shared_bytes: int = 0,
        order: str = "forward",
        mma: str = "float64",
        checks: bool = True,
        lanes_at_a_time: int = _LANES_AT_A_TIME,
    ) -> LaunchStatistics:
        """Run a kernel; raise a `LaunchError` at the first thing that is wrong."""
        if name not in self.kernels:
            raise BadArgument(f"no kernel {name}; there are {', '.join(sorted(self.kernels))}")
        kernel = self.kernels[name]
        blocks, threads = _triple(grid), _triple(block)
        self._check_launch(kernel, blocks, threads, shared_bytes)
        n_blocks = int(np.prod(blocks, dtype=np.int64))
        block_lanes = -(-int(np.prod(threads)) // WARP) * WARP
        n_at_once = self._blocks_at_once(kernel, block_lanes, lanes_at_a_time)
        began = time.perf_counter()
        with np.errstate(all="ignore"):
            lanes = self._lanes(
                kernel, blocks, threads, shared_bytes, min(n_blocks, n_at_once), args, memory
            )
            lanes.mma_mode, lanes.checks, lanes.reverse = mma, checks, order == "reverse"
            if mma not in MMA_MODES or order not in ("forward", "reverse"):
                raise BadArgument(f"mma={mma!r} or order={order!r}")
            if uses_fences(lanes):
                lanes.fences = np.zeros(n_blocks * block_lanes, np.int64)
            runner = Runner(lanes)
            firsts = range(0, n_blocks, lanes.n_blocks)
            launched = memory.ticks = memory.ticks + 1
            for first in reversed(firsts) if order == "reverse" else firsts:
                runner.run(lanes.start(first, launched))
        return LaunchStatistics(
            runner.instructions,
            runner.lane_instructions,
            time.perf_counter() - began,
            len(firsts),
        )

    @staticmethod
    def _blocks_at_once(kernel: Kernel, block_lanes: int, wanted: int) -> int:
        kinds = list(kernel.text.registers.values())
        fitting = _REGISTER_BYTES // max(1, register_bytes(block_lanes, kinds))
        return max(1, min(wanted // block_lanes, fitting))

    @staticmethod
    def _check_launch(
        kernel: Kernel,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared_bytes: int,
    ) -> None:
        name, threads = kernel.text.name, block[0] * block[1] * block[2]
        if min(block) < 1 or threads > kernel.text.max_threads or block[2] > 64:
            raise BadArgument(
                f"{name}: a block of {block}; at most {kernel.text.max_threads} threads"
            )
        if min(grid) < 1 or grid[0] > 2**31 - 1 or max(grid[1:]) > 65535:
            raise BadArgument(f"{name}: a grid of {grid}; at most (2147483647, 65535, 65535)")
        if shared_bytes > kernel.max_dynamic_shared or shared_bytes < 0:
            raise BadArgument(
                f"{name}: {shared_bytes} bytes of dynamic shared memory, "
                f"{kernel.max_dynamic_shared} allowed; set max_dynamic_shared first"
            )
        if kernel.static_shared_bytes > _STATIC_SHARED_LIMIT:
            raise BadArgument(f"{name}: {kernel.static_shared_bytes} bytes of static shared memory")

    def _lanes(
        self,
        kernel: Kernel,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared_bytes: int,
        n_blocks: int,
        args: Sequence[Any],
        memory: DeviceMemory,
    ) -> Lanes:
        text = kernel.text
        everywhere = self.text.variables
        static = [v for v in (*everywhere, *text.variables) if v.space == "shared"]
        shared, end = _place([v for v in static if not v.is_extern])
        for variable in static:
            if variable.is_extern:
                end = -(-end // variable.alignment) * variable.alignment
        shared |= {v.name: end for v in static if v.is_extern}
        local, local_end = _place([v for v in text.variables if v.space == "local"])
        return Lanes(
            kernel=text,
            memory=memory,
            block=block,
            grid=grid,
            n_blocks=n_blocks,
            shared_bytes=end + shared_bytes,
            shared_places=shared,
            local_bytes=-(-local_end // 16) * 16,
            local_places=local,
            global_places=self._globals(memory),
            parameter_bytes=_pack(text, args, memory),
            mma_mode="float64",
            checks=True,
            reverse=False,
        )

    def _globals(self, memory: DeviceMemory) -> dict[str, int]:
        """Put the module's constant and global variables on the device, once for each device."""
        places = memory.module_variables.get(id(self))
        if places is None:
            places = {}
            for variable in self.text.variables:
                if variable.space in ("const", "global"):
                    places[variable.name] = memory.allocate(variable.nbytes)
                    initial = variable.initial or bytes(variable.nbytes)
                    memory.write(places[variable.name], np.frombuffer(initial, np.uint8))
            memory.module_variables[id(self)] = places
            self._kept = memory  # so that the identity stays ours
        return places


def _pack(kernel: KernelText, args: Sequence[Any], memory: DeviceMemory) -> NDArray[np.uint8]:
    """Lay the arguments out as the driver would; refuse what it would misread."""
    if len(args) != len(kernel.parameters):
        raise BadArgument(
            f"{kernel.name} takes {len(kernel.parameters)} arguments, {len(args)} given"
        )
    last = kernel.parameters[-1] if kernel.parameters else None
    packed = np.zeros(last.offset + last.nbytes if last else 0, np.uint8)
    for position, (parameter, value) in enumerate(zip(kernel.parameters, args, strict=True)):
        what = (
            f"{kernel.name}, argument {position} (.{parameter.ptx_type}, {parameter.nbytes} bytes)"
        )
        raw = _bytes_of(parameter, value, memory, what)
        packed[parameter.offset : parameter.offset + parameter.nbytes] = np.frombuffer(
            raw, np.uint8
        )
    return packed


def _bytes_of(parameter: Parameter, value: Any, memory: DeviceMemory, what: str) -> bytes:
    if isinstance(value, DeviceArray):
        if value.memory is not memory:
            raise BadArgument(f"{what}: an array of another device")
        value = np.uint64(value.ptr)
    elif isinstance(value, bytes):
        if not parameter.is_array or len(value) != parameter.nbytes:
            raise BadArgument(f"{what}: {len(value)} bytes given")
        return value
    elif isinstance(value, bool) or value is None:
        raise BadArgument(f"{what}: {value!r} given")
    elif isinstance(value, int):
        value = np.array([value % (1 << 64)], np.uint64)[0]
    elif isinstance(value, float):
        value = np.float64(value)
    if not isinstance(value, np.generic):
        raise BadArgument(f"{what}: {type(value).__name__} given")
    if value.dtype.itemsize != parameter.nbytes or parameter.is_array:
        raise BadArgument(f"{what}: {value.dtype} given")
    if (parameter.ptx_type[0] == "f") != (value.dtype.kind == "f"):
        raise BadArgument(f"{what}: {value.dtype} given")
    return value.tobytes()


def check_target(module: Module, expected: str) -> None:
    """Raise unless the PTX was made for `expected`."""
    if module.text.target != expected:
        raise Unsupported(f"PTX for {module.text.target}, {expected} expected")
