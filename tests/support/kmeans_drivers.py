"""The kernels of k-means, one launch after the other, on any `Engine`."""

from __future__ import annotations

from typing import Any

import numpy as np
from cuda_drivers import METRICS, over
from kernel_engines import Engine
from numpy.typing import NDArray

__all__ = ["STORAGES", "Seeder", "accumulate", "moments", "own_distances", "row_norms"]

Matrix = NDArray[Any]
STORAGES = {"float16": 0, "float32": 1, "float64": 2}


def types(x: Matrix, y: Matrix | None = None) -> dict[str, int]:
    """Return the macros for rows, and for centers."""
    x_type = {"X_TYPE": STORAGES[x.dtype.name]}
    return x_type if y is None else {**x_type, "Y_TYPE": STORAGES[y.dtype.name]}


def accumulate(
    engine: Engine,
    X: Matrix,
    labels: NDArray[np.int32],
    previous: NDArray[np.int32] | None,
    factors: NDArray[np.float64] | None,
    masses: NDArray[np.float64] | None,
    scales: NDArray[np.float64],
    mass_scale: float,
    low_scale: float,
    n_clusters: int,
    *,
    is_sorted: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return sums and mass, in shared memory or by rows sorted by their label."""
    (n, dim), defines = X.shape, types(X)
    x, there = engine.put(X), engine.put(labels)
    rows, count, sides = None, n, [(there, 1)]
    if previous is not None:
        before, rows = engine.put(previous), engine.empty(n, np.int32)
        moved = engine.put(np.zeros(1, np.int32))
        arguments = [there, before, n, rows, moved]
        engine.launch("lloyd", defines, "moved_rows", over(n, 256), 256, arguments)
        count, sides = int(moved.get()[0]), [(there, 1), (before, -1)]
    sums = engine.put(np.zeros((2, n_clusters, dim), np.int64))
    mass = engine.put(np.zeros((2, n_clusters), np.int64))
    terms = [
        None if factors is None else engine.put(factors),
        None if masses is None else engine.put(masses),
        *(engine.put(scales), mass_scale, low_scale),
    ]
    features = over(dim + 1, 32)
    for own, sign in sides if count else []:
        rest = [*terms, sign, n_clusters, sums, mass]
        if not is_sorted:
            arguments = [x, dim, dim, own, rows, count, *rest]
            grid, shared = (2, features), n_clusters * 512
            engine.launch("lloyd", defines, "accumulate_shared", grid, 256, arguments, shared)
            continue
        counts, cursors = (
            engine.put(np.zeros(n_clusters, np.int64)),
            engine.empty(n_clusters + 1, np.int64),
        )
        order, blocks = engine.empty(count, np.int32), over(count, 256)
        engine.launch("lloyd", defines, "label_count", blocks, 256, [own, rows, count, counts])
        engine.launch("lloyd", defines, "exclusive_scan", 1, 1024, [counts, n_clusters, cursors])
        engine.launch(
            "lloyd", defines, "label_scatter", blocks, 256, [own, rows, count, cursors, order]
        )
        run = 16
        engine.launch(
            "lloyd", defines, "accumulate_sorted", (over(count, 8 * run), features), 256,
            [x, dim, dim, own, order, count, run, *rest],
        )  # fmt: skip
    return sums.get(), mass.get()


def _norms(engine: Engine, X: Matrix, x: Any) -> Any:
    n, dim = X.shape
    norms = engine.empty(n, np.float64)
    arguments = [x, dim, n, dim, norms]
    engine.launch("rows", types(X, X), "row_norms", over(n, 16), 256, arguments)
    return norms


def row_norms(engine: Engine, X: Matrix) -> NDArray[np.float64]:
    """Return the norm of every row."""
    return _norms(engine, X, engine.put(X)).get()


def own_distances(
    engine: Engine, X: Matrix, centers: Matrix, labels: NDArray[np.int32], metric: str
) -> NDArray[np.float64]:
    """Return the distance of every row to its own center."""
    (n, dim), x, y = X.shape, engine.put(X), engine.put(centers)
    norms = (None, None)
    if metric == "cosine":
        norms = _norms(engine, X, x), _norms(engine, centers, y)
    distances = engine.empty(n, np.float64)
    arguments = [x, dim, n, y, dim, dim, METRICS[metric], engine.put(labels), *norms, distances]
    engine.launch("rows", types(X, centers), "own_distances", over(n, 16), 256, arguments)
    return distances.get()


def moments(
    engine: Engine, X: Matrix, scales: NDArray[np.float64], low_scale: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the largest magnitude of every feature, and sums of values and squares."""
    (n, dim), x = X.shape, engine.put(X)
    largest = engine.put(np.zeros(dim, np.uint64))
    sums = engine.put(np.zeros((2, 2, dim), np.int64))
    grid, defines = (over(dim, 256), over(n, 32)), types(X, X)
    engine.launch("rows", defines, "column_range", grid, 256, [x, dim, n, dim, 32, largest])
    arguments = [x, dim, n, dim, 32, engine.put(scales), low_scale, sums]
    engine.launch("rows", defines, "column_moments", grid, 256, arguments)
    return largest.get().view(np.float64), sums.get()


class Seeder:
    """Takes the part of `ReferenceSeeder`."""

    _rows_a_sum = 64

    def __init__(
        self, engine: Engine, X: Matrix, weights: NDArray[np.float64] | None, metric: str
    ) -> None:
        self.engine, self.X, self.metric = engine, X, metric
        self.x = engine.put(X)
        self.norms = _norms(engine, X, self.x) if metric == "cosine" else None
        self.weights = None if weights is None else engine.put(weights)
        self.nearest = engine.empty(len(X), np.float64)

    def _launch(self, kernel: str, grid: Any, block: int, *arguments: Any) -> None:
        self.engine.launch("seeding", types(self.X, self.X), kernel, grid, block, list(arguments))

    def _accept(self, center: Matrix, is_first: int, largest: Any) -> None:
        n, dim = self.X.shape
        y = self.engine.put(center[None])
        norm = None if self.norms is None else _norms(self.engine, center[None], y)
        self._launch(
            "seed_accept", over(n, 16), 256,
            *(self.x, dim, n, dim, METRICS[self.metric], y, self.norms, norm, self.weights),
            *(is_first, self.nearest, largest),
        )  # fmt: skip

    def begin(self, center: Matrix) -> float:
        """Take the first center; return the largest weighted distance to it."""
        largest = self.engine.put(np.zeros(1, np.uint64))
        self._accept(center, 1, largest)
        return float(largest.get().view(np.float64)[0])

    def set_scale(self, scale: float) -> int:
        """Count in multiples of 1 / `scale`; return the potential."""
        self.scale, n = scale, len(self.X)
        sums = self.engine.empty(over(n, self._rows_a_sum), np.int64)
        self._launch(
            "seed_block_sums", over(n, self._rows_a_sum), 256,
            *(self.nearest, self.weights, n, self._rows_a_sum, scale, sums),
        )  # fmt: skip
        self.ends = np.cumsum(sums.get())
        return int(self.ends[-1])

    def locate(self, target: int) -> int:
        """Return the first row at which the running sum exceeds `target`."""
        block = int(np.searchsorted(self.ends, target, side="right"))
        first, found = block * self._rows_a_sum, self.engine.empty(1, np.int64)
        last = min(len(self.X), first + self._rows_a_sum)
        before = int(self.ends[block - 1]) if block else 0
        self._launch(
            "seed_locate", 1, 32,
            *(self.nearest, self.weights, first, last, self.scale, before, target, found),
        )  # fmt: skip
        return int(found.get()[0])

    def evaluate(self, candidates: Matrix) -> list[int]:
        """Return the potential after adding one candidate, for each of them."""
        (n, dim), y = self.X.shape, self.engine.put(candidates)
        norms = None if self.norms is None else _norms(self.engine, candidates, y)
        potentials = self.engine.put(np.zeros(len(candidates), np.int64))
        self._launch(
            "seed_evaluate", (2, len(candidates)), 256,
            *(self.x, dim, n, dim, METRICS[self.metric], y, dim, self.norms, norms),
            *(self.weights, self.nearest, self.scale, potentials),
        )  # fmt: skip
        self.candidates = candidates
        return [int(potential) for potential in potentials.get()]

    def accept(self, which: int) -> None:
        """Add a candidate of the last `evaluate`."""
        self._accept(self.candidates[which], 0, None)
        self.set_scale(self.scale)
