"""Lanes on a device: each a stream with its own memory and its own state of the network.

While one lane computes, the crops of the next are copied to the device and the vectors of the last
come back.  A lane's memory is allocated once, for the largest batch.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import FastfaceError, ModelError
from fastface.runtimes.device import CudaDevice

__all__ = ["Interface", "Lane", "round_up"]


@dataclass(frozen=True)
class Interface:
    """What an engine takes and gives.

    Attributes
    ----------
    crops, vectors : str
        Names of its input and its output.
    crop_shape : (int, int, int)
    embedding_size : int
    max_batch : int
    """

    crops: str
    vectors: str
    crop_shape: tuple[int, int, int]
    embedding_size: int
    max_batch: int


def round_up(n: int, most: int) -> int:
    """Return the size of the batch that n crops are computed in: a power of two, or the largest.

    So few sizes come back again and again, whatever the last batch of a job has: kernels are made
    ready, and recorded as a graph, for each of them once.
    """
    return min(1 << (n - 1).bit_length(), most)


class Lane:
    """One stream, and all that a batch on its way needs.

    Parameters
    ----------
    device : CudaDevice
    context : object
        TensorRT's execution context; nobody else's.
    interface : Interface
    records : bool
        Record a batch size that comes again as a CUDA graph: its kernels are then launched in one
        call.  False where the runtime does so itself.

    Raises
    ------
    BackendUnavailableError
        If the device has not enough memory; what was allocated is given back.
    """

    def __init__(
        self, device: CudaDevice, context: Any, interface: Interface, *, records: bool
    ) -> None:
        self._device = device
        self._context = context
        self._interface = interface
        self._records = records
        self._graph: Any = None
        self._size = 0  # of the batch that the context is set to
        self._runs = 0  # since it was
        self._pending = 0  # crops on their way
        most, crop_shape = interface.max_batch, interface.crop_shape
        n_in, n_out = most * int(np.prod(crop_shape)), 4 * most * interface.embedding_size
        with ExitStack() as undo:
            self._stream = device.new_stream()
            undo.callback(device.free_stream, self._stream)
            self._crops = device.allocate(n_in)
            undo.callback(device.free, self._crops)
            self._vectors = device.allocate(n_out)
            undo.callback(device.free, self._vectors)
            pinned_in = device.allocate_pinned(n_in)
            undo.callback(device.free_pinned, pinned_in)
            pinned_out = device.allocate_pinned(n_out)
            undo.callback(device.free_pinned, pinned_out)
            bound = context.set_tensor_address(interface.crops, self._crops)
            if not (bound and context.set_tensor_address(interface.vectors, self._vectors)):
                raise ModelError("the engine refuses the memory it was given")
            self._undo = undo.pop_all()
        self._pinned_in = pinned_in.reshape(most, *crop_shape)
        self._pinned_out = pinned_out.view(np.float32).reshape(most, interface.embedding_size)

    def start(self, crops: NDArray[np.uint8]) -> None:
        """Begin a batch; the array may be changed when this returns.

        Raises
        ------
        ModelError
            If the engine cannot be run on it.
        BackendUnavailableError
            If the device fails.
        """
        n = len(crops)
        self._pinned_in[:n] = crops
        self._resize(round_up(n, self._interface.max_batch))
        self._pending = n
        try:
            self._device.copy_in(self._crops, _bytes(self._pinned_in[:n]), self._stream)
            self._compute()
            self._device.copy_out(_bytes(self._pinned_out[:n]), self._vectors, self._stream)
        except BaseException:
            # Whoever takes the lane next must not write into memory that is still being read.
            with suppress(FastfaceError):
                self._device.synchronize(self._stream)
            raise

    def finish(self) -> NDArray[np.float32]:
        """Wait for the batch and return its vectors, in memory of the caller's own."""
        n, self._pending = self._pending, 0
        self._device.synchronize(self._stream)
        return self._pinned_out[:n].copy()

    def close(self) -> None:
        """Give everything back; once."""
        with ExitStack() as stack:
            stack.enter_context(self._undo)
            self._drop_graph()
            self._context = None

    def _resize(self, size: int) -> None:
        if size == self._size:
            return
        # What was recorded holds for the shapes and the memory that the context then had.
        self._drop_graph()
        self._size = self._runs = 0
        if not self._context.set_input_shape(
            self._interface.crops, (size, *self._interface.crop_shape)
        ):
            raise ModelError(f"the engine takes no batch of {size} crops")
        self._size = size

    def _compute(self) -> None:
        # The first run with a shape prepares what later ones find ready, which cannot be recorded.
        if self._graph is None and self._records and self._runs:
            self._record()
        if self._graph is not None:
            self._device.launch(self._graph, self._stream)
        elif not self._context.execute_async_v3(int(self._stream)):
            raise ModelError(f"the engine cannot be run on {self._size} crops")
        self._runs += 1

    def _record(self) -> None:
        self._device.begin_capture(self._stream)
        try:
            if not self._context.execute_async_v3(int(self._stream)):
                raise ModelError("this network cannot be recorded")
        except BaseException as error:
            self._device.abandon_capture(self._stream)
            if not isinstance(error, ModelError):
                raise
            # Some networks cannot be; launched kernel by kernel they give the same.
            self._records = False
            return
        try:
            self._graph = self._device.end_capture(self._stream)
        except FastfaceError:
            self._device.abandon_capture(self._stream)
            self._records = False

    def _drop_graph(self) -> None:
        if self._graph is not None:
            graph, self._graph = self._graph, None
            self._device.free_graph(graph)


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)
