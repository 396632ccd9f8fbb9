"""Rows that the caller has on a GPU, as rows of the host look to whoever reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastface.backends.cuda.device import Gpu

__all__ = ["DeviceRows"]

_CUDA = 2  # DLPack's number for memory of an NVIDIA GPU


class DeviceRows:
    """A matrix on a GPU, cut like one of NumPy.

    Slices stay on the GPU; chosen rows, and what NumPy asks for, come to the host.

    Parameters
    ----------
    gpu : Gpu
        Where.
    array : array on a GPU
        C-contiguous; read where it is.
    """

    def __init__(self, gpu: Gpu, array: Any) -> None:
        self._gpu = gpu
        self.stream = gpu.stream_of(array)
        with gpu.active(self):
            self.array = gpu.adopt(array)

    shape = property(lambda self: tuple(self.array.shape))
    dtype = property(lambda self: np.dtype(self.array.dtype))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: int(self.array.nbytes))
    ndim = 2
    base = None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface: dict[str, Any] = self.array.__cuda_array_interface__
        return interface

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self._gpu.number

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, part: slice | NDArray[np.int64]) -> Any:
        if isinstance(part, slice):
            return self._like(self.array[part])
        return self._gpu.take(self.array, np.asarray(part, np.int64))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("rows on a GPU come to the host as a copy")
        with self._gpu.active(self):
            return self._gpu.get(self.array).astype(dtype or self.dtype, copy=False)

    def astype(self, dtype: DTypeLike, copy: bool = True) -> DeviceRows:
        """Return the rows in another dtype, on the GPU."""
        if self.dtype == np.dtype(dtype) and not copy:
            return self
        with self._gpu.active(self):
            return self._like(self.array.astype(dtype))

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Return an array beside the rows whose values are not yet written."""
        with self._gpu.active(self):
            return self._gpu.empty(shape, dtype)

    def bring(self, array: NDArray[Any]) -> Any:
        """Return a copy of an array of the host beside the rows."""
        with self._gpu.active(self):
            return self._gpu.put(array)

    def _like(self, array: Any) -> DeviceRows:
        part = object.__new__(DeviceRows)
        part._gpu, part.stream, part.array = self._gpu, self.stream, array
        return part
