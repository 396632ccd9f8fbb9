"""Rows larger than the GPU's memory: two lanes, one copying while the other computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from fastface.backends.cuda.device import Gpu, GpuMemoryError

__all__ = ["in_chunks"]

_LANES = 2
_LEAST_ROWS = 256
_SHARE = 2  # of the free memory that chunks may take

Work = Callable[[Any, int], Sequence[Any]]


class _Lane:
    """A stream with what is on it: a chunk, and results on their way back."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._stream = gpu.stream()
        self._staging: NDArray[Any] | None = None
        self._pending: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def run(self, x: Any, part: slice, work: Work, outputs: Sequence[NDArray[Any]]) -> None:
        """Start the work on some rows; results are in `outputs` after `finish`."""
        self.finish()
        with self._stream:
            chunk = x[part]
            if not self._gpu.is_device_array(x):
                chunk = self._upload(chunk)
            results = work(chunk, part.start)
            for result, output in zip(results, outputs, strict=True):
                back = self._gpu.pinned(result.shape, result.dtype)
                result.get(stream=self._stream, out=back, blocking=False)
                self._pending.append((back, output[part]))

    def finish(self) -> None:
        """Wait, and put results where they belong."""
        self._stream.synchronize()
        for back, output in self._pending:
            output[...] = back
        self._pending = []

    def _upload(self, chunk: NDArray[Any]) -> Any:
        if self._staging is None or self._staging.size < chunk.size:
            self._staging = self._gpu.pinned((chunk.size,), chunk.dtype)
        staged = self._staging[: chunk.size].reshape(chunk.shape)
        staged[...] = chunk
        there = self._gpu.empty(chunk.shape, chunk.dtype)
        there.set(staged, stream=self._stream)
        return there


def in_chunks(
    gpu: Gpu,
    x: Any,
    work: Work,
    outputs: Sequence[NDArray[Any]],
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
        Gets a chunk on the GPU and the number of its first row; launches on the current stream,
        and returns arrays on the GPU, with a row for each.
    outputs : sequence of ndarray
        Where their rows belong.
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
    limit = memory_limit or gpu.free_bytes() // _SHARE
    least = min(len(x), _LEAST_ROWS)
    if memory_limit and memory_limit < _LANES * least * bytes_a_row:
        raise MemoryError(str(_LANES * least * bytes_a_row))
    size = max(least, min(len(x), limit // (_LANES * bytes_a_row)))
    lanes = [_Lane(gpu) for _ in range(_LANES)]
    start = turn = 0
    while start < len(x):
        part = slice(start, min(len(x), start + size))
        try:
            lanes[turn % _LANES].run(x, part, work, outputs)
        except GpuMemoryError:
            for lane in lanes:
                lane.finish()
            gpu.let_go()
            if size <= least:
                raise
            size = max(least, size // 2)
            continue
        start, turn = part.stop, turn + 1
    for lane in lanes:
        lane.finish()
