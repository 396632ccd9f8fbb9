"""Compiled kernels; call them through `fastface.backends`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

def available_isas() -> list[str]: ...
def set_isa(name: str) -> bool: ...
def active_isa() -> str: ...
def nearest(
    x: NDArray[Any],
    y: NDArray[Any],
    k: int,
    metric: str,
    exclude_self: bool,
    n_threads: int,
    memory_limit: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32], int, int]: ...
def radius(
    x: NDArray[Any],
    y: NDArray[Any],
    radius: float,
    metric: str,
    exclude_self: bool,
    n_threads: int,
    memory_limit: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...
def pairwise(
    x: NDArray[Any], y: NDArray[Any], out: NDArray[np.float32], metric: str, n_threads: int
) -> None: ...
def accumulate(
    x: NDArray[Any],
    labels: NDArray[np.int32],
    weights: NDArray[np.float64] | None,
    scales: NDArray[np.float64],
    sums: NDArray[np.int64],
    n_threads: int,
) -> None: ...
def seed(
    x: NDArray[Any], new_centers: NDArray[Any], nearest_squared: NDArray[np.float64], n_threads: int
) -> None: ...

class PreparedCandidates:
    def __init__(self, y: NDArray[Any], metric: str, n_threads: int) -> None: ...
    def nearest(
        self,
        x: NDArray[Any],
        k: int,
        exclude_self: bool,
        n_threads: int,
        memory_limit: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], int, int]: ...
    def radius(
        self, x: NDArray[Any], radius: float, exclude_self: bool, n_threads: int, memory_limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...
