"""The backend of one GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.cuda.device import Gpu, open_gpu
from fastface.backends.cuda.operands import FACTS
from fastface.backends.cuda.pairwise import pairwise
from fastface.backends.cuda.parts import PartedSearch, candidate_parts
from fastface.backends.cuda.rows import DeviceRows
from fastface.backends.cuda.tiles import Precision
from fastface.backends.protocol import Neighbors
from fastface.errors import InvalidInputError

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
            raise InvalidInputError(
                f"n_neighbors={k}: {self.name} finds at most {_MOST_NEIGHBORS}; use device='cpu'"
            )
        with self.gpu.active(X):
            return self._search(X, Y, metric, memory_limit).nearest(k, exclude_self)

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
        with self.gpu.active(X):
            search = self._search(X, centers, metric, memory_limit)
            return search.nearest(1, exclude_self=False, only_one=True)

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
        with self.gpu.active(X):
            return self._search(X, Y, metric, memory_limit).radius(limit, exclude_self)

    def pairwise(self, X: Matrix, Y: Matrix, metric: str, *, out: Any, n_threads: int = 1) -> None:
        """Write every distance into `out`, which lies where the rows do."""
        gpu = self.gpu
        with gpu.active(X):
            rows, columns = self.rows(X), self.rows(Y)
            if gpu.is_device_array(out):  # all of its columns are on the GPU too
                pairwise(gpu, rows, self.to_device(Y), metric, self.to_device(out))
                return
            size = 4 * Y.shape[1] + FACTS.itemsize + 8 + columns.dtype.itemsize * Y.shape[1]
            for part, there in candidate_parts(gpu, columns, lambda there: there, size):
                pairwise(gpu, rows, there, metric, out[:, part])
                del there

    def _search(self, X: Any, Y: Any, metric: str, memory_limit: int) -> PartedSearch:
        rows, candidates = self.rows(X), self.rows(Y)
        return PartedSearch(self.gpu, rows, candidates, metric, self._precision, memory_limit)

    def to_device(self, array: Any) -> Any:
        """Bring an array to the GPU, without a copy if it is there."""
        if isinstance(array, DeviceRows):
            return array.array
        return self.gpu.adopt(array) if self.gpu.is_device_array(array) else self.gpu.put(array)

    def rows(self, X: Any) -> Any:
        """Return rows that can be cut into chunks: on the GPU if they are there, else here."""
        if isinstance(X, DeviceRows):
            return X
        if self.gpu.is_device_array(X):
            return DeviceRows(self.gpu, X)
        return np.ascontiguousarray(X)

    def to_host(self, array: Any) -> Matrix:
        """Bring an array back to NumPy."""
        if not self.gpu.is_device_array(array):
            return array  # type: ignore[no-any-return]
        with self.gpu.active(array):
            return self.gpu.get(self.to_device(array))
