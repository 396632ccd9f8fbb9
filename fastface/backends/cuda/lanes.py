"""Rows a chunk at a time: two lanes for those of the host, one copying while the other computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.backends.cuda.device import Gpu, GpuMemoryError
from fastface.backends.cuda.rows import DeviceRows

__all__ = ["Steps", "Work", "in_chunks"]

_LANES = 2
_LEAST_ROWS = 256
_SHARE = 2  # of the free memory that chunks may take

# Gets a chunk on the GPU and the number of its first row.  It launches on the current stream,
# yields arrays whose values it wants to see, is sent copies of them in NumPy that last until it
# goes on, and returns arrays with a row for each of the chunk.  It may be begun anew for a part.
Steps = Generator[Sequence[Any], list[NDArray[Any]], Sequence[Any]]
Work = Callable[[Any, int], Steps]


class _Lane(Protocol):
    """Somewhere a chunk is worked on."""

    part: slice | None  # the rows it is busy with

    def begin(self, x: Any, part: slice, work: Work) -> None:
        """Start the work on some rows."""
        ...

    def launch(self) -> None:
        """See to it that the bulk of the work goes on while another lane begins."""
        ...

    def finish(self, outputs: Sequence[Any]) -> None:
        """See the work through, and put its results where they belong."""
        ...

    def abandon(self) -> None:
        """Give up what it is busy with, once nobody reads or writes its memory."""
        ...


class _CopyingLane:
    """A stream of its own, with pinned memory for rows on their way there and results back.

    Nothing waits in `begin`, so that what the other lane has launched goes on meanwhile; a first
    question, which is whether rows can be used at all, is answered by `launch`.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._stream = gpu.stream()
        self._pinned: dict[int, NDArray[np.uint8]] = {}
        self._steps: Any = None
        self._results: Sequence[Any] | None = None
        self.part: slice | None = None

    def begin(self, x: Any, part: slice, work: Work) -> None:
        """Bring rows there, and launch as much of the work as needs no answer."""
        self.part, self._is_new = part, True
        with self._stream:
            rows = x[part]
            staged = self._staging(-1, rows.shape, rows.dtype)
            staged[...] = rows
            there = self._gpu.empty(rows.shape, rows.dtype)
            self._gpu.begin_put(there, staged, self._stream)
            self._steps = work(there, part.start)
            self._go_on(None)

    def launch(self) -> None:
        """Answer what the work asks first, unless that is done."""
        if self._is_new and self._results is None:
            self._answer()

    def finish(self, outputs: Sequence[Any]) -> None:
        """Answer what the work asks until it ends."""
        assert self.part is not None  # noqa: S101
        while self._results is None:
            self._answer()
        self._gpu.wait(self._stream)
        for copy, output in zip(self._copies, outputs, strict=True):
            output[self.part] = copy
        self._free()

    def abandon(self) -> None:
        """Give up, once nobody reads or writes the pinned memory."""
        self._gpu.wait(self._stream)
        self._free()

    def _free(self) -> None:
        self.part = self._steps = self._results = None
        self._copies: list[NDArray[Any]] = []

    def _answer(self) -> None:
        self._is_new = False
        self._gpu.wait(self._stream)
        with self._stream:
            self._go_on(self._copies)

    def _go_on(self, answers: list[NDArray[Any]] | None) -> None:
        try:
            asked = next(self._steps) if answers is None else self._steps.send(answers)
        except StopIteration as end:
            self._results = asked = end.value
        self._copies = [self._bring_back(i, array) for i, array in enumerate(asked)]

    def _bring_back(self, number: int, array: Any) -> NDArray[Any]:
        copy = self._staging(number, array.shape, array.dtype)
        self._gpu.begin_get(array, copy, self._stream)
        return copy

    def _staging(self, number: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return pinned memory, the same for the same number as long as it is large enough."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if number not in self._pinned or self._pinned[number].size < size:
            self._pinned[number] = self._gpu.pinned((size,), np.uint8)
        memory: NDArray[Any] = self._pinned[number][:size].view(dtype)
        return memory.reshape(shape)


class _ResidentLane:
    """The current stream, for rows that are on the GPU: there is nothing to copy meanwhile."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._steps: Any = None
        self.part: slice | None = None

    def begin(self, x: Any, part: slice, work: Work) -> None:
        """Take note."""
        rows = x[part]
        chunk = rows.array if isinstance(rows, DeviceRows) else rows
        self.part, self._steps = part, work(chunk, part.start)

    def launch(self) -> None:
        """There is no other lane."""

    def finish(self, outputs: Sequence[Any]) -> None:
        """Do the work."""
        part, gpu = self.part, self._gpu
        try:
            asked = next(self._steps)
            while True:
                asked = self._steps.send([gpu.get(array) for array in asked])
        except StopIteration as end:
            results: Sequence[Any] = end.value
        for result, output in zip(results, outputs, strict=True):
            output[part] = gpu.get(result) if isinstance(output, np.ndarray) else result
        self.abandon()

    def abandon(self) -> None:
        """Give up: all memory belongs to the current stream."""
        self.part = self._steps = None


def in_chunks(
    gpu: Gpu,
    x: Any,
    work: Work,
    outputs: Sequence[Any],
    *,
    bytes_a_row: int,
    memory_limit: int = 0,
) -> None:
    """Do some work on all rows, a chunk at a time.

    Where the GPU runs out of memory the chunks are halved and the work goes on.

    Parameters
    ----------
    gpu : Gpu
        Where.
    x : ndarray or device array of shape (n, dim)
        Rows.
    work : callable
        See `Work`.
    outputs : sequence of ndarray or device array
        Where the rows of its results belong; device arrays only for rows on the GPU.
    bytes_a_row : int
        What a row of a chunk takes on the GPU, with all that is made of it.
    memory_limit : int
        Bytes of the GPU that chunks may take; 0 is half of what is free.

    Raises
    ------
    GpuMemoryError
        If there is not even memory for a small chunk.
    MemoryError
        Carrying the bytes needed, if `memory_limit` leaves none for a small chunk.
    """
    resident = gpu.is_device_array(x)
    n_lanes = 1 if resident else _LANES
    least = min(len(x), _LEAST_ROWS)
    if memory_limit and memory_limit < n_lanes * least * bytes_a_row:
        raise MemoryError(str(n_lanes * least * bytes_a_row))
    limit = memory_limit or gpu.free_bytes() // _SHARE
    size = max(least, min(len(x), limit // (n_lanes * bytes_a_row)))
    lanes: list[_Lane] = [
        _ResidentLane(gpu) if resident else _CopyingLane(gpu) for _ in range(n_lanes)
    ]
    todo = [slice(0, len(x))]  # the first rows last
    turn = 0
    try:
        while todo or any(lane.part for lane in lanes):
            mine, others = lanes[turn % n_lanes], [*lanes]
            others.remove(mine)
            turn += 1
            lane, spoiled = mine, None  # the one that is worked on, and what it had to give up
            try:
                for lane in others:
                    if lane.part is not None:
                        lane.launch()
                lane = mine
                if lane.part is not None:
                    lane.finish(outputs)
                if todo:
                    lane.begin(x, _cut(todo, size), work)
            except GpuMemoryError:
                spoiled = lane.part
                alone = not any(other.part for other in lanes if other is not lane)
                if spoiled is None or (size <= least and alone):
                    raise
            if spoiled is not None:  # out of reach of the error, which holds what it met
                todo.append(spoiled)
                lane.abandon()
                gpu.let_go()
                size = max(least, size // 2)
    finally:
        for lane in lanes:
            lane.abandon()


def _cut(todo: list[slice], size: int) -> slice:
    """Take the first rows of what is to be done, at most so many."""
    first = todo.pop()
    if first.stop - first.start <= size:
        return first
    todo.append(slice(first.start + size, first.stop))
    return slice(first.start, first.start + size)
