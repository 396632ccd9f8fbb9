"""As much of CuPy as fastface uses, on the CPU: kernels go to the PTX interpreter.

Streams are lazy: what is put on one happens when somebody waits for it, so that a program that
forgets to wait reads bytes that nobody has written, which is an error.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from nvrtc_stand_in import Nvrtc, get_cache_dir
from ptx_interpreter import DeviceMemory, Module, OutOfDeviceMemory

__all__ = ["Array", "StandIn", "Tensor", "torch_over"]


class OutOfMemoryError(MemoryError):
    """CuPy's own."""


class CUDARuntimeError(RuntimeError):
    """CuPy's own."""


class CUDADriverError(RuntimeError):
    """CuPy's own."""


def _count(devices: int, refusal: str) -> int:
    if refusal or not devices:  # CuPy raises and never returns 0
        raise CUDARuntimeError(refusal or "cudaErrorNoDevice: no CUDA-capable device is detected")
    return devices


_modules: dict[str, Module] = {}
_LARGE = 64


class Stream:
    """A queue of work."""

    def __init__(self, owner: StandIn, non_blocking: bool = False) -> None:
        self._owner = owner
        self._queue: deque[Callable[[], object]] = deque()
        self.number = len(owner.streams)  # 0 is the default one
        owner.streams.append(self)

    def __enter__(self) -> Stream:
        self._owner.stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._owner.stack.pop()

    def later(self, work: Callable[[], object]) -> None:
        self._queue.append(work)

    def synchronize(self) -> None:
        self._owner.log.append(("wait", self.number))
        while self._queue:
            self._queue.popleft()()


class Array:
    """An array on the device."""

    def __init__(
        self, owner: StandIn, shape: tuple[int, ...], dtype: Any, base: Array | None, ptr: int
    ) -> None:
        self._owner, self.shape, self.dtype = owner, shape, np.dtype(dtype)
        self._base, self.ptr = base, ptr
        self._stream = owner.stream
        number = base.device.id if isinstance(base, Array) else owner.devices[-1]
        self.device = SimpleNamespace(id=number)
        self.strides: tuple[int, ...] | None = None

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface = {"data": (self.ptr, False), "shape": self.shape, "typestr": self.dtype.str}
        return interface | {"strides": self.strides, "version": 3}

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    def __dlpack__(self, stream: Any = None) -> Array:
        self._owner.stream.synchronize()  # CuPy lets the other stream wait for its current one
        return self

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, *shape: int) -> Array:
        rest = self.size // -math.prod(shape) if -1 in shape else 0
        shape = tuple(rest if extent == -1 else extent for extent in shape)
        assert math.prod(shape) == self.size
        return Array(self._owner, shape, self.dtype, self, self.ptr)

    def astype(self, dtype: Any) -> Array:
        made = self._owner.empty(self.shape, dtype)
        made.set(self.get().astype(dtype))
        return made

    def __setitem__(self, part: slice, values: Array) -> None:
        target, memory = self[part], self._owner.memory
        assert target.shape == values.shape
        assert target.dtype == values.dtype

        def copy() -> None:
            self._owner.check_written(values.ptr, values.nbytes)
            memory.write(
                target.ptr, np.frombuffer(memory.read(values.ptr, values.nbytes), np.uint8)
            )

        self._owner.stream.later(copy)

    def __getitem__(self, part: slice) -> Array:
        start, stop, _ = part.indices(self.shape[0])
        row = self.dtype.itemsize * math.prod(self.shape[1:])
        shape = (stop - start, *self.shape[1:])
        return Array(self._owner, shape, self.dtype, self, self.ptr + start * row)

    def set(self, values: np.ndarray, stream: Stream | None = None) -> None:
        assert values.shape == self.shape
        assert values.dtype == self.dtype
        memory, ptr = self._owner.memory, self.ptr
        self._owner.copies_in += values.nbytes > _LARGE
        if stream is None or not self._owner.is_pinned(values):
            values = values.copy()  # pageable memory is read before the call returns
        else:
            self._owner.log.append(("copy in", stream.number))
        (stream or self._owner.stream).later(lambda: memory.write(ptr, values))

    def get(
        self, stream: Stream | None = None, out: np.ndarray | None = None, blocking: bool = True
    ) -> np.ndarray:
        out = np.empty(self.shape, self.dtype) if out is None else out
        memory, ptr, nbytes = self._owner.memory, self.ptr, self.nbytes
        target = out

        def copy() -> None:
            self._owner.check_written(ptr, nbytes)
            target.reshape(-1).view(np.uint8)[:] = memory.read(ptr, nbytes)

        assert blocking or self._owner.is_pinned(out), "only pinned memory is written later"
        stream = stream or self._owner.stream
        stream.later(copy)
        if blocking:
            stream.synchronize()
        return out

    def __del__(self) -> None:
        if self._base is None:
            release, ptr = self._owner.memory.release, self.ptr
            self._stream.later(lambda: release(ptr))


class Function:
    """A kernel."""

    def __init__(self, owner: StandIn, module: Module, name: str) -> None:
        self._owner, self._module, self._name = owner, module, name
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Any, *, shared_mem: int = 0
    ) -> None:
        owner, module, name = self._owner, self._module, self._name
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        passed = [int(a.ptr) if isinstance(a, Array) else a for a in args]
        kept = [a for a in args if isinstance(a, Array)]  # as the driver would not
        assert {a.device.id for a in kept} <= {owner.devices[-1]}, "arrays of another GPU"

        def run() -> None:
            module.kernels[name].max_dynamic_shared = max(shared_mem, 48 << 10)
            owner.launches.append((name, grid))
            if owner.fail_in == name:
                raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access")
            module.launch(name, grid, block, passed, shared_bytes=shared_mem, memory=owner.memory)

        if owner.fail_in == name and not owner.fails_late:
            run()
        owner.log.append((name, owner.stream.number))
        self._owner.stream.later(run)
        del kept


class StandIn:
    """A module that looks like CuPy.

    Parameters
    ----------
    capacity : int
        Bytes of memory of the device.
    devices : int
        How many devices to pretend; all have the one memory.
    """

    def __init__(
        self,
        capacity: int = 64 << 20,
        devices: int = 1,
        capability: str = "80",
        driver: int = 13000,
        refusal: str = "",  # what the driver says when it is asked for devices
    ) -> None:
        self.memory = DeviceMemory(capacity)
        self.log: list[tuple[str, int]] = []
        self.streams: list[Stream] = []
        self.stack: list[Stream] = [Stream(self)]
        self.launches: list[tuple[str, tuple[int, ...]]] = []
        self.fail_in: str | None = None
        self.fails_late = False  # when somebody waits, as a GPU does
        self.most_pinned = 1 << 40
        self.devices = [0]  # the last one is the current one
        self.pinned_bytes = 0
        self.copies_in = 0  # of more than a few bytes
        self.pinned: list[bytearray] = []
        self.external: list[tuple[int, int]] = []
        self._pool = SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=self.synchronize)
        self.cuda = SimpleNamespace(
            Stream=lambda non_blocking=False: Stream(self, non_blocking),
            get_current_stream=lambda: self.stream,
            ExternalStream=self._external_stream,
            Device=lambda number: _Device(self, number, capability),
            alloc_pinned_memory=self._alloc_pinned,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            driver=SimpleNamespace(CUDADriverError=CUDADriverError),
            compiler=SimpleNamespace(get_cache_dir=get_cache_dir),
            nvrtc=Nvrtc(),
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                getDeviceCount=lambda: _count(devices, refusal),
                driverGetVersion=lambda: driver,
                runtimeGetVersion=lambda: 12080,
                memGetInfo=lambda: (capacity - self.memory.used, capacity),
            ),
        )

    @property
    def stream(self) -> Stream:
        return self.stack[-1]

    def synchronize(self) -> None:
        for stream in self.streams:
            stream.synchronize()

    def check_written(self, ptr: int, nbytes: int) -> None:
        place = self.memory._slice(ptr, nbytes)
        assert (self.memory.state[place] == 1).all(), "a copy of bytes that nobody has written"

    def get_default_memory_pool(self) -> SimpleNamespace:
        return self._pool

    def empty(self, shape: Any, dtype: Any) -> Array:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        nbytes = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
        try:
            ptr = self.memory.allocate(nbytes)
        except OutOfDeviceMemory:
            self.synchronize()  # what is freed but not yet given back
            try:
                ptr = self.memory.allocate(nbytes)
            except OutOfDeviceMemory as error:
                raise OutOfMemoryError(str(error)) from None
        return Array(self, shape, dtype, None, ptr)

    def zeros(self, shape: Any, dtype: Any) -> Array:
        array = self.empty(shape, dtype)
        memory, ptr, values = self.memory, array.ptr, np.zeros(array.shape, array.dtype)
        self.stream.later(lambda: memory.write(ptr, values))
        return array

    def asarray(self, array: Any) -> Array:
        if isinstance(array, Array):
            return array
        if isinstance(array, np.ndarray):
            made = self.empty(array.shape, array.dtype)
            made.set(array)
            return made
        interface = array.__cuda_array_interface__
        return Array(self, interface["shape"], interface["typestr"], array, interface["data"][0])

    def from_dlpack(self, array: Any) -> Array:
        """Return what shares the memory."""
        there = array.__dlpack__(stream=id(self.stream))
        assert isinstance(there, Array)
        return there

    def take(self, array: Array, rows: Array, axis: int) -> Array:
        assert axis == 0
        values = array.get()[rows.get()]
        made = self.empty(values.shape, values.dtype)
        made.set(values)
        return made

    def _external_stream(self, ptr: int, device: int) -> Stream:
        self.external.append((ptr, device))
        return self.streams[ptr]

    def RawModule(self, *, path: str) -> SimpleNamespace:  # noqa: N802
        if path not in _modules:
            _modules[path] = Module.from_ptx(Path(path).read_text(encoding="utf-8"))
        module = _modules[path]
        return SimpleNamespace(get_function=lambda name: Function(self, module, name))

    def _alloc_pinned(self, nbytes: int) -> bytearray:
        if nbytes > self.most_pinned:
            raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        self.pinned_bytes += nbytes
        self.pinned.append(bytearray(nbytes))
        return self.pinned[-1]

    def is_pinned(self, values: np.ndarray) -> bool:
        """Return whether an array lies in memory that was allocated for this."""
        return any(
            np.shares_memory(values, np.frombuffer(memory, np.uint8)) for memory in self.pinned
        )


class _Device:
    def __init__(self, owner: StandIn, number: int, capability: str) -> None:
        self._owner, self._number, self.compute_capability = owner, number, capability

    def __enter__(self) -> _Device:
        self._owner.devices.append(self._number)
        return self

    def __exit__(self, *_: object) -> None:
        self._owner.devices.pop()


class Tensor:
    """A tensor of PyTorch on the device."""

    def __init__(self, array: Array, stream: Stream) -> None:
        self.array, self.stream = array, stream
        self.dtype, self.requires_grad = f"torch.{array.dtype}", False

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.array.__cuda_array_interface__

    shape = property(lambda self: self.array.shape)
    ndim = property(lambda self: self.array.ndim)

    def __len__(self) -> int:
        return len(self.array)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __dlpack__(self, stream: Any = None) -> Array:
        self.stream.synchronize()
        return self.array

    def get(self) -> np.ndarray:
        return self.array.get(stream=self.stream)

    def to(self, dtype: str) -> Tensor:
        with self.stream:
            return Tensor(self.array.astype(dtype.partition(".")[2]), self.stream)


Tensor.__module__ = "torch"


def torch_over(owner: StandIn) -> SimpleNamespace:
    """Return as much of PyTorch as fastface uses, with a current stream that is its own."""
    stream = Stream(owner)

    def tensor(values: np.ndarray) -> Tensor:
        with stream:
            return Tensor(owner.asarray(values), stream)

    def sparse_csr_tensor(
        offsets: Tensor, columns: Tensor, values: Tensor, *, size: Any, check_invariants: bool
    ) -> Any:
        return SimpleNamespace(offsets=offsets, columns=columns, values=values, shape=size)

    return SimpleNamespace(
        Tensor=Tensor,
        stream=stream,
        tensor=tensor,
        from_dlpack=lambda array: Tensor(owner.from_dlpack(array), stream),
        sparse_csr_tensor=sparse_csr_tensor,
        cuda=SimpleNamespace(
            current_stream=lambda device: SimpleNamespace(cuda_stream=stream.number)
        ),
    )
