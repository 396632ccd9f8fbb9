"""What a launcher does, in its plainest form: one launch after the other, on any `Engine`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from kernel_engines import Engine
from numpy.typing import NDArray

__all__ = ["METRICS", "PRECISIONS", "Tiles", "assign", "pairwise", "radius", "topk"]

Matrix = NDArray[Any]
METRICS = {"sqeuclidean": 0, "euclidean": 1, "cosine": 2, "inner_product": 3}
PRECISIONS = {"float32": 0, "bf16": 1, "tf32": 2, "tf32x3": 3}
STORAGES = {"float16": 0, "float32": 1, "float64": 2}
_FACTS_BYTES = 32
_TILE = 128
_CAPACITY = 512


def up(number: int, step: int) -> int:
    """Return the next multiple of `step`."""
    return -(-number // step) * step


def over(number: int, step: int) -> int:
    """Return how many steps cover `number`."""
    return -(-number // step)


@dataclass(frozen=True)
class Tiles:
    """How the sweep is compiled, and over how many slices of candidates it goes."""

    precision: str = "float32"
    stages: int = 3
    resident: bool = False
    slices: int = 1
    warpgroup_columns: int = 0  # multiplied by wgmma

    @property
    def operand(self) -> int:
        """Return OPERAND of operands.cu."""
        return {"float32": 0, "bf16": 1, "tf32": 2, "tf32x3": 0}[self.precision]

    @property
    def defines(self) -> dict[str, int]:
        """Return the definitions that tile.cuh needs."""
        if self.warpgroup_columns:
            return {
                "PRECISION": PRECISIONS[self.precision],
                "WARPS_M": 8,
                "WARPS_N": 1,
                "STAGES": self.stages,
                "RESIDENT": int(self.resident),
                "WARPGROUP_COLUMNS": self.warpgroup_columns,
            }
        return {
            "PRECISION": PRECISIONS[self.precision],
            "WARPS_M": 2,
            "WARPS_N": 4 if self.precision in ("float32", "tf32x3") else 2,
            "STAGES": self.stages,
            "RESIDENT": int(self.resident),
        }

    @property
    def threads(self) -> int:
        """Return the threads of a block."""
        return 32 * self.defines["WARPS_M"] * self.defines["WARPS_N"]

    @property
    def columns(self) -> int:
        """Return the candidates of a tile."""
        return self.warpgroup_columns or _TILE

    def shared_bytes(self, steps: int) -> int:
        """Return the dynamic shared memory of a sweep."""
        rows = self.stages * ((0 if self.resident else _TILE) + self.columns)
        start = 512 if self.warpgroup_columns else 0
        return 64 * (rows + (steps * _TILE if self.resident else 0)) + start


@dataclass
class Packed:
    """Rows as tiles score them."""

    operand: Any
    facts: Any
    biases: Any
    terms: Any
    bounds: Any
    error: Any
    padded_dim: int
    padded_rows: int
    steps: int


def _storage(X: Matrix, which: str = "X_TYPE") -> dict[str, int]:
    return {which: STORAGES[X.dtype.name]}


def pack(
    engine: Engine,
    X: Matrix,
    rows: Any,
    operand: int,
    metric: int,
    *,
    is_candidate: bool,
    shift: Any = None,
    largest: Any = None,
    terms: bool = False,
    tile: int = _TILE,
) -> Packed:
    """Launch pack_rows."""
    n, dim = X.shape
    padded_dim = up(dim, 32 if operand == 1 else 16)
    padded_rows = up(n, tile)
    row_bytes = padded_dim * (2 if operand == 1 else 4)
    packed = Packed(
        engine.empty((padded_rows, row_bytes), np.uint8),
        engine.empty((padded_rows, _FACTS_BYTES), np.uint8),
        engine.empty(padded_rows, np.float32) if is_candidate else None,
        engine.empty(padded_rows, np.float32) if terms else None,
        engine.put(np.zeros(2, np.float32)) if is_candidate else None,
        engine.put(np.zeros(1, np.int32)),
        padded_dim,
        padded_rows,
        row_bytes // 64,
    )
    engine.launch(
        "operands",
        {**_storage(X), "OPERAND": operand},
        "pack_rows",
        padded_rows // 16,
        256,
        [
            *(rows, dim, None, n, dim, padded_dim, metric, int(is_candidate), shift, largest),
            *(packed.operand, packed.facts, packed.biases, packed.terms, packed.bounds),
            packed.error,
        ],
    )
    return packed


def _prepare(
    engine: Engine, X: Matrix, x: Any, Y: Matrix, y: Any, tiles: Tiles, metric: int
) -> tuple[Packed, Packed]:
    """Pack rows and candidates with the shift and the scale that the candidates ask for."""
    n, dim = Y.shape
    defines = {**_storage(Y), "OPERAND": tiles.operand}
    shift = largest = None
    if metric < 2:
        shift = engine.empty(dim, np.float64)
        arguments = [y, dim, n, dim, shift]
        engine.launch("operands", defines, "sample_mean", over(dim, 128), 128, arguments)
    if metric != 2:
        largest = engine.put(np.zeros(1, np.uint64))
        arguments = [y, dim, n, dim, shift, largest]
        engine.launch("operands", defines, "largest_square", over(n, 16), 256, arguments)
    scaled = {"shift": shift, "largest": largest}
    candidates = pack(
        engine, Y, y, tiles.operand, metric, is_candidate=True, tile=tiles.columns, **scaled
    )
    queries = pack(engine, X, x, tiles.operand, metric, is_candidate=False, **scaled)
    return queries, candidates


def _slices(tiles: Tiles, candidates: Packed) -> tuple[int, int, int]:
    """Return tiles of candidates, tiles of a slice, and slices."""
    n_tiles = candidates.padded_rows // tiles.columns
    per_slice = over(n_tiles, tiles.slices)
    return n_tiles, per_slice, over(n_tiles, per_slice)


def assign(
    engine: Engine, X: Matrix, Y: Matrix, metric: str, tiles: Tiles
) -> tuple[NDArray[np.int32], NDArray[np.float32], list[int]]:
    """Return labels, distances, and how many rows were doubtful and settled between two."""
    code, (n, dim) = METRICS[metric], X.shape
    x, y = engine.put(X), engine.put(Y)
    queries, candidates = _prepare(engine, X, x, Y, y, tiles, code)
    n_tiles, per_slice, slices = _slices(tiles, candidates)
    rows = queries.padded_rows
    scores = engine.empty((slices, 3, rows), np.float32)
    indices = engine.empty((slices, 2, rows), np.int32)
    engine.launch(
        "assign",
        tiles.defines,
        "assign_scores",
        (rows // _TILE, slices),
        tiles.threads,
        [
            *(queries.operand, candidates.operand, candidates.biases, rows, n_tiles),
            *(queries.steps, per_slice, 0, queries.padded_dim, code, queries.facts),
            *(candidates.bounds, scores, indices),
        ],
        tiles.shared_bytes(queries.steps),
    )
    labels, distances = engine.empty(n, np.int32), engine.empty(n, np.float32)
    doubtful, counters = engine.empty(n, np.int32), engine.put(np.zeros(2, np.int32))
    defines = {**_storage(X), **_storage(Y, "Y_TYPE")}
    engine.launch(
        "assign_decide",
        defines,
        "assign_decide",
        over(n, 16),
        256,
        [
            *(x, dim, None, y, dim, n, dim, queries.padded_dim, code),
            *(PRECISIONS[tiles.precision], queries.facts, candidates.facts, candidates.bounds),
            *(scores, indices, slices, rows, labels, distances, doubtful, counters),
        ],
    )
    engine.launch(
        "assign_decide",
        defines,
        "assign_recheck",
        3,
        256,
        [
            *(x, dim, y, dim, doubtful, counters, len(Y), dim, code, candidates.facts),
            *(labels, distances),
        ],
    )
    return labels.get(), distances.get(), counters.get().tolist()


def topk(
    engine: Engine, X: Matrix, Y: Matrix, k: int, metric: str, tiles: Tiles, is_self: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return distances and indices of the k nearest."""
    code, (n, dim) = METRICS[metric], X.shape
    x, y = engine.put(X), engine.put(Y)
    queries, candidates = _prepare(engine, X, x, Y, y, tiles, code)
    n_tiles, per_slice, slices = _slices(tiles, candidates)
    rows = queries.padded_rows
    entries = engine.empty((slices, rows, _CAPACITY), np.uint64)
    counts = engine.empty((slices, rows), np.int32)
    first_query = 0 if is_self else -1
    engine.launch(
        "topk",
        {**tiles.defines, "CAPACITY": _CAPACITY},
        "topk_screen",
        (rows // _TILE, slices),
        tiles.threads,
        [
            *(queries.operand, candidates.operand, candidates.biases, rows, n_tiles),
            *(queries.steps, per_slice, 0, queries.padded_dim, code, queries.facts),
            *(candidates.bounds, k, first_query, entries, counts),
        ],
        tiles.shared_bytes(queries.steps),
    )
    distances, indices = engine.empty((n, k), np.float32), engine.empty((n, k), np.int32)
    doubtful, counters = engine.empty(n, np.int32), engine.put(np.zeros(2, np.int32))
    defines = {**_storage(X), **_storage(Y, "Y_TYPE"), "CAPACITY": _CAPACITY}
    engine.launch(
        "topk_decide",
        defines,
        "topk_decide",
        over(n, 4),
        128,
        [
            *(x, dim, y, dim, n, dim, queries.padded_dim, code, PRECISIONS[tiles.precision]),
            *(queries.facts, candidates.facts, candidates.bounds, entries, counts, slices, rows),
            *(k, distances, indices, doubtful, counters),
        ],
    )
    engine.launch(
        "topk_decide",
        defines,
        "topk_recheck",
        2,
        256,
        [
            *(x, dim, y, dim, doubtful, counters, len(Y), dim, code, candidates.facts),
            *(k, first_query, distances, indices),
        ],
    )
    return distances.get(), indices.get()


def _scan(engine: Engine, counts: Any, n: int) -> Any:
    offsets = engine.empty(n + 1, np.int64)
    engine.launch("lloyd", {"X_TYPE": 1}, "exclusive_scan", 1, 1024, [counts, n, offsets])
    return offsets


def radius(
    engine: Engine, X: Matrix, Y: Matrix, within: float, metric: str, tiles: Tiles
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Return CSR offsets, indices and distances of everybody within `within`."""
    code, (n, dim) = METRICS[metric], X.shape
    x, y = engine.put(X), engine.put(Y)
    queries, candidates = _prepare(engine, X, x, Y, y, tiles, code)
    limit = within if metric != "euclidean" else (-1.0 if within < 0 else within * within)
    counts, offsets, indices = engine.empty(n, np.int64), None, None
    for fills in (False, True):
        if fills:
            offsets = _scan(engine, counts, n)
            indices = engine.empty(max(1, int(offsets.get()[-1])), np.int32)
        engine.launch(
            "radius",
            tiles.defines,
            "radius_screen",
            queries.padded_rows // _TILE,
            tiles.threads,
            [
                *(queries.operand, candidates.operand, candidates.biases, n),
                *(
                    candidates.padded_rows // tiles.columns,
                    queries.steps,
                    0,
                    queries.padded_dim,
                    code,
                ),
                *(queries.facts, candidates.facts, candidates.bounds, float(limit), -1),
                *(None if fills else counts, offsets, indices),
            ],
            tiles.shared_bytes(queries.steps),
        )
    assert offsets is not None
    assert indices is not None
    distances = engine.empty(indices.get().shape, np.float32)
    defines = {**_storage(X), **_storage(Y, "Y_TYPE")}
    arguments = [
        *(x, dim, y, dim, n, dim, code, float(limit), queries.facts, candidates.facts),
        *(offsets, indices, distances, counts),
    ]
    engine.launch("radius_decide", defines, "radius_decide", over(n, 8), 256, arguments)
    ends = _scan(engine, counts, n)
    total = int(ends.get()[-1])
    if not total:
        return ends.get(), np.empty(0, np.int32), np.empty(0, np.float32)
    kept, values = engine.empty(total, np.int32), engine.empty(total, np.float32)
    arguments = [n, offsets, indices, distances, ends, kept, values]
    engine.launch("radius_decide", defines, "radius_compact", over(n, 8), 256, arguments)
    return ends.get(), kept.get(), values.get()


def pairwise(engine: Engine, X: Matrix, Y: Matrix, metric: str) -> NDArray[np.float32]:
    """Return the whole matrix of distances."""
    code, (n, dim), m = METRICS[metric], X.shape, len(Y)
    tiles = Tiles()
    x, y = engine.put(X), engine.put(Y)
    left, right = (
        pack(engine, M, rows, 0, code, is_candidate=True, terms=True)
        for M, rows in ((X, x), (Y, y))
    )
    grid = (left.padded_rows // _TILE, right.padded_rows // _TILE)
    out, doubtful = engine.empty((n, m), np.float32), engine.empty(grid[::-1], np.int32)
    engine.launch(
        "pairwise",
        tiles.defines,
        "pairwise_tiles",
        grid,
        tiles.threads,
        [
            *(left.operand, right.operand, left.terms, right.terms, n, m, left.steps, dim, code),
            *(out, m, doubtful),
        ],
        tiles.shared_bytes(left.steps),
    )
    engine.launch(
        "pairwise_decide",
        {**_storage(X), **_storage(Y, "Y_TYPE")},
        "pairwise_decide",
        grid,
        256,
        [x, dim, y, dim, n, m, dim, code, left.facts, right.facts, out, m, doubtful],
    )
    return out.get()
