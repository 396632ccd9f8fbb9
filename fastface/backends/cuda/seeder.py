"""Distances to the nearest center chosen so far, on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.cuda.device import Gpu
from fastface.backends.cuda.operands import METRIC_CODES, storage

__all__ = ["CudaSeeder"]

Matrix = NDArray[Any]

_HALF_WARP_ROWS = 16
_BLOCK = 256
_SUMMED_ROWS = 1024  # of one sum of the running potential
_EVALUATION_BLOCKS = 512


class CudaSeeder:
    """What k-means++ asks about rows on a GPU: see `fastface.backends.kmeans_protocol.Seeder`.

    Parameters
    ----------
    gpu : Gpu
        Where.
    x : device array of shape (n, dim)
        Rows.
    norms : device array of float64, shape (n,), or None
        Their norms, for the cosine.
    weights : ndarray of float64, shape (n,), or None
        Their weights.
    metric : str
        Distance.
    """

    def __init__(
        self, gpu: Gpu, x: Any, norms: Any, weights: NDArray[np.float64] | None, metric: str
    ) -> None:
        self._gpu, self._x, self._norms = gpu, x, norms
        self._metric = METRIC_CODES[metric]
        self._weights = None if weights is None else gpu.put(weights)
        self._nearest = gpu.empty(x.shape[0], np.float64)
        self._scale = 1.0

    def begin(self, center: Matrix) -> float:
        """Take the first center; return the largest weighted distance to it."""
        with self._gpu.active():
            largest = self._gpu.zeros(1, np.uint64)
            self._accept(self._bring(center.reshape(1, -1)), 1, largest)
            return float(self._gpu.get(largest).view(np.float64)[0])

    def set_scale(self, scale: float) -> int:
        """Count in multiples of 1 / `scale` from now on; return the potential."""
        self._scale = scale
        with self._gpu.active():
            self._sum()
        return int(self._ends[-1])

    def locate(self, target: int) -> int:
        """Return the first row at which the running sum of the potential exceeds `target`."""
        n = self._x.shape[0]
        block = int(np.searchsorted(self._ends, target, side="right"))
        first = block * _SUMMED_ROWS
        before = int(self._ends[block - 1]) if block else 0
        with self._gpu.active():
            found = self._gpu.zeros(1, np.int64)
            self._gpu.launch(
                "seeding",
                "seed_locate",
                1,
                32,
                *(self._nearest, self._weights, first, min(n, first + _SUMMED_ROWS)),
                *(self._scale, before, target, found),
                **self._types(self._x),
            )
            return int(self._gpu.get(found)[0])

    def evaluate(self, candidates: Matrix) -> list[int]:
        """Return the potential after adding one candidate, for each of them."""
        n, dim = self._x.shape
        with self._gpu.active():
            self._candidates = self._bring(candidates)
            y, norms = self._candidates
            potentials = self._gpu.zeros(len(candidates), np.int64)
            self._gpu.launch(
                "seeding",
                "seed_evaluate",
                (min(_EVALUATION_BLOCKS, -(-n // _HALF_WARP_ROWS)), len(candidates)),
                _BLOCK,
                *(self._x, dim, n, dim, self._metric, y, dim, self._norms, norms),
                *(self._weights, self._nearest, self._scale, potentials),
                **self._types(y),
            )
            return [int(potential) for potential in self._gpu.get(potentials)]

    def accept(self, which: int) -> None:
        """Add a candidate of the last `evaluate`."""
        y, norms = self._candidates
        with self._gpu.active():
            one = slice(which, which + 1)
            self._accept((y[one], None if norms is None else norms[one]), 0, None)
            self._sum()

    def _bring(self, candidates: Matrix) -> tuple[Any, Any]:
        from fastface.backends.cuda.kmeans import norms_of

        y = self._gpu.put(candidates)
        return y, None if self._norms is None else norms_of(self._gpu, y)

    def _accept(self, center: tuple[Any, Any], is_first: int, largest: Any) -> None:
        (n, dim), (y, norm) = self._x.shape, center
        self._gpu.launch(
            "seeding",
            "seed_accept",
            -(-n // _HALF_WARP_ROWS),
            _BLOCK,
            *(self._x, dim, n, dim, self._metric, y, self._norms, norm, self._weights, is_first),
            *(self._nearest, largest),
            **self._types(y),
        )

    def _sum(self) -> None:
        """Bring the running potential, one number for many rows, up to date."""
        n = self._x.shape[0]
        sums = self._gpu.empty(-(-n // _SUMMED_ROWS), np.int64)
        self._gpu.launch(
            "seeding",
            "seed_block_sums",
            sums.shape[0],
            _BLOCK,
            *(self._nearest, self._weights, n, _SUMMED_ROWS, self._scale, sums),
            **self._types(self._x),
        )
        self._ends = np.cumsum(self._gpu.get(sums))

    def _types(self, y: Any) -> dict[str, int]:
        return {"X_TYPE": storage(self._x), "Y_TYPE": storage(y)}
