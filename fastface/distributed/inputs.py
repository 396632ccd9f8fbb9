"""What users pass as rows and weights of a cluster, turned into partitions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.distributed.cluster import Partitions
from fastface.distributed.partition import FileRows
from fastface.errors import InvalidInputError, StorageError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["DividedRows", "divide", "divide_weights", "is_dask"]

_CHUNK_BYTES = 64 << 20
_CHUNKS_PER_THREAD = 4  # of a file, so that no worker waits long for another
_FLOATS = (np.float16, np.float32, np.float64)


@dataclass(frozen=True)
class DividedRows:
    """Rows in partitions.

    Attributes
    ----------
    sources : list
        What each partition holds: a future of an array, or `FileRows`.
    sizes : tuple of int
        Rows of each.
    n_features : int
        Number of features.
    dtype : dtype
        Of the rows.
    """

    sources: list[Any]
    sizes: tuple[int, ...]
    n_features: int
    dtype: np.dtype[Any]

    @property
    def first_rows(self) -> list[int]:
        """Return the index of the first row of each partition."""
        return [0, *np.cumsum(self.sizes)[:-1].tolist()]

    @property
    def n_rows(self) -> int:
        """Return the number of all rows."""
        return sum(self.sizes)

    def over(self, client: Client, weights: Sequence[Any] | None) -> Partitions:
        """Return the partitions on a cluster."""
        return Partitions(
            client, self.sources, weights or [None] * len(self.sources), self.first_rows
        )


def is_dask(value: object) -> bool:
    """Return whether something is a Dask array, without importing Dask for it."""
    return type(value).__module__.partition(".")[0] == "dask" and hasattr(value, "to_delayed")


def divide(X: Any, client: Client) -> DividedRows:
    """Return rows in partitions.

    Parameters
    ----------
    X : dask.array.Array, str or path
        Rows, divided along the first axis; or a ``.npy`` file that all workers can open.
    client : distributed.Client
        The cluster.

    Raises
    ------
    InvalidInputError
        If it is something else, not a matrix, or empty.
    StorageError
        If the file cannot be read.
    """
    if isinstance(X, (str, os.PathLike)):
        return _divide_file(Path(X), client)
    if not is_dask(X):
        raise InvalidInputError(
            f"X must be a Dask array or the path of a .npy file, got {type(X).__name__}; make one"
            " with dask.array.from_array(X, chunks=(rows, -1)), or use fastface.KMeans for rows in"
            " memory"
        )
    if X.ndim != 2:
        raise InvalidInputError(f"X must have two dimensions, got {X.ndim}")
    if any(np.isnan(size) for size in X.chunks[0]):
        X = X.compute_chunk_sizes()
    if X.dtype not in _FLOATS:
        X = X.astype(np.float64)
    X = X.rechunk({1: -1})
    sizes = X.chunks[0]
    _check_size(sum(sizes), X.shape[1])
    kept = [i for i, size in enumerate(sizes) if size]
    blocks = X.to_delayed().ravel()
    futures = client.compute([blocks[i] for i in kept])
    return DividedRows(futures, tuple(int(sizes[i]) for i in kept), int(X.shape[1]), X.dtype)


def _divide_file(path: Path, client: Client) -> DividedRows:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read as a .npy file: {error}") from error
    if rows.ndim != 2 or rows.dtype not in _FLOATS or not rows.flags.c_contiguous:
        raise InvalidInputError(
            f"{path} must hold a C-contiguous matrix of float16, float32 or float64, got shape"
            f" {rows.shape} of {rows.dtype}"
        )
    n, n_features = rows.shape
    _check_size(n, n_features)
    threads = sum(client.nthreads().values())
    size = max(1, _CHUNK_BYTES // (n_features * rows.itemsize))
    size = max(1, min(size, -(-n // (threads * _CHUNKS_PER_THREAD))))
    stops = [*range(size, n, size), n]
    where = str(path.resolve())
    sources = [
        FileRows(where, start, stop) for start, stop in zip([0, *stops[:-1]], stops, strict=True)
    ]
    return DividedRows(sources, tuple(s.stop - s.start for s in sources), n_features, rows.dtype)


def _check_size(n_rows: int, n_features: int) -> None:
    if n_rows == 0 or n_features == 0:
        raise InvalidInputError(f"X is empty: {n_rows} rows of {n_features} features")


def divide_weights(sample_weight: Any, rows: DividedRows, client: Client) -> list[Any] | None:
    """Return weights in the partitions of the rows; None for None.

    Raises
    ------
    InvalidInputError
        If their number is not that of the rows.
    """
    if sample_weight is None:
        return None
    if is_dask(sample_weight):
        if sample_weight.shape != (rows.n_rows,):
            raise InvalidInputError(
                f"sample_weight has shape {sample_weight.shape}, X has {rows.n_rows} rows"
            )
        blocks = sample_weight.rechunk((rows.sizes,)).to_delayed().ravel()
        return list(client.compute(list(blocks)))
    weights: NDArray[np.float64] = np.asarray(sample_weight, np.float64)
    if weights.shape != (rows.n_rows,):
        raise InvalidInputError(
            f"sample_weight has shape {weights.shape}, X has {rows.n_rows} rows"
        )
    return [
        weights[first : first + size]
        for first, size in zip(rows.first_rows, rows.sizes, strict=True)
    ]
