"""The C++ SIMD implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface import _kernels
from fastface.backends.protocol import Neighbors

if TYPE_CHECKING:
    from fastface.backends.cpu_kmeans import CpuKMeans

__all__ = ["CpuBackend"]

Matrix = NDArray[Any]


class CpuBackend:
    """Kernels in C++, chosen for the machine's instruction set when they are called."""

    name = "cpu"
    checks_values = True

    @property
    def kmeans(self) -> CpuKMeans:
        """Return the kernels of k-means."""
        from fastface.backends.cpu_kmeans import CpuKMeans

        return CpuKMeans()

    def topk(
        self,
        X: Matrix,
        Y: Matrix,
        k: int,
        metric: str,
        *,
        exclude_self: bool = False,
        n_threads: int = 1,
        memory_limit: int = 0,
    ) -> Neighbors:
        """Return the k nearest rows of Y for every row of X."""
        found = _kernels.nearest(X, Y, k, metric, exclude_self, n_threads, memory_limit)
        return Neighbors(*found)

    def assign(
        self,
        X: Matrix,
        centers: Matrix,
        metric: str,
        *,
        n_threads: int = 1,
        memory_limit: int = 0,
    ) -> Neighbors:
        """Return the nearest center of every row."""
        return Neighbors(*_kernels.nearest(X, centers, 1, metric, False, n_threads, memory_limit))

    def radius(
        self,
        X: Matrix,
        Y: Matrix,
        radius: float,
        metric: str,
        *,
        exclude_self: bool = False,
        n_threads: int = 1,
        memory_limit: int = 0,
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Return CSR offsets, indices and distances of the rows of Y within `radius`."""
        return _kernels.radius(X, Y, radius, metric, exclude_self, n_threads, memory_limit)

    def pairwise(
        self, X: Matrix, Y: Matrix, metric: str, *, out: NDArray[np.float32], n_threads: int = 1
    ) -> None:
        """Write every distance into `out`."""
        _kernels.pairwise(X, Y, out, metric, n_threads)

    def rows(self, X: Matrix) -> Matrix:
        """Return `X`."""
        return X

    def to_device(self, array: Matrix) -> Matrix:
        """Return `array`: it is there already."""
        return array

    def to_host(self, array: Matrix) -> Matrix:
        """Return `array`: it is there already."""
        return array
