"""Searches among candidates of any number: those that do not fit the GPU come in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastface.backends.cuda.device import Gpu, GpuMemoryError
from fastface.backends.cuda.operands import Candidates
from fastface.backends.cuda.rows import DeviceRows
from fastface.backends.cuda.search import Search
from fastface.backends.cuda.tiles import Precision
from fastface.backends.protocol import Neighbors
from fastface.backends.reference import pair_keys

__all__ = ["PartedSearch", "candidate_parts", "parts_of"]

_LEAST_CANDIDATES = 256
_SHARE = 2  # of the memory that candidates may take
_NOBODY = np.iinfo(np.int32).max
_BLOCK_VALUES = 1 << 21

Result = TypeVar("Result")
CsrRows = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]


def candidate_parts(
    gpu: Gpu,
    y: Any,
    make: Callable[[Any], Result],
    bytes_a_row: int,
    memory_limit: int = 0,
) -> Iterator[tuple[slice, Result]]:
    """Bring candidates to the GPU, all at once if they fit, else one part after the other.

    Where memory runs out for one the parts are halved.

    Parameters
    ----------
    gpu : Gpu
        Where.
    y : ndarray or DeviceRows of shape (m, dim)
        Candidates.
    make : callable
        Makes what is wanted of some of them on the GPU.
    bytes_a_row : int
        What one takes there, with all that is made of it.
    memory_limit : int
        Bytes of which candidates may take half; 0 is what is free.

    Yields
    ------
    slice, object
        Which these are, and what was made of them, to be let go before the next are asked for.

    Raises
    ------
    GpuMemoryError
        If there is not even memory for a few.
    MemoryError
        Carrying the bytes needed, if `memory_limit` leaves none for a few.
    """
    m = len(y)
    least = min(m, _LEAST_CANDIDATES)
    if memory_limit and memory_limit < _SHARE * least * bytes_a_row:
        raise MemoryError(str(_SHARE * least * bytes_a_row))
    budget = (memory_limit or gpu.free_bytes()) // _SHARE
    size = max(least, min(m, budget // bytes_a_row))
    first = 0
    while first < m:
        part = slice(first, min(m, first + size))
        made: Result | None = None
        try:
            rows = y[part]
            made = make(rows.array if isinstance(rows, DeviceRows) else gpu.put(rows))
        except GpuMemoryError:
            if part.stop - first <= least:
                raise
        if made is not None:
            yield part, made
            first = part.stop
        else:  # out of reach of the error, which holds what it met
            gpu.let_go()
            size = max(least, (part.stop - first) // 2)


def parts_of(rows: slice, n: int, part: slice) -> Iterator[tuple[slice, bool]]:
    """Divide rows by whether they are themselves among a part of the candidates."""
    inside = slice(min(n, part.start), min(n, part.stop))
    for piece, among in (
        (slice(rows.start, inside.start), False),
        (inside, True),
        (slice(inside.stop, rows.stop), False),
    ):
        if piece.start < piece.stop:
            yield piece, among


class PartedSearch:
    """A search of rows among candidates.

    Parameters
    ----------
    gpu : Gpu
        Where.
    x : ndarray or DeviceRows of shape (n, dim)
        Rows.
    y : ndarray or DeviceRows of shape (m, dim)
        Candidates.
    metric : str
        Distance.
    precision : Precision
        Of the first scores.
    memory_limit : int
        Bytes that candidates and chunks of rows may take together; 0 is three quarters of what is
        free.
    """

    def __init__(
        self, gpu: Gpu, x: Any, y: Any, metric: str, precision: Precision, memory_limit: int
    ) -> None:
        self._gpu, self._x, self._y = gpu, x, y
        self._metric, self._precision, self._limit = metric, precision, memory_limit
        self._candidate_bytes = Candidates.bytes_a_row(y, precision)
        self._rechecked = self._exhaustive = 0

    def nearest(self, k: int, exclude_self: bool, *, only_one: bool = False) -> Neighbors:
        """Return the k nearest of every row; with `only_one`, by the kernels for k = 1."""
        n = len(self._x)
        merged: _Merged | None = None
        for part, search in self._searches():
            if merged is None and part.stop == len(self._y):
                distances, indices = self._empty((n, k), np.float32), self._empty((n, k), np.int32)
                own = 0 if exclude_self else None
                self._one(search, self._x, distances, indices, own, only_one)
                self._note(search)
                return Neighbors(distances, indices, self._rechecked, self._exhaustive)
            if merged is None:
                merged = _Merged(self._x, self._y, self._metric, k)
            width = part.stop - part.start
            pieces = parts_of(slice(0, n), n, part) if exclude_self else [(slice(0, n), False)]
            for rows, among in pieces:
                size = len(range(n)[rows]), min(k, width - among)
                if not size[1]:
                    continue
                distances, indices = np.empty(size, np.float32), np.empty(size, np.int32)
                own = 0 if among else None
                self._one(search, self._x[rows], distances, indices, own, only_one)
                merged.add(rows, distances, indices + np.int32(part.start))
            self._note(search)
            del search
        assert merged is not None  # noqa: S101
        found: list[Any] = [merged.distances, merged.indices]
        if self._gpu.is_device_array(self._x):
            found = [self._gpu.put(array) for array in found]
        return Neighbors(found[0], found[1], self._rechecked, self._exhaustive)

    def radius(self, limit: float, exclude_self: bool) -> CsrRows:
        """Return CSR offsets, indices and distances of candidates within a key `limit`."""
        n = len(self._x)
        found: list[CsrRows] = []
        for part, search in self._searches():
            whole = slice(0, n)
            cut = parts_of(whole, n, part) if exclude_self else [(whole, False)]
            pieces = [
                self._limited(search.radius, self._x[rows], limit, 0 if among else None)
                for rows, among in cut
            ]
            counts = np.concatenate([np.diff(piece[0]) for piece in pieces])
            found.append(
                (
                    np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
                    np.concatenate([piece[1] for piece in pieces]) + np.int32(part.start),
                    np.concatenate([piece[2] for piece in pieces]),
                )
            )
            del search
        offsets, indices, distances = found[0] if len(found) == 1 else _side_by_side(found)
        if self._gpu.is_device_array(self._x):
            put = self._gpu.put
            return put(offsets), put(indices), put(distances)
        return offsets, indices, distances

    def _searches(self) -> Iterator[tuple[slice, Search]]:
        gpu, limit, size = self._gpu, self._limit, self._candidate_bytes

        def make(there: Any) -> Search:
            rest = max(1, limit - len(there) * size) if limit else 0
            return Search(gpu, there, self._metric, self._precision, memory_limit=rest)

        return candidate_parts(gpu, self._y, make, size, limit)

    def _one(
        self, search: Search, x: Any, distances: Any, indices: Any, own_row: int | None, one: bool
    ) -> None:
        if one:
            self._limited(search.assign, x, indices.reshape(-1), distances.reshape(-1))
        else:
            self._limited(search.topk, x, distances, indices, own_row)

    def _limited(self, work: Callable[..., Result], *args: Any) -> Result:
        """Do some work; where the limit leaves too little for it, say what limit would do."""
        try:
            return work(*args)
        except MemoryError as error:
            if not str(error).isdigit():
                raise
            rows, candidates = int(str(error)), len(self._y) * self._candidate_bytes
            raise MemoryError(str(rows + min(rows, candidates))) from None

    def _note(self, search: Search) -> None:
        self._rechecked += search.rechecked
        self._exhaustive += search.exhaustive

    def _empty(self, shape: tuple[int, int], dtype: Any) -> Any:
        if self._gpu.is_device_array(self._x):
            return self._gpu.empty(shape, dtype)
        return np.empty(shape, dtype)


class _Merged:
    """The nearest of several parts of the candidates, in the order of the definition.

    Parts come in order.  Where two distances are the same float32, the float64 definition is asked
    on the host which is smaller.
    """

    def __init__(self, x: Any, y: Any, metric: str, k: int) -> None:
        self._x, self._y, self._metric = x, y, metric
        self.distances = np.full((len(x), k), np.inf, np.float32)
        self.indices = np.full((len(x), k), _NOBODY, np.int32)

    def add(self, rows: slice, distances: NDArray[np.float32], indices: NDArray[np.int32]) -> None:
        """Add what was found in one part for some rows."""
        k = self.indices.shape[1]
        d = np.concatenate([self.distances[rows], distances], axis=1)
        i = np.concatenate([self.indices[rows], indices], axis=1)
        order = np.argsort(d, axis=1, kind="stable")
        nearest = np.take_along_axis(d, order, axis=1)[:, : k + 1]
        tied = np.flatnonzero((nearest[:, 1:] == nearest[:, :-1]).any(axis=1))
        at_once = max(1, _BLOCK_VALUES // (i.shape[1] * self._y.shape[1]))
        for start in range(0, len(tied), at_once):
            some = tied[start : start + at_once]
            keys = self._keys(some + rows.start, i[some])
            order[some] = np.lexsort((i[some], keys), axis=1)
        order = order[:, :k]
        self.distances[rows] = np.take_along_axis(d, order, axis=1)
        self.indices[rows] = np.take_along_axis(i, order, axis=1)

    def _keys(self, rows: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float64]:
        exist = indices != _NOBODY
        near = np.asarray(self._y[indices[exist].astype(np.int64)])
        own = np.asarray(self._x[rows])[np.nonzero(exist)[0]]
        keys = np.full(indices.shape, np.inf)
        keys[exist] = pair_keys(own, near, self._metric)
        return keys


def _side_by_side(parts: list[CsrRows]) -> CsrRows:
    """Return sparse rows that hold those of each part, one after the other."""
    counts = [np.diff(offsets) for offsets, _, _ in parts]
    offsets = np.concatenate([[0], np.cumsum(np.sum(counts, axis=0))]).astype(np.int64)
    indices = np.empty(offsets[-1], np.int32)
    distances = np.empty(offsets[-1], np.float32)
    filled = offsets[:-1].copy()
    for (own, columns, lengths), count in zip(parts, counts, strict=True):
        places = np.repeat(filled - own[:-1], count) + np.arange(len(columns))
        indices[places], distances[places] = columns, lengths
        filled += count
    return offsets, indices, distances
