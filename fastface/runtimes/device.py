"""A CUDA device as the engines see it: memory, streams and graphs, and errors in words.

All that is asked of CUDA goes through here, so that tests can put another device in its place.
"""

from __future__ import annotations

import ctypes
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import BackendUnavailableError, MissingDependencyError
from fastface.validation import check_device

__all__ = ["CudaDevice", "parse_device"]

_PURPOSE = "Running an engine"


def parse_device(device: str) -> int | None:
    """Return the number of a CUDA device, or None for the CPU and ``"auto"``.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises
    ------
    InvalidInputError
        If it is none of these.
    """
    kind, number = check_device(device)
    return (number or 0) if kind == "cuda" else None


class CudaDevice:
    """One CUDA device.

    Addresses are integers.  Streams and graphs are whatever the CUDA bindings make of them.

    Parameters
    ----------
    ordinal : int
        Which of the devices that this process sees.

    Attributes
    ----------
    ordinal : int
    count : int
        How many devices this process sees.
    name : str
        Such as ``"NVIDIA H100 80GB HBM3"``.
    arch : str
        Such as ``"sm_90"``.

    Raises
    ------
    MissingDependencyError
        If ``cuda-bindings`` is not installed.
    BackendUnavailableError
        If there is no such device.
    """

    def __init__(self, ordinal: int = 0) -> None:
        try:
            self._cuda: Any = import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise MissingDependencyError.for_package(
                "cuda-bindings", extra="tensorrt-rtx", purpose=_PURPOSE
            ) from error
        self.ordinal = ordinal
        status, count = self._cuda.cudaGetDeviceCount()
        if int(status) or not count:
            reason = self._name(status) if int(status) else "there is none"
            raise BackendUnavailableError(
                f"no CUDA device can be used ({reason}): install NVIDIA's driver, or use"
                " device='cpu'"
            )
        if ordinal >= count:
            raise BackendUnavailableError(
                f"device 'cuda:{ordinal}': this process sees {count}, from 'cuda:0' on"
            )
        self.count = int(count)
        properties = self._call("cudaGetDeviceProperties", ordinal)
        name = properties.name
        self.name: str = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        self.arch = f"sm_{properties.major}{properties.minor}"

    def activate(self) -> None:
        """Make it this thread's device: wanted before anything else in every thread."""
        self._call("cudaSetDevice", self.ordinal)

    def allocate(self, size: int) -> int:
        """Return the address of so many bytes on the device."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Give back what `allocate` returned."""
        self._call("cudaFree", address)

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """Return so many bytes of host memory that the device can copy from by itself."""
        address = int(self._call("cudaHostAlloc", size, self._cuda.cudaHostAllocDefault))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        """Give back what `allocate_pinned` returned; nobody may look at it any more."""
        self._call("cudaFreeHost", array.ctypes.data)

    def new_stream(self) -> Any:
        """Return a stream that waits for no other."""
        return self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)

    def free_stream(self, stream: Any) -> None:
        """Give back what `new_stream` returned."""
        self._call("cudaStreamDestroy", stream)

    def copy_in(self, address: int, source: NDArray[np.uint8], stream: Any) -> None:
        """Begin to copy pinned bytes to the device; `source` must stay as it is until then."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, stream)

    def copy_out(self, target: NDArray[np.uint8], address: int, stream: Any) -> None:
        """Begin to copy bytes from the device; they are there after `synchronize`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, stream)

    def synchronize(self, stream: Any) -> None:
        """Wait for everything that was begun on a stream."""
        self._call("cudaStreamSynchronize", stream)

    def begin_capture(self, stream: Any) -> None:
        """From now on record what this thread begins on a stream, instead of doing it."""
        # Other threads may allocate meanwhile; the stricter modes would forbid it to them.
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: Any) -> Any:
        """Return what was recorded, ready to be launched."""
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def abandon_capture(self, stream: Any) -> None:
        """End a recording that went wrong."""
        error, graph = self._cuda.cudaStreamEndCapture(stream)
        if not int(error) and graph is not None:
            self._cuda.cudaGraphDestroy(graph)
        self._cuda.cudaGetLastError()

    def launch(self, graph: Any, stream: Any) -> None:
        """Begin what was recorded."""
        self._call("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        """Give back what `end_capture` returned."""
        self._call("cudaGraphExecDestroy", graph)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of CUDA's; return its only result, or raise its error in words."""
        error, *results = getattr(self._cuda, name)(*arguments)
        if not int(error):
            return results[0] if results else None
        shown = self._name(error)
        if name in ("cudaMalloc", "cudaHostAlloc") and error.name == "cudaErrorMemoryAllocation":
            self._cuda.cudaGetLastError()  # CUDA keeps it, and would report it once more
            raise BackendUnavailableError(
                f"{self._what()} has no {arguments[0] / 2**20:.1f} MiB left"
                f"{self._free()}: use a smaller batch_size, or end what else runs there"
            )
        raise BackendUnavailableError(
            f"{self._what()} failed in {name}: {shown}; after such an error start a new process"
        )

    def _what(self) -> str:
        return f"CUDA device {self.ordinal} ({getattr(self, 'name', 'unnamed')})"

    def _free(self) -> str:
        error, free, total = self._cuda.cudaMemGetInfo()
        return "" if int(error) else f" ({free / 2**20:.0f} of {total / 2**20:.0f} MiB are free)"

    def _name(self, error: Any) -> str:
        """Return CUDA's name for an error and its explanation."""
        _, name = self._cuda.cudaGetErrorName(error)
        _, text = self._cuda.cudaGetErrorString(error)
        return ": ".join(part.decode() for part in (name, text) if part)
