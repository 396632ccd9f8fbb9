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
from fastface.distributed.partition import FileRows, ShardRows
from fastface.errors import InvalidInputError, StorageError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["DividedRows", "as_dask", "divide", "divide_column", "divide_weights", "is_dask"]

_CHUNK_BYTES = 64 << 20
_MOST_CHUNKS = 1024  # the scheduler has tasks for each, and for pairs of some
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
        Rows, divided along the first axis; or a ``.npy`` file that all workers can open, or a run
        folder: the rows of its ``embeddings.npy`` or, while the job is not finished, of its shards.
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
        path = Path(X)
        if path.is_dir():
            if not (path / "embeddings.npy").is_file():
                return _divide_shards(path, client)
            path = path / "embeddings.npy"
        return _divide_file(path, client)
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


def _mapped(path: Path) -> NDArray[Any]:
    try:
        rows: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read as a .npy file: {error}") from error
    if rows.ndim != 2 or rows.dtype not in _FLOATS or not rows.flags.c_contiguous:
        raise InvalidInputError(
            f"{path} must hold a C-contiguous matrix of float16, float32 or float64, got shape"
            f" {rows.shape} of {rows.dtype}"
        )
    return rows


def _rows_of_partition(rows: NDArray[Any], n: int, client: Client) -> int:
    threads: int = sum(client.nthreads().values())
    size = max(1, int(_CHUNK_BYTES // (rows.shape[1] * rows.itemsize)), -(-n // _MOST_CHUNKS))
    return max(1, min(size, -(-n // (threads * _CHUNKS_PER_THREAD))))


def _divide_shards(folder: Path, client: Client) -> DividedRows:
    """Return the rows of finished shards of a run folder, several a partition."""
    files = sorted((folder / "shards").glob("[0-9]*/embeddings.npy"))
    if not files:
        raise StorageError(f"{folder} holds neither embeddings.npy nor finished shards")
    shards = [_mapped(path) for path in files]
    kinds = {(rows.shape[1], rows.dtype) for rows in shards}
    if len(kinds) > 1:
        raise InvalidInputError(f"the shards of {folder} differ in features or type: {kinds}")
    n = sum(map(len, shards))
    _check_size(n, shards[0].shape[1])
    most = _rows_of_partition(shards[0], n, client)
    sources: list[ShardRows] = []
    sizes: list[int] = []
    for path, rows in zip(files, shards, strict=True):
        part = FileRows(str(path.resolve()), 0, len(rows))
        if sources and sizes[-1] + len(rows) <= most:
            sources[-1] = ShardRows((*sources[-1].parts, part))
            sizes[-1] += len(rows)
        elif len(rows):
            sources.append(ShardRows((part,)))
            sizes.append(len(rows))
    ((n_features, dtype),) = kinds
    return DividedRows(sources, tuple(sizes), n_features, dtype)


def _divide_file(path: Path, client: Client) -> DividedRows:
    rows = _mapped(path)
    n, n_features = rows.shape
    _check_size(n, n_features)
    size = _rows_of_partition(rows, n, client)
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


def divide_column(values: Any, rows: DividedRows, client: Client, name: str) -> list[Any]:
    """Return one value a row, in the partitions of the rows.

    Raises
    ------
    InvalidInputError
        If their number is not that of the rows.
    """
    if not is_dask(values):
        values = np.asarray(values)
    if values.shape != (rows.n_rows,):
        raise InvalidInputError(
            f"{name} must have one value for each of the {rows.n_rows} rows, got shape"
            f" {values.shape}"
        )
    if is_dask(values):
        return list(client.compute(list(values.rechunk((rows.sizes,)).to_delayed().ravel())))
    return [
        values[first : first + size]
        for first, size in zip(rows.first_rows, rows.sizes, strict=True)
    ]


def as_dask(
    futures: list[Any], sizes: tuple[int, ...], dtype: Any, width: int | None = None
) -> Any:
    """Return a Dask array whose chunks are futures, of rows or of single values."""
    from dask import delayed
    from dask.array import concatenate, from_delayed

    pieces = [
        from_delayed(delayed(future), (size,) if width is None else (size, width), dtype=dtype)
        for future, size in zip(futures, sizes, strict=True)
    ]
    return concatenate(pieces)
