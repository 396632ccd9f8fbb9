"""What every backend offers: the seam between public functions and kernels.

Matrices are aligned float16, float32 or float64 of any strides; the two of one call may differ in
dtype.  What `rows` makes of an array on a GPU is as good for the backend of that GPU, and its
answers are then arrays there.  Every method is *defined* by `fastface.backends.reference`; other
backends return the same bits.  A backend with ``checks_values`` looks for NaN, infinity and
overflow while it reads, and raises FloatingPointError("queries") or
FloatingPointError("candidates"); for one without, the caller has looked.  ``memory_limit`` bounds
what a call allocates beside its inputs and outputs, in bytes, zero leaving it to the backend;
MemoryError carries the bytes needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastface.backends.kmeans_protocol import KMeansKernels

__all__ = ["Backend", "Neighbors"]

Matrix = NDArray[Any]


class Neighbors(NamedTuple):
    """Nearest candidates of every query row, sorted by (distance, index).

    `rechecked` counts the rows for which float32 could not decide, so that more candidates than
    were asked for went to the float64 definition; `exhaustive` those for which all of them did.
    """

    distances: NDArray[np.float32]
    indices: NDArray[np.int32]
    rechecked: int
    exhaustive: int


class Backend(Protocol):
    """Dense kernels on one kind of device."""

    name: str
    checks_values: bool

    @property
    def kmeans(self) -> KMeansKernels:
        """Return the kernels of k-means."""
        ...

    def topk(
        self,
        X: Matrix,
        Y: Matrix,
        k: int,
        metric: str,
        *,
        exclude_self: bool = False,
        n_threads: int,
        memory_limit: int = 0,
    ) -> Neighbors:
        """Return the k nearest rows of Y for every row of X."""
        ...

    def assign(
        self,
        X: Matrix,
        centers: Matrix,
        metric: str,
        *,
        n_threads: int,
        memory_limit: int = 0,
    ) -> Neighbors:
        """Return the nearest center of every row; `topk` with k = 1."""
        ...

    def radius(
        self,
        X: Matrix,
        Y: Matrix,
        radius: float,
        metric: str,
        *,
        exclude_self: bool = False,
        n_threads: int,
        memory_limit: int = 0,
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Return CSR offsets, indices and distances of the rows of Y within `radius`."""
        ...

    def pairwise(
        self, X: Matrix, Y: Matrix, metric: str, *, out: NDArray[np.float32], n_threads: int
    ) -> None:
        """Write every distance into `out` of shape (len(X), len(Y))."""
        ...

    def rows(self, X: Any) -> Any:
        """Return rows as the kernels read them: those on a GPU stay where they are."""
        ...

    def to_device(self, array: Matrix) -> Matrix:
        """Bring an array to where the kernels run."""
        ...

    def to_host(self, array: Matrix) -> Matrix:
        """Bring an array back to NumPy."""
        ...
