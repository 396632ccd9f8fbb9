"""The backend of one GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.cuda.device import Gpu, open_gpu
from fastface.backends.cuda.pairwise import pairwise
from fastface.backends.cuda.search import Search
from fastface.backends.cuda.tiles import Precision
from fastface.backends.protocol import Neighbors

if TYPE_CHECKING:
    from fastface.backends.cuda.kmeans import CudaKMeans

__all__ = ["CudaBackend"]

Matrix = NDArray[Any]

_MOST_NEIGHBORS = 128


class CudaBackend:
    """Kernels in CUDA C++.

    Rows of this process are streamed through the GPU; rows that are on it stay where they are.

    Parameters
    ----------
    gpu : Gpu
        Which.
    precision : Precision
        Of the first scores; the answers do not depend on it.
    """

    checks_values = True

    def __init__(self, gpu: Gpu, precision: Precision = Precision.BF16) -> None:
        self.gpu = gpu
        self.name = gpu.name
        self._precision = precision

    @classmethod
    def open(cls, device: str) -> CudaBackend:
        """Return the backend of the GPU that `device` names."""
        return cls(open_gpu(device))

    @property
    def kmeans(self) -> CudaKMeans:
        """Return the kernels of k-means."""
        from fastface.backends.cuda.kmeans import CudaKMeans

        return CudaKMeans(self.gpu, self._precision)

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
        """Return the k nearest rows of Y for every row of X, at most 128 of them."""
        if k > _MOST_NEIGHBORS:
            from fastface.errors import InvalidInputError

            raise InvalidInputError(
                f"n_neighbors={k}: {self.name} finds at most {_MOST_NEIGHBORS}; use device='cpu'"
            )
        with self.gpu.active():
            search = Search(self.gpu, self.to_device(Y), metric, self._precision)
            distances = np.empty((len(X), k), np.float32)
            indices = np.empty((len(X), k), np.int32)
            search.topk(self._rows(X), distances, indices, exclude_self, memory_limit)
            return search.found(distances, indices)

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
        with self.gpu.active():
            search = Search(self.gpu, self.to_device(centers), metric, self._precision)
            labels, distances = np.empty(len(X), np.int32), np.empty(len(X), np.float32)
            search.assign(self._rows(X), labels, distances, memory_limit)
            return search.found(distances[:, None], labels[:, None])

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
        limit = float(radius)
        if metric == "euclidean":
            limit = -1.0 if radius < 0.0 else limit * limit
        with self.gpu.active():
            search = Search(self.gpu, self.to_device(Y), metric, self._precision)
            return search.radius(self._rows(X), limit, exclude_self, memory_limit)

    def pairwise(
        self, X: Matrix, Y: Matrix, metric: str, *, out: NDArray[np.float32], n_threads: int = 1
    ) -> None:
        """Write every distance into `out`."""
        with self.gpu.active():
            pairwise(self.gpu, self._rows(X), self.to_device(Y), metric, out)

    def to_device(self, array: Any) -> Any:
        """Bring an array to the GPU, without a copy if it is there."""
        if self.gpu.is_device_array(array):
            there = self.gpu.adopt(array)
            return there if there.flags.c_contiguous else there.copy()
        return self.gpu.put(array)

    def _rows(self, X: Any) -> Any:
        """Return rows that can be cut into chunks: on the GPU if they are there, else here."""
        return self.to_device(X) if self.gpu.is_device_array(X) else np.ascontiguousarray(X)

    def to_host(self, array: Any) -> Matrix:
        """Bring an array back to NumPy."""
        return self.gpu.get(array) if self.gpu.is_device_array(array) else array
