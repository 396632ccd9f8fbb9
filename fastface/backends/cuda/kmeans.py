"""The dense steps of k-means on a GPU, with the bits of every other backend."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.cuda.device import Gpu, GpuMemoryError
from fastface.backends.cuda.lanes import Steps, Work, in_chunks
from fastface.backends.cuda.operands import METRIC_CODES, storage
from fastface.backends.cuda.rows import DeviceRows
from fastface.backends.cuda.search import Search
from fastface.backends.cuda.seeder import CudaSeeder
from fastface.backends.cuda.tiles import Precision
from fastface.backends.kmeans_protocol import Pruner
from fastface.errors import BackendUnavailableError

__all__ = ["CudaKMeans"]

Matrix = NDArray[Any]

_HALF_WARP_ROWS = 16  # a block of a kernel that has half a warp a row
_BLOCK = 256
_ROWS_A_BLOCK = 512  # of the kernels that go through columns
_PRIVATE_BYTES = 512  # of shared memory for one cluster's 32 features
_MOST_PRIVATE = 64  # clusters whose sums fit into shared memory beside each other
_RUN = 256  # rows of one label run a warp adds up
_KEPT_SHARE = 2  # of free memory that rows may take to stay on the GPU between steps
_NO_PRUNER = 1 << 40


class CudaKMeans:
    """Kernels of k-means.

    Rows that fit stay on the GPU between the steps of a fit.

    Parameters
    ----------
    gpu : Gpu
        Which.
    precision : Precision
        Of the first scores; labels do not depend on it.
    """

    def __init__(self, gpu: Gpu, precision: Precision) -> None:
        self._gpu, self._precision = gpu, precision
        self._kept: OrderedDict[tuple[Any, ...], tuple[Matrix, Any]] = OrderedDict()

    def nearest_center(
        self, X: Matrix, centers: Matrix, metric: str, *, n_threads: int = 1
    ) -> NDArray[np.int32]:
        """Return the label of every row: the lowest index among the nearest centers."""
        labels = np.empty(len(X), np.int32)
        with self._gpu.active(X):
            search = Search(self._gpu, self._gpu.put(centers), metric, self._precision)
            rows = self._keep(X)
            search.assign(np.ascontiguousarray(X) if rows is None else rows, labels, None)
        return labels

    def accumulate(
        self,
        X: Matrix,
        labels: NDArray[np.int32],
        previous: NDArray[np.int32] | None,
        factors: NDArray[np.float64] | None,
        masses: NDArray[np.float64] | None,
        scales: NDArray[np.float64],
        mass_scale: float,
        low_scale: float,
        sums: NDArray[np.int64],
        mass: NDArray[np.int64],
        *,
        n_threads: int = 1,
    ) -> int:
        """Add rows to the sums of their cluster; with `previous`, move only those that changed."""
        gpu, moves = self._gpu, 0
        with gpu.active(X):
            grid = _Grid(gpu, factors, masses, scales, mass_scale, low_scale, sums, mass)

            def work(x: Any, first: int) -> Steps:
                nonlocal moves
                n = x.shape[0]
                part = slice(first, first + n)
                there, types = gpu.put(labels[part]), {"X_TYPE": storage(x)}
                rows, count, sides = None, n, [(there, 1)]
                if previous is not None:
                    before = gpu.put(previous[part])
                    rows, moved = gpu.empty(n, np.int32), gpu.zeros(1, np.int32)
                    gpu.launch(
                        "lloyd",
                        "moved_rows",
                        -(-n // _BLOCK),
                        _BLOCK,
                        *(there, before, n, rows, moved),
                        **types,
                    )
                    ((count,),) = yield [moved]
                    count, sides = int(count), [(there, 1), (before, -1)]
                if count:
                    terms = grid.terms_of(part)
                    # All memory first: what was added once must not be added again.
                    adders = [
                        self._adder(x, own, rows, count, sign, grid, terms) for own, sign in sides
                    ]
                    for add in adders:
                        add()
                moves += count
                return []

            self._each(X, work, [], 48)
            if moves:
                sums[...], mass[...] = gpu.get(grid.sums), gpu.get(grid.mass)
        return moves

    def _adder(
        self, x: Any, labels: Any, rows: Any, count: int, sign: int, grid: _Grid, terms: Any
    ) -> Callable[[], None]:
        """Return what adds rows to the sums, with the memory that it takes."""
        gpu, dim, types = self._gpu, x.shape[1], {"X_TYPE": storage(x)}
        k = grid.n_clusters
        features = -(-(dim + 1) // 32)
        blocks = -(-count // _BLOCK)
        if k <= _MOST_PRIVATE:
            return lambda: gpu.launch(
                "lloyd",
                "accumulate_shared",
                (min(256, blocks), features),
                _BLOCK,
                *(x, dim, dim, labels, rows, count, *terms, sign, k, grid.sums, grid.mass),
                shared=k * _PRIVATE_BYTES,
                **types,
            )
        counts, cursors = gpu.zeros(k, np.int64), gpu.empty(k + 1, np.int64)
        order = gpu.empty(count, np.int32)

        def add() -> None:
            given = labels, rows, count
            gpu.launch("lloyd", "label_count", blocks, _BLOCK, *given, counts, **types)
            gpu.launch("lloyd", "exclusive_scan", 1, 1024, counts, k, cursors, **types)
            gpu.launch("lloyd", "label_scatter", blocks, _BLOCK, *given, cursors, order, **types)
            gpu.launch(
                "lloyd",
                "accumulate_sorted",
                (-(-count // (8 * _RUN)), features),
                _BLOCK,
                *(x, dim, dim, labels, order, count, _RUN, *terms, sign, k, grid.sums, grid.mass),
                **types,
            )

        return add

    def own_distances(
        self,
        X: Matrix,
        centers: Matrix,
        labels: NDArray[np.int32],
        metric: str,
        *,
        n_threads: int = 1,
    ) -> NDArray[np.float64]:
        """Return the distance of every row to its own center."""
        gpu, dim = self._gpu, X.shape[1]
        distances = np.empty(len(X))
        with gpu.active(X):
            y = gpu.put(centers)
            center_norms = norms_of(gpu, y) if metric == "cosine" else None

            def work(x: Any, first: int) -> Steps:
                n = x.shape[0]
                found = gpu.empty(n, np.float64)
                norms = norms_of(gpu, x) if metric == "cosine" else None
                gpu.launch(
                    "rows",
                    "own_distances",
                    -(-n // _HALF_WARP_ROWS),
                    _BLOCK,
                    *(x, dim, n, y, dim, dim, METRIC_CODES[metric]),
                    *(gpu.put(labels[first : first + n]), norms, center_norms, found),
                    X_TYPE=storage(x),
                    Y_TYPE=storage(y),
                )
                yield from ()  # it asks nothing
                return [found]

            self._each(X, work, [distances], 24)
        return distances

    def column_range(self, X: Matrix, *, n_threads: int = 1) -> NDArray[np.float64]:
        """Return the largest magnitude of every feature; NaN where a value is no number."""
        gpu, dim = self._gpu, X.shape[1]
        with gpu.active(X):
            largest = gpu.zeros(dim, np.uint64)
            self._columns("column_range", X, largest)
            return gpu.get(largest).view(np.float64)

    def column_moments(
        self, X: Matrix, scales: NDArray[np.float64], low_scale: float, *, n_threads: int = 1
    ) -> NDArray[np.int64]:
        """Return sums of values and of squares as integers, shape (2, 2, n_features)."""
        gpu, dim = self._gpu, X.shape[1]
        with gpu.active(X):
            moments = gpu.zeros((2, 2, dim), np.int64)
            self._columns("column_moments", X, gpu.put(scales), low_scale, moments)
            return gpu.get(moments)

    def _columns(self, entry: str, X: Matrix, *rest: Any) -> None:
        def work(x: Any, first: int) -> Steps:
            n, dim = x.shape
            self._gpu.launch(
                "rows",
                entry,
                (-(-dim // _BLOCK), -(-n // _ROWS_A_BLOCK)),
                _BLOCK,
                *(x, dim, n, dim, _ROWS_A_BLOCK, *rest),
                X_TYPE=storage(x),
                Y_TYPE=storage(x),
            )
            yield from ()  # it asks nothing
            return []

        self._each(X, work, [], 0)

    def row_norms(self, X: Matrix, *, n_threads: int = 1) -> NDArray[np.float64]:
        """Return the norm of every row."""
        norms = np.empty(len(X))

        def work(x: Any, first: int) -> Steps:
            yield from ()  # it asks nothing
            return [norms_of(self._gpu, x)]

        with self._gpu.active(X):
            self._each(X, work, [norms], 8)
        return norms

    def _each(self, X: Any, work: Work, outputs: list[Any], bytes_a_row: int) -> None:
        """Do some work on rows where they are kept, or a chunk at a time."""
        rows = self._keep(X)
        rows = np.ascontiguousarray(X) if rows is None else rows
        self._gpu.wait()  # for what chunks on other streams are going to use
        size = X.shape[1] * X.dtype.itemsize + bytes_a_row
        in_chunks(self._gpu, rows, work, outputs, bytes_a_row=size)

    def pruner_bytes(self, n_features: int, n_clusters: int, keep_rows: bool) -> int:
        """Return the bytes that a pruner takes for a row: more than there are."""
        return _NO_PRUNER

    def pruner(
        self, n_rows: int, n_clusters: int, metric: str, *, n_threads: int = 1, keep_rows: bool
    ) -> Pruner:
        """Refuse: bounds a row and group are made for the cores of a CPU."""
        raise BackendUnavailableError(
            f"algorithm='pruned' runs on the CPU; with device={self._gpu.name!r} use 'lloyd' or"
            " 'auto', or device='cpu'"
        )

    def seeder(
        self, X: Matrix, weights: NDArray[np.float64] | None, metric: str, *, n_threads: int = 1
    ) -> CudaSeeder:
        """Return what k-means++ asks about the rows."""
        with self._gpu.active(X):
            x = self._keep(X)
            if x is None:
                raise GpuMemoryError(
                    f"k-means++ wants all rows in the memory of {self._gpu.name}, and"
                    f" {X.nbytes >> 20} MiB do not fit: start with init='random' or centers of your"
                    " own, or use device='cpu'"
                )
            norms = norms_of(self._gpu, x) if metric == "cosine" else None
            return CudaSeeder(self._gpu, x, norms, weights, metric)

    def _keep(self, X: Any) -> Any:
        """Return rows on the GPU, where they stay for the next step; None if they are too many."""
        gpu = self._gpu
        if isinstance(X, DeviceRows):
            return X.array
        place = (X.__array_interface__["data"][0], X.shape, X.dtype, X.strides)
        if place not in self._kept:
            if X.nbytes > gpu.free_bytes() // _KEPT_SHARE:
                return None
            # The rows are held too, so that their address stays theirs.
            self._kept[place] = X, gpu.put(X)
        return self._kept[place][1]


class _Grid:
    """What the sums of a step are made with, on the GPU."""

    def __init__(
        self,
        gpu: Gpu,
        factors: NDArray[np.float64] | None,
        masses: NDArray[np.float64] | None,
        scales: NDArray[np.float64],
        mass_scale: float,
        low_scale: float,
        sums: NDArray[np.int64],
        mass: NDArray[np.int64],
    ) -> None:
        self._factors, self._masses, self._gpu = factors, masses, gpu
        self._scales = gpu.put(scales), mass_scale, low_scale
        self.sums, self.mass = gpu.put(sums), gpu.put(mass)
        self.n_clusters = sums.shape[1]

    def terms_of(self, part: slice) -> tuple[Any, ...]:
        """Return how some rows enter the sums, as arguments of the kernels."""
        own = (
            None if values is None else self._gpu.put(values[part])
            for values in (self._factors, self._masses)
        )
        return (*own, *self._scales)


def norms_of(gpu: Gpu, x: Any) -> Any:
    """Return the norm of every row, on the GPU."""
    n, dim = x.shape
    norms = gpu.empty(n, np.float64)
    gpu.launch(
        "rows",
        "row_norms",
        -(-n // _HALF_WARP_ROWS),
        _BLOCK,
        *(x, dim, n, dim, norms),
        X_TYPE=storage(x),
        Y_TYPE=storage(x),
    )
    return norms
