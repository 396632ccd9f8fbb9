"""A CUDA runtime without a GPU, as late as a real one may be.

What is begun on a stream happens only when somebody waits for that stream: memory that is reused
too early, or read too early, gives wrong answers here every time.
"""

# ruff: noqa: N802, N815  CUDA's own names

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

Op = Callable[[], None]


class CudaError(enum.IntEnum):
    """The errors that tests provoke, with CUDA's numbers."""

    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureInvalidated = 901


OK = (CudaError.cudaSuccess,)


class CudaStandIn:
    """Stands in for the module ``cuda.bindings.runtime``."""

    cudaHostAllocDefault = 0
    cudaStreamNonBlocking = 1
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(
        self, *, memory: int = 1 << 30, arch: tuple[int, int] = (8, 9), name: str = "Stand-in"
    ) -> None:
        self.total = memory
        self.devices = 1
        self.blocks: dict[int, bytearray] = {}
        self.pinned: dict[int, Any] = {}
        self.streams: dict[int, list[Op]] = {}
        self.graphs: dict[int, list[Op]] = {}
        self.capturing: dict[int, list[Op]] = {}
        self.fail: dict[str, CudaError] = {}
        self.log: list[tuple[Any, ...]] = []
        self._handles = iter(range(1 << 20, 1 << 40, 1 << 24))
        self._properties = SimpleNamespace(name=name.encode(), major=arch[0], minor=arch[1])

    def left(self) -> dict[str, int]:
        """What has not been given back."""
        kinds = ("blocks", "pinned", "streams", "graphs", "capturing")
        return {kind: len(getattr(self, kind)) for kind in kinds if getattr(self, kind)}

    def begin(self, stream: int, op: Op) -> None:
        """Put something on a stream, or into the graph that is recorded from it."""
        self.capturing.get(stream, self.streams[stream]).append(op)

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return (CudaError.cudaErrorNoDevice, 0) if not self.devices else (*OK, self.devices)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        return (*OK, self._properties)

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        return OK

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return (*OK, self.total - sum(map(len, self.blocks.values())), self.total)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if size > self.cudaMemGetInfo()[1]:
            return CudaError.cudaErrorMemoryAllocation, None
        address = next(self._handles)
        self.blocks[address] = bytearray(b"\xff" * size)
        return (*OK, address)

    def cudaFree(self, devPtr: int) -> tuple[Any, ...]:
        del self.blocks[devPtr]
        return OK

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        buffer = ctypes.create_string_buffer(size)
        self.pinned[ctypes.addressof(buffer)] = buffer
        return (*OK, ctypes.addressof(buffer))

    def cudaFreeHost(self, ptr: int) -> tuple[Any, ...]:
        del self.pinned[ptr]
        return OK

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == self.cudaStreamNonBlocking
        stream = next(self._handles)
        self.streams[stream] = []
        return (*OK, stream)

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        del self.streams[stream]
        return OK

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        assert stream not in self.capturing, "waiting is forbidden while recording"
        if error := self.fail.get("cudaStreamSynchronize"):
            return (error,)
        self.log.append(("wait", stream))
        queue = self.streams[stream]
        while queue:
            queue.pop(0)()
        return OK

    def cudaMemcpyAsync(
        self, dst: int, src: int, count: int, kind: int, stream: int
    ) -> tuple[Any, ...]:
        inward = kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice
        host, block = (src, dst) if inward else (dst, src)
        assert any(start <= host < start + len(b) for start, b in self.pinned.items()), "not pinned"
        assert count <= len(self.blocks[block])
        self.log.append(("in" if inward else "out", stream, count))

        def copy() -> None:
            if inward:
                self.blocks[block][:count] = ctypes.string_at(host, count)
            else:
                ctypes.memmove(host, bytes(self.blocks[block][:count]), count)

        self.begin(stream, copy)
        return OK

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any, ...]:
        self.capturing[stream] = []
        return OK

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        recorded = self.capturing.pop(stream, None)
        if recorded is None:
            return CudaError.cudaErrorInvalidValue, None
        if error := self.fail.get("cudaStreamEndCapture"):
            return error, None
        graph = next(self._handles)
        self.graphs[graph] = recorded
        return (*OK, graph)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        executable = next(self._handles)
        self.graphs[executable] = list(self.graphs[graph])
        return (*OK, executable)

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        del self.graphs[graph]
        return OK

    def cudaGraphExecDestroy(self, graphExec: int) -> tuple[Any, ...]:
        return self.cudaGraphDestroy(graphExec)

    def cudaGraphLaunch(self, graphExec: int, stream: int) -> tuple[Any, ...]:
        self.log.append(("launch", stream))
        for op in self.graphs[graphExec]:
            self.begin(stream, op)
        return OK

    def cudaGetLastError(self) -> tuple[Any, ...]:
        return OK

    def cudaGetErrorName(self, error: CudaError) -> tuple[Any, ...]:
        return (*OK, error.name.encode())

    def cudaGetErrorString(self, error: CudaError) -> tuple[Any, ...]:
        return (*OK, b"what the stand-in was told to say")
