"""Whole matrices of distances."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastface.backends.cuda.device import Gpu
from fastface.backends.cuda.lanes import Steps, in_chunks
from fastface.backends.cuda.operands import METRIC_CODES, Packed, pack, padded, storage
from fastface.backends.cuda.tiles import Precision, choose_tile

__all__ = ["pairwise"]

_TILE = 128


def _pack(gpu: Gpu, x: Any, metric: str) -> tuple[Packed, Any]:
    """Return rows of one side as plain float32, not shifted, and the term that each adds."""
    rows = padded(x.shape[0], _TILE)
    terms, biases = gpu.empty(rows, np.float32), gpu.empty(rows, np.float32)
    packed = pack(
        gpu,
        x,
        Precision.FLOAT32.operand,
        METRIC_CODES[metric],
        _TILE,
        biases=biases,
        terms=terms,
        bounds=gpu.zeros(2, np.float32),
    )
    return packed, terms


def pairwise(gpu: Gpu, x: Any, y: Any, metric: str, out: Any, memory_limit: int = 0) -> None:
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
    out : ndarray or device array of float32, shape (n, m)
        Written.
    memory_limit : int
        Bytes of the GPU that chunks of rows may take; 0 is half of what is free.
    """
    columns, column_terms = _pack(gpu, y, metric)
    if int(gpu.get(columns.errors)[0]):
        raise FloatingPointError("candidates")
    m, dim = y.shape
    steps = Precision.FLOAT32.operand.n_steps(dim)
    tile = choose_tile(Precision.FLOAT32, gpu.arch, steps)

    def work(chunk: Any, first: int) -> Steps:
        n = chunk.shape[0]
        rows, row_terms = _pack(gpu, chunk, metric)
        (errors,) = yield [rows.errors]
        if int(errors[0]):
            raise FloatingPointError("queries")
        grid = rows.tiles, columns.tiles
        result = gpu.empty((n, m), np.float32)
        doubtful = gpu.zeros(grid[::-1], np.int32)
        code = METRIC_CODES[metric]
        gpu.launch(
            "pairwise",
            "pairwise_tiles",
            grid,
            tile.threads,
            *(rows.values, columns.values, row_terms, column_terms, n, m, steps, dim, code),
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
