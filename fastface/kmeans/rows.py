"""The rows of a data set, in order, a chunk at a time; and what has to be known of all of them."""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.kmeans_protocol import KMeansKernels
from fastface.errors import InvalidInputError
from fastface.kmeans.fixed_point import exact, grid_bits, power_of_two_below

__all__ = [
    "ColumnRange",
    "RowBlocks",
    "mean_variance",
    "measure",
    "moment_sums",
    "parse_memory",
    "variance_of",
]

_MAPPED_CHUNK = 32 << 20
_LARGEST = 1e150
_SEARCHED_ROWS = 4096
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_memory(limit: object) -> int | None:
    """Return a `memory_limit` in bytes.

    Parameters
    ----------
    limit : int, str or None
        Bytes, or a text such as ``"1GiB"`` or ``"500 MB"``.  None is no limit.

    Raises
    ------
    InvalidInputError
        If it is something else, or not positive.
    """
    if limit is None:
        return None
    if isinstance(limit, (int, np.integer)) and not isinstance(limit, bool) and limit > 0:
        return int(limit)
    if isinstance(limit, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B?)\s*", limit.upper())
        if found and found[2] in _UNITS and float(found[1]) > 0:
            return int(float(found[1]) * _UNITS[found[2]])
    raise InvalidInputError(
        f"memory_limit must be bytes or a text such as '1GiB', and positive; got {limit!r}"
    )


def _mapping_of(X: NDArray[Any]) -> mmap.mmap | None:
    """Return the file mapping whose pages can be let go without losing what was written."""
    base: Any = X
    while base is not None:
        if isinstance(base, np.memmap) and base.mode in ("r", "r+", "w+"):
            mapping: mmap.mmap | None = getattr(base, "_mmap", None)
            return mapping
        base = getattr(base, "base", None)
    return None


class RowBlocks:
    """Chunks of rows of a matrix, in order.

    A mapped file is read ahead one chunk, and its pages are let go after use, so that it never
    counts as this process's memory.  Other arrays come in one piece unless `chunk_rows` says
    otherwise.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        C-contiguous.
    chunk_rows : int, optional
        Rows of a chunk.  Results do not depend on it.
    first_row : int
        Index of the first row among those of all partitions.
    """

    def __init__(
        self, X: NDArray[Any], chunk_rows: int | None = None, *, first_row: int = 0
    ) -> None:
        self.X = X
        self.first_row = first_row
        self._mapping = _mapping_of(X)
        self.is_mapped = self._mapping is not None
        if chunk_rows is None:
            row_bytes = max(1, X.shape[1] * X.itemsize)
            chunk_rows = max(1, _MAPPED_CHUNK // row_bytes) if self.is_mapped else len(X)
        self.chunk_rows = max(1, min(chunk_rows, len(X)))
        if self._mapping is not None:
            start = np.frombuffer(self._mapping, dtype=np.uint8).__array_interface__["data"][0]
            self._offset = X.__array_interface__["data"][0] - start

    def __len__(self) -> int:
        return len(self.X)

    def __iter__(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        for start in range(0, len(self.X), self.chunk_rows):
            part = slice(start, min(len(self.X), start + self.chunk_rows))
            self._advise(part.stop, part.stop + self.chunk_rows, "MADV_WILLNEED")
            yield part, self.X[part]
            self._advise(part.start, part.stop, "MADV_DONTNEED")

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of some rows, in the order of `indices`, read in file order."""
        if not self.is_mapped:
            return self.X[indices]
        order = np.argsort(indices, kind="stable")
        out = np.empty((len(indices), self.X.shape[1]), self.X.dtype)
        for start in range(0, len(self.X), self.chunk_rows):
            stop = min(len(self.X), start + self.chunk_rows)
            low, high = np.searchsorted(indices[order], [start, stop])
            if low < high:
                out[order[low:high]] = self.X[indices[order[low:high]]]
                self._advise(start, stop, "MADV_DONTNEED")
        return out

    def release(self) -> None:
        """Let go of all pages of a mapped file."""
        self._advise(0, len(self.X), "MADV_DONTNEED")

    def _advise(self, first: int, last: int, advice: str) -> None:
        option = getattr(mmap, advice, None)
        last = min(last, len(self.X))
        if self._mapping is None or option is None or first >= last:
            return
        row_bytes = self.X.shape[1] * self.X.itemsize
        begin = (self._offset + first * row_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
        end = self._offset + last * row_bytes
        self._mapping.madvise(option, begin, end - begin)


@dataclass(frozen=True)
class ColumnRange:
    """What fixes the grid of a data set; merged over partitions by the larger and the sum."""

    n_rows: int
    largest: NDArray[np.float64]

    def merge(self, other: ColumnRange) -> ColumnRange:
        """Return the range of both."""
        return ColumnRange(self.n_rows + other.n_rows, np.maximum(self.largest, other.largest))


def measure(rows: RowBlocks, kernels: KMeansKernels, n_threads: int) -> ColumnRange:
    """Return the largest magnitude of every feature; refuse rows that hold no numbers.

    Raises
    ------
    InvalidInputError
        Naming the first value that is NaN, infinite, or so large that its square overflows.
    """
    largest = np.zeros(rows.X.shape[1])
    for part, chunk in rows:
        found = kernels.column_range(chunk, n_threads=n_threads)
        if not (found <= _LARGEST).all():
            row, column = _first_bad(chunk)
            value = np.asarray(chunk[row : row + 1])[0, column]
            raise InvalidInputError(
                f"X[{rows.first_row + part.start + row}, {column}] is {value}; values"
                f" must be finite (no NaN, no infinity) and at most {_LARGEST:g} in magnitude: drop"
                " or repair such rows"
            )
        np.maximum(largest, found, out=largest)
    return ColumnRange(len(rows), largest)


def _first_bad(X: NDArray[Any]) -> tuple[int, int]:
    """Return row and column of the first value that is none, a few rows at a time."""
    for start in range(0, len(X), _SEARCHED_ROWS):
        block = np.asarray(X[start : start + _SEARCHED_ROWS]).astype(np.float64)
        rows, columns = np.nonzero(~(np.abs(block) <= _LARGEST))
        if len(rows):
            return start + int(rows[0]), int(columns[0])
    raise AssertionError("no such value")


def mean_variance(
    rows: RowBlocks, columns: ColumnRange, kernels: KMeansKernels, n_threads: int
) -> float:
    """Return the mean over features of their variance, the same bits for any chunks."""
    return variance_of(columns, moment_sums(rows, columns, kernels, n_threads))


def _moment_grid(columns: ColumnRange) -> tuple[NDArray[np.float64], float]:
    bits = grid_bits(columns.n_rows)
    largest = columns.largest
    return (
        np.stack([power_of_two_below(largest, bits), power_of_two_below(largest * largest, bits)]),
        2.0**bits,
    )


def moment_sums(
    rows: RowBlocks, columns: ColumnRange, kernels: KMeansKernels, n_threads: int
) -> NDArray[np.int64]:
    """Return sums of values and of squares, integers that add up over partitions."""
    scales, low_scale = _moment_grid(columns)
    sums = np.zeros((2, 2, rows.X.shape[1]), np.int64)
    for _, chunk in rows:
        sums += kernels.column_moments(chunk, scales, low_scale, n_threads=n_threads)
    return sums


def variance_of(columns: ColumnRange, sums: NDArray[np.int64]) -> float:
    """Return the mean over features of their variance, from the `moment_sums` of all rows."""
    scales, low_scale = _moment_grid(columns)
    variances = []
    for j in range(sums.shape[2]):
        first, second = (
            exact(int(sums[p, 0, j]), int(sums[p, 1, j]), float(scales[p, j]), low_scale)
            / columns.n_rows
            for p in range(2)
        )
        variances.append(max(0.0, float(second - first * first)))
    return math.fsum(variances) / len(variances)
