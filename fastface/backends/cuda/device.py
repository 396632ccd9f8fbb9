"""One GPU: its memory, its streams, and its errors in words.

Every call of CuPy is here or goes through here.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastface.backends.cuda.compiling import CompilationError, machine_code
from fastface.backends.cuda.programs import Define, Program, as_arguments, read_program
from fastface.errors import BackendUnavailableError, InvalidInputError, MissingDependencyError
from fastface.validation import check_device

__all__ = ["Gpu", "GpuError", "GpuMemoryError", "open_gpu"]

_LEAST_ARCH = 80
_DEFAULT_SHARED = 48 << 10
_TOLD = 4  # kernels that a late error is told with
_REMEDY = "use device='cpu', which gives the same results"


class GpuError(BackendUnavailableError):
    """The GPU refused or lost something: the message names the kernel and its arguments."""


class GpuMemoryError(GpuError, MemoryError):
    """The GPU has not as much memory as one step wants."""


def open_gpu(device: str, module: Any = None) -> Gpu:
    """Return the GPU that `device` names.

    Parameters
    ----------
    device : str
        ``"cuda"``, or ``"cuda:1"`` for the second.
    module : module, optional
        What to use as CuPy.

    Raises
    ------
    MissingDependencyError
        If CuPy is not installed.
    BackendUnavailableError
        If there is no driver, or no such GPU, or it is too old.
    InvalidInputError
        If `device` is no such name.
    """
    kind, number = check_device(device)
    if kind != "cuda":
        raise InvalidInputError(f"device {device!r} is no GPU; a GPU is 'cuda', 'cuda:0', 'cuda:1'")
    given = module is not None
    if not given:
        try:
            import cupy
        except ImportError:
            raise MissingDependencyError.for_package(
                "CuPy", extra="cuda", purpose=f"device={device!r}"
            ) from None
        module = cupy
    count = _count_gpus(module, device)
    if (number or 0) >= count:
        raise BackendUnavailableError(
            f"device={device!r}: this machine has {count} GPUs, numbered from 0; {_REMEDY}"
        )
    gpu = Gpu(module, number or 0) if given else _shared_gpu(module, number or 0)
    if gpu.arch < _LEAST_ARCH:
        raise BackendUnavailableError(
            f"device={device!r} has compute capability {gpu.arch / 10}; the kernels need"
            f" {_LEAST_ARCH / 10} or newer (Ampere); {_REMEDY}"
        )
    return gpu


def _count_gpus(module: Any, device: str) -> int:
    """Return how many GPUs there are; the driver comes first, as nothing else works without it."""
    runtime = module.cuda.runtime
    try:
        driver, wanted = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
        if not driver:
            raise BackendUnavailableError(
                f"device={device!r}: this machine has no NVIDIA driver; install one, or {_REMEDY}"
            )
        if driver // 1000 < wanted // 1000:
            raise BackendUnavailableError(
                f"device={device!r}: the driver serves CUDA {_version(driver)}, and this CuPy was"
                f" made for {_version(wanted)}: update NVIDIA's driver, or install"
                f" cupy-cuda{driver // 1000}x in place of this CuPy, or {_REMEDY}"
            )
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        if "cudaErrorNoDevice" not in str(error):
            raise BackendUnavailableError(
                f"device={device!r}: the CUDA driver cannot be used ({error}); install or update"
                f" NVIDIA's driver, or {_REMEDY}"
            ) from error
        count = 0
    if not count:
        raise BackendUnavailableError(
            f"device={device!r}: the driver finds no GPU (is one hidden by CUDA_VISIBLE_DEVICES, or"
            f" not passed to this container?); {_REMEDY}"
        )
    return count


@lru_cache(maxsize=64)
def _shared_gpu(module: Any, number: int) -> Gpu:
    """Return the one object for a GPU, which keeps what was compiled for it."""
    return Gpu(module, number)


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


class Gpu:
    """One GPU.

    Parameters
    ----------
    cupy : module
        CuPy.
    number : int
        Which GPU.
    """

    def __init__(self, cupy: Any, number: int) -> None:
        self._cp = cupy
        self.number = number
        self._device = cupy.cuda.Device(number)
        self.arch = int(self._device.compute_capability)
        self._functions: dict[tuple[str, str, tuple[Define, ...]], Any] = {}
        # The driver tells of a kernel's error when somebody waits, and not of which.
        self._latest: deque[str] = deque(maxlen=_TOLD)

    @property
    def name(self) -> str:
        """Return what users call it."""
        return f"cuda:{self.number}"

    @contextmanager
    def active(self, rows: Any = None) -> Iterator[None]:
        """Make this the GPU that arrays and launches are on, and the stream that of `rows`."""
        stream = getattr(rows, "stream", None)
        with self._device, nullcontext() if stream is None else stream:
            yield

    def free_bytes(self) -> int:
        """Return how much memory there is to be had, what CuPy keeps in its pool included."""
        with self._device:
            free, _ = self._cp.cuda.runtime.memGetInfo()
            return int(free) + int(self._cp.get_default_memory_pool().free_bytes())

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Any:
        """Return an array whose values are not yet written."""
        with self._in_words(f"an array of shape {shape}"):
            return self._cp.empty(shape, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Any:
        """Return an array of zeros, written in the order of the current stream."""
        with self._in_words(f"an array of shape {shape}"):
            return self._cp.zeros(shape, dtype)

    def put(self, array: NDArray[Any]) -> Any:
        """Return a copy of a NumPy array, in the order of the current stream."""
        with self._in_words(f"a copy of an array of shape {array.shape}"):
            there = self._cp.empty(array.shape, array.dtype)
            # In the order of the stream: the memory may be in use by what was begun there before.
            there.set(np.ascontiguousarray(array), stream=self._cp.cuda.get_current_stream())
            return there

    def get(self, array: Any) -> NDArray[Any]:
        """Return a copy in NumPy, once the current stream has written it."""
        with self._in_words("copying results back", late=True):
            result: NDArray[Any] = array.get()
            return result

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of this process that the GPU can read while the program goes on."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        with self._in_words(f"{size} bytes of pinned memory", memory=True):
            memory = self._cp.cuda.alloc_pinned_memory(max(1, size))
        array: NDArray[Any] = np.frombuffer(memory, dtype, math.prod(shape)).reshape(shape)
        return array

    def begin_put(self, there: Any, pinned: NDArray[Any], stream: Any) -> None:
        """Begin to copy pinned memory to an array of the GPU."""
        with self._in_words("copying rows there", late=True):
            there.set(pinned, stream=stream)

    def begin_get(self, array: Any, pinned: NDArray[Any], stream: Any) -> None:
        """Begin to copy an array of the GPU to pinned memory."""
        with self._in_words("copying results back", late=True):
            array.get(stream=stream, out=pinned, blocking=False)

    def wait(self, stream: Any = None) -> None:
        """Wait for what was begun on a stream, by default the current one."""
        with self._in_words("waiting", late=True):
            (stream or self._cp.cuda.get_current_stream()).synchronize()

    def stream(self) -> Any:
        """Return a new stream; ``with stream:`` makes it the current one."""
        return self._cp.cuda.Stream(non_blocking=True)

    def stream_of(self, array: Any) -> Any:
        """Return the stream on which the library of an array works; None is CuPy's current one."""
        if type(array).__module__.partition(".")[0] != "torch":
            return None
        torch = sys.modules["torch"]
        return self._cp.cuda.ExternalStream(
            torch.cuda.current_stream(self.number).cuda_stream, self.number
        )

    def is_device_array(self, array: object) -> bool:
        """Return whether an array lies on a GPU."""
        return hasattr(array, "__cuda_array_interface__")

    def adopt(self, array: Any) -> Any:
        """Return a GPU array of CuPy, PyTorch or others as one of CuPy, without a copy.

        What its library still does to it comes first: DLPack makes the current stream wait.

        Raises
        ------
        InvalidInputError
            If it lies on another GPU.
        """
        if hasattr(type(array), "__dlpack__"):
            there = self._cp.from_dlpack(array)
        else:
            there = self._cp.asarray(array)
        if there.device.id != self.number:
            raise InvalidInputError(
                f"the array lies on cuda:{there.device.id}, the call runs on {self.name}: say"
                f" device='cuda:{there.device.id}', or move the array"
            )
        return there

    def take(self, array: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return copies of some rows in NumPy."""
        with self.active(), self._in_words(f"taking {len(rows)} rows"):
            result: NDArray[Any] = self._cp.take(array, self._cp.asarray(rows), axis=0).get()
            return result

    def let_go(self) -> None:
        """Give memory that is kept for later back to the GPU."""
        self._cp.get_default_memory_pool().free_all_blocks()

    def launch(
        self,
        file: str,
        entry: str,
        grid: int | tuple[int, int],
        block: int,
        *args: Any,
        shared: int = 0,
        **defines: int,
    ) -> None:
        """Run a kernel on the current stream.

        Parameters
        ----------
        file : str
            Name of the source, without ``.cu``.
        entry : str
            Name of the kernel.
        grid : int or (int, int)
            Blocks.
        block : int
            Threads of a block.
        *args
            Arguments: arrays (None is a null pointer) and numbers.
        shared : int
            Bytes of dynamic shared memory.
        **defines
            What the source is compiled with.

        Raises
        ------
        GpuMemoryError, GpuError
            Naming the kernel.
        """
        program = read_program(file)
        function = self._function(program, entry, tuple(sorted(defines.items())))
        blocks = (grid, 1, 1) if isinstance(grid, int) else (*grid, 1)
        arguments = as_arguments(program, entry, args)
        what = f"kernel {entry} over {_in_short(args)}"
        with self._in_words(what):
            if shared > _DEFAULT_SHARED:
                function.max_dynamic_shared_size_bytes = shared
            function(blocks, (block, 1, 1), arguments, shared_mem=shared)
        self._latest.append(what)

    def _function(self, program: Program, entry: str, defines: tuple[Define, ...]) -> Any:
        place = program.name, entry, defines
        if place not in self._functions:
            with self._in_words(f"compiling {program.name}.cu for sm_{self.arch}"):
                code = machine_code(self._cp, program, self.arch, dict(defines))
                module = self._cp.RawModule(path=str(code))
                for name in program.entries:
                    self._functions[program.name, name, defines] = module.get_function(name)
        return self._functions[place]

    @contextmanager
    def _in_words(self, what: str, *, late: bool = False, memory: bool = False) -> Iterator[None]:
        """Turn the errors of CuPy and the driver into one that says what was done.

        A `late` error may be that of a kernel before; `memory` says that it is one of memory,
        whatever its type.
        """
        try:
            yield
        except self._cp.cuda.memory.OutOfMemoryError as error:
            raise GpuMemoryError(
                f"{self.name} has not enough memory for {what}: {error}; give a smaller"
                f" memory_limit, or {_REMEDY}"
            ) from error
        except (
            self._cp.cuda.runtime.CUDARuntimeError,
            self._cp.cuda.driver.CUDADriverError,
            CompilationError,
        ) as error:
            if memory:
                raise GpuMemoryError(f"{self.name} gets no {what}: {error}; {_REMEDY}") from error
            if late and self._latest:
                what += f", after {'; '.join(self._latest)}"
            raise GpuError(f"{self.name}, {what}: {error}; {_REMEDY}") from error


def _in_short(args: Sequence[Any]) -> str:
    """Return shapes of the arrays among arguments."""
    shapes = [str(tuple(a.shape)) for a in args if hasattr(a, "shape") and a.shape != ()]
    return "arrays of shape " + ", ".join(dict.fromkeys(shapes)) if shapes else "no arrays"
