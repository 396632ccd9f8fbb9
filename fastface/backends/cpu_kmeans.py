"""The C++ SIMD implementation of what only k-means needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface import _kernels
from fastface.backends.reference_kmeans import ReferenceKMeans

__all__ = ["CpuKMeans"]

Matrix = NDArray[Any]


class CpuKMeans(ReferenceKMeans):
    """Kernels in C++, chosen for the machine's instruction set when they are called."""

    def nearest_center(
        self, X: Matrix, centers: Matrix, metric: str, *, n_threads: int = 1
    ) -> NDArray[np.int32]:
        """Return the label of every row: the lowest index among the nearest centers."""
        x = X.astype(centers.dtype, copy=False)
        found = _kernels.nearest(x, centers, 1, metric, False, n_threads)
        return np.ascontiguousarray(found[1][:, 0])
