"""Whole matrices of distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.cuda.device import Gpu
from fastface.backends.cuda.lanes import in_chunks
from fastface.backends.cuda.operands import FACTS, METRIC_CODES, padded, storage
from fastface.backends.cuda.tiles import Precision, choose_tile

__all__ = ["pairwise"]

_TILE = 128
_PACKED_ROWS = 16


class _Side:
    """Rows of one side: plain float32, no shift, with the term that each adds."""

    def __init__(self, gpu: Gpu, x: Any, metric: str, who: str) -> None:
        operand = Precision.FLOAT32.operand
        n, dim = x.shape
        rows = padded(n, _TILE)
        self.values = gpu.empty(rows * operand.padded_dim(dim) * operand.itemsize, np.uint8)
        self.facts = gpu.empty(rows * FACTS.itemsize, np.uint8)
        self.terms = gpu.empty(rows, np.float32)
        self.tiles = rows // _TILE
        biases, bounds = gpu.empty(rows, np.float32), gpu.zeros(2, np.float32)
        errors = gpu.zeros(1, np.int32)
        gpu.launch(
            "operands",
            "pack_rows",
            rows // _PACKED_ROWS,
            256,
            *(x, dim, None, n, dim, operand.padded_dim(dim), METRIC_CODES[metric], 1, None, None),
            *(self.values, self.facts, biases, self.terms, bounds, errors),
            X_TYPE=storage(x),
            OPERAND=int(operand),
        )
        if int(gpu.get(errors)[0]):
            raise FloatingPointError(who)


def pairwise(
    gpu: Gpu, x: Any, y: Any, metric: str, out: NDArray[np.float32], memory_limit: int = 0
) -> None:
    """Write every distance into `out`, some rows at a time.

    Parameters
    ----------
    gpu : Gpu
        Where.
    x : ndarray or device array of shape (n, dim)
        Rows.
    y : device array of shape (m, dim)
        Columns.
    metric : str
        Distance.
    out : ndarray of float32, shape (n, m)
        Written.
    memory_limit : int
        Bytes of the GPU that chunks of rows may take; 0 is half of what is free.
    """
    columns = _Side(gpu, y, metric, "candidates")
    m, dim = y.shape
    steps = Precision.FLOAT32.operand.n_steps(dim)
    tile = choose_tile(Precision.FLOAT32, gpu.arch, steps)

    def work(chunk: Any, first: int) -> list[Any]:
        n = chunk.shape[0]
        rows = _Side(gpu, chunk, metric, "queries")
        grid = rows.tiles, columns.tiles
        result = gpu.empty((n, m), np.float32)
        doubtful = gpu.zeros(grid[::-1], np.int32)
        code = METRIC_CODES[metric]
        gpu.launch(
            "pairwise",
            "pairwise_tiles",
            grid,
            tile.threads,
            *(rows.values, columns.values, rows.terms, columns.terms, n, m, steps, dim, code),
            *(result, m, doubtful),
            shared=tile.shared_bytes(steps),
            **tile.defines,
        )
        gpu.launch(
            "pairwise_decide",
            "pairwise_decide",
            grid,
            256,
            *(chunk, dim, y, dim, n, m, dim, code, rows.facts, columns.facts, result, m, doubtful),
            X_TYPE=storage(chunk),
            Y_TYPE=storage(y),
        )
        return [result]

    in_chunks(gpu, x, work, [out], bytes_a_row=4 * m + 16 * dim + 64, memory_limit=memory_limit)
