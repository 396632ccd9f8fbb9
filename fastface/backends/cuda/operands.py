"""Rows and candidates as the score tiles want them: packed, shifted, rounded, with their facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastface.backends.cuda.device import Gpu
from fastface.backends.cuda.tiles import Operand, Precision, choose_tile

__all__ = [
    "FACTS",
    "METRIC_CODES",
    "Candidates",
    "Packed",
    "pack",
    "pack_queries",
    "padded",
    "storage",
]

METRIC_CODES = {"sqeuclidean": 0, "euclidean": 1, "cosine": 2, "inner_product": 3}
# struct RowFacts of operands.cu.
FACTS = np.dtype(
    [
        ("squares", "f8"),
        ("scale", "f8"),
        ("own_norm", "f8"),
        ("norm", "f4"),
        ("residual", "f4"),
    ]
)
_STORAGE = {"float16": 0, "float32": 1, "float64": 2}
_PACKED_ROWS = 16  # a block of pack_rows


def storage(array: Any) -> int:
    """Return the code of an array's dtype."""
    return _STORAGE[array.dtype.name]


def padded(size: int, multiple: int) -> int:
    """Return `size` rounded up."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class Packed:
    """Packed rows.

    Attributes
    ----------
    values : device array of uint8
        The operand.
    facts : device array of uint8
        A `FACTS` record a row.
    rows_padded : int
        Rows with padding.
    tile_rows : int
        Rows of a tile.
    errors : device array of int32, shape (1,)
        Not zero where a value is no number.
    """

    values: Any
    facts: Any
    rows_padded: int
    tile_rows: int
    errors: Any

    @property
    def tiles(self) -> int:
        """Return the number of tiles."""
        return self.rows_padded // self.tile_rows


class Candidates:
    """Candidates on the GPU.

    Parameters
    ----------
    gpu : Gpu
        Where.
    y : device array of shape (n, dim)
        Candidates, C-contiguous.
    metric : str
        Distance.
    precision : Precision
        Of the scores.
    """

    def __init__(self, gpu: Gpu, y: Any, metric: str, precision: Precision) -> None:
        self.gpu, self.y, self.metric = gpu, y, METRIC_CODES[metric]
        self.precision = precision
        self.padded_dim = precision.operand.padded_dim(y.shape[1])
        self.n_steps = precision.operand.n_steps(y.shape[1])
        self.tile = choose_tile(precision, gpu.arch, self.n_steps)
        n, dim = y.shape
        defines = {"X_TYPE": storage(y), "OPERAND": int(precision.operand)}
        self.shift = self.largest = None
        if metric in ("sqeuclidean", "euclidean"):
            self.shift = gpu.empty(dim, np.float64)
            gpu.launch(
                "operands",
                "sample_mean",
                -(-dim // 128),
                128,
                y,
                dim,
                n,
                dim,
                self.shift,
                **defines,
            )
        if metric != "cosine":
            self.largest = gpu.zeros(1, np.uint64)
            gpu.launch(
                "operands",
                "largest_square",
                -(-n // 16),
                256,
                *(y, dim, n, dim, self.shift, self.largest),
                **defines,
            )
        self.biases = gpu.empty(padded(n, self.tile.columns), np.float32)
        self.bounds = gpu.zeros(2, np.float32)
        self.packed = pack(
            gpu,
            y,
            precision.operand,
            self.metric,
            self.tile.columns,
            shift=self.shift,
            largest=self.largest,
            biases=self.biases,
            bounds=self.bounds,
        )
        if int(gpu.get(self.packed.errors)[0]):
            raise FloatingPointError("candidates")

    @staticmethod
    def bytes_a_row(y: Any, precision: Precision) -> int:
        """Return what a candidate takes on the GPU: itself, and packed, finer too if need be."""
        dim, finer = y.shape[1], Precision.TF32X3.operand
        packed = precision.operand.padded_dim(dim) * precision.operand.itemsize
        again = finer.padded_dim(dim) * finer.itemsize
        return int(dim * y.dtype.itemsize + packed + again + 2 * (FACTS.itemsize + 4))

    def __len__(self) -> int:
        return int(self.y.shape[0])


def pack_queries(candidates: Candidates, x: Any) -> Packed:
    """Return rows packed as the candidates are; the caller looks at `Packed.errors`."""
    c = candidates
    return pack(
        c.gpu, x, c.precision.operand, c.metric, c.tile.rows, shift=c.shift, largest=c.largest
    )


def pack(
    gpu: Gpu,
    x: Any,
    operand: Operand,
    metric: int,
    tile_rows: int,
    *,
    shift: Any = None,
    largest: Any = None,
    biases: Any = None,
    terms: Any = None,
    bounds: Any = None,
) -> Packed:
    """Pack rows for the score tiles.

    Parameters
    ----------
    gpu : Gpu
        Where.
    x : device array of shape (n, dim)
        Rows, C-contiguous.
    operand : Operand
        How.
    metric : int
        One of `METRIC_CODES`.
    tile_rows : int
        Rows of a tile.
    shift, largest : device array, optional
        What is subtracted, and the largest square, of the candidates.
    biases, terms, bounds : device array, optional
        Written for candidates: what each adds to a score, and bounds on all of them; `terms` is
        what each row of a matrix of distances adds.
    """
    n, dim = x.shape
    rows = padded(n, tile_rows)
    values = gpu.empty(rows * operand.padded_dim(dim) * operand.itemsize, np.uint8)
    facts = gpu.empty(rows * FACTS.itemsize, np.uint8)
    errors = gpu.zeros(1, np.int32)
    gpu.launch(
        "operands",
        "pack_rows",
        rows // _PACKED_ROWS,
        256,
        *(x, dim, None, n, dim, operand.padded_dim(dim), metric, int(biases is not None)),
        *(shift, largest, values, facts, biases, terms, bounds, errors),
        X_TYPE=storage(x),
        OPERAND=int(operand),
    )
    return Packed(values, facts, rows, tile_rows, errors)
