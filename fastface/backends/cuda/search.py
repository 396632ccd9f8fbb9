"""Nearest centers, nearest neighbours and neighbours within a radius."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.cuda.device import Gpu
from fastface.backends.cuda.lanes import Steps, Work, in_chunks
from fastface.backends.cuda.operands import FACTS, Candidates, Packed, pack_queries, storage
from fastface.backends.cuda.tiles import Precision

__all__ = ["Search"]

_DECIDED_ROWS = 16  # a block of assign_decide
_SORTED_ROWS = 4  # a block of topk_decide
_RADIUS_ROWS = 8
_RECHECK_BLOCKS = 256
_CAPACITY = 512  # survivors that a slice keeps of a row
_MOST_SLICES = 32
_FEW_SLICES = 4  # where each has a list of survivors
_FULL_GPU = 264  # blocks that keep the largest GPUs busy
_TOO_MANY = 4  # one row in so many may be doubtful before scores are made finer


class Search:
    """What all searches among the same candidates share.

    Parameters
    ----------
    gpu : Gpu
        Where.
    y : device array of shape (n, dim)
        Candidates.
    metric : str
        Distance.
    precision : Precision
        Of the first scores; where too many rows stay doubtful, finer ones follow.
    memory_limit : int
        Bytes that chunks of rows may take; 0 is half of what is free.
    """

    def __init__(
        self, gpu: Gpu, y: Any, metric: str, precision: Precision, *, memory_limit: int = 0
    ) -> None:
        self._gpu, self._metric, self._limit = gpu, metric, memory_limit
        self._candidates = Candidates(gpu, y, metric, precision)
        self.rechecked = self.exhaustive = 0

    def assign(
        self,
        x: Any,
        labels: Any,
        distances: Any,
    ) -> None:
        """Write the nearest candidate of every row, and how far it is unless that is None."""

        def work(chunk: Any, first: int) -> Steps:
            return self._assign_chunk(chunk, with_distances=distances is not None)

        outputs = [labels] if distances is None else [labels, distances]
        self._run(x, work, outputs, 20 * _MOST_SLICES + 12)

    def topk(
        self,
        x: Any,
        distances: Any,
        indices: Any,
        own_row: int | None,
    ) -> None:
        """Write the nearest candidates of every row, nearest first.

        Candidate ``own_row + i`` is left out for row i, unless `own_row` is None.
        """
        k = indices.shape[1]

        def work(chunk: Any, first: int) -> Steps:
            return self._topk_chunk(chunk, -1 if own_row is None else first + own_row, k)

        scratch = 8 * _CAPACITY * _FEW_SLICES + 8 * k + 16
        self._run(x, work, [distances, indices], scratch)

    def _run(self, x: Any, work: Work, outputs: list[Any], scratch: int) -> None:
        c = self._candidates
        row = c.padded_dim * c.precision.operand.itemsize + FACTS.itemsize
        bytes_a_row = row + x.shape[1] * x.dtype.itemsize + scratch
        in_chunks(self._gpu, x, work, outputs, bytes_a_row=bytes_a_row, memory_limit=self._limit)

    def _slices(self, packed: Packed, most: int) -> tuple[int, int]:
        """Return slices of the candidates, so that few rows fill a GPU too, and tiles of one."""
        tiles = self._candidates.packed.tiles
        wanted = min(most, tiles, max(1, _FULL_GPU // packed.tiles))
        each = -(-tiles // wanted)
        return -(-tiles // each), each

    def _assign_chunk(self, x: Any, *, with_distances: bool) -> Steps:
        gpu, c = self._gpu, self._candidates
        packed = pack_queries(c, x)
        _refuse(*(yield [packed.errors]))
        n, dim = x.shape
        slices, each = self._slices(packed, _MOST_SLICES)
        scores = gpu.empty((slices, 3, packed.rows_padded), np.float32)
        places = gpu.empty((slices, 2, packed.rows_padded), np.int32)
        gpu.launch(
            "assign",
            "assign_scores",
            (packed.tiles, slices),
            c.tile.threads,
            *(packed.values, c.packed.values, c.biases, packed.rows_padded, c.packed.tiles),
            *(c.n_steps, each, 0, c.padded_dim, c.metric, packed.facts, c.bounds, scores, places),
            shared=c.tile.shared_bytes(c.n_steps),
            **c.tile.defines,
        )
        labels = gpu.empty(n, np.int32)
        distances = gpu.empty(n, np.float32) if with_distances else None
        doubtful, counters = gpu.empty(n, np.int32), gpu.zeros(2, np.int32)
        types = {"X_TYPE": storage(x), "Y_TYPE": storage(c.y)}
        gpu.launch(
            "assign_decide",
            "assign_decide",
            -(-n // _DECIDED_ROWS),
            256,
            *(x, dim, None, c.y, dim, n, dim, c.padded_dim, c.metric, int(c.precision)),
            *(packed.facts, c.packed.facts, c.bounds, scores, places, slices),
            *(packed.rows_padded, labels, distances, doubtful, counters),
            **types,
        )
        gpu.launch(
            "assign_decide",
            "assign_recheck",
            min(n, _RECHECK_BLOCKS),
            256,
            *(x, dim, c.y, dim, doubtful, counters, len(c), dim, c.metric, c.packed.facts),
            *(labels, distances),
            **types,
        )
        self._count(c, n, *(yield [counters]))
        return [labels] if distances is None else [labels, distances]

    def _topk_chunk(self, x: Any, first_query: int, k: int) -> Steps:
        gpu, c = self._gpu, self._candidates
        packed = pack_queries(c, x)
        _refuse(*(yield [packed.errors]))
        n, dim = x.shape
        slices, each = self._slices(packed, _FEW_SLICES)
        entries = gpu.empty((slices, packed.rows_padded, _CAPACITY), np.uint64)
        counts = gpu.zeros((slices, packed.rows_padded), np.int32)
        gpu.launch(
            "topk",
            "topk_screen",
            (packed.tiles, slices),
            c.tile.threads,
            *(packed.values, c.packed.values, c.biases, packed.rows_padded, c.packed.tiles),
            *(c.n_steps, each, 0, c.padded_dim, c.metric, packed.facts, c.bounds, k, first_query),
            *(entries, counts),
            shared=c.tile.shared_bytes(c.n_steps),
            CAPACITY=_CAPACITY,
            **c.tile.defines,
        )
        distances, indices = gpu.empty((n, k), np.float32), gpu.empty((n, k), np.int32)
        doubtful, counters = gpu.empty(n, np.int32), gpu.zeros(2, np.int32)
        types = {"X_TYPE": storage(x), "Y_TYPE": storage(c.y), "CAPACITY": _CAPACITY}
        gpu.launch(
            "topk_decide",
            "topk_decide",
            -(-n // _SORTED_ROWS),
            128,
            *(x, dim, c.y, dim, n, dim, c.padded_dim, c.metric, int(c.precision)),
            *(packed.facts, c.packed.facts, c.bounds, entries, counts, slices),
            *(packed.rows_padded, k, distances, indices, doubtful, counters),
            **types,
        )
        gpu.launch(
            "topk_decide",
            "topk_recheck",
            min(n, _RECHECK_BLOCKS),
            256,
            *(x, dim, c.y, dim, doubtful, counters, len(c), dim, c.metric, c.packed.facts, k),
            *(first_query, distances, indices),
            **types,
        )
        self._count(c, n, *(yield [counters]))
        return [distances, indices]

    def _count(self, c: Candidates, n: int, counters: NDArray[Any]) -> None:
        """Note the rows that went to the definition; make scores finer if they are many."""
        exhaustive, decided = map(int, counters)
        self.rechecked += decided
        self.exhaustive += exhaustive
        coarse = c.precision in (Precision.BF16, Precision.TF32) and c is self._candidates
        if coarse and exhaustive * _TOO_MANY > n:
            self._candidates = Candidates(self._gpu, c.y, self._metric, Precision.TF32X3)

    def radius(
        self, x: Any, limit: float, own_row: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Return CSR offsets, indices and distances of candidates within a key `limit`.

        Candidate ``own_row + i`` is left out for row i, unless `own_row` is None.
        """
        pieces: dict[int, tuple[NDArray[Any], ...]] = {}

        def work(chunk: Any, first: int) -> Steps:
            steps = self._radius_chunk(chunk, limit, -1 if own_row is None else first + own_row)
            pieces[first] = yield from steps
            return []

        self._run(x, work, [], 40)
        found = [pieces[first] for first in sorted(pieces)]
        counts = np.concatenate([np.diff(piece[0]) for piece in found])
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        indices = np.concatenate([piece[1] for piece in found])
        return offsets, indices, np.concatenate([piece[2] for piece in found])

    def _radius_chunk(
        self, x: Any, limit: float, first_query: int
    ) -> Generator[Sequence[Any], list[NDArray[Any]], tuple[NDArray[Any], ...]]:
        gpu, c = self._gpu, self._candidates
        packed = pack_queries(c, x)
        _refuse(*(yield [packed.errors]))
        n, dim = x.shape
        counts, offsets = gpu.empty(n, np.int64), gpu.empty(n + 1, np.int64)

        def screen(indices: Any) -> None:
            counting = indices is None
            gpu.launch(
                "radius",
                "radius_screen",
                packed.tiles,
                c.tile.threads,
                *(packed.values, c.packed.values, c.biases, n, c.packed.tiles, c.n_steps, 0),
                *(c.padded_dim, c.metric, packed.facts, c.packed.facts, c.bounds, limit),
                *(first_query, counts if counting else None, None if counting else offsets),
                indices,
                shared=c.tile.shared_bytes(c.n_steps),
                **c.tile.defines,
            )

        screen(None)
        self._scan(counts, offsets)
        (total,) = yield [offsets[n:]]
        near = max(1, int(total[0]))
        indices, distances = gpu.empty(near, np.int32), gpu.zeros(near, np.float32)
        screen(indices)
        types = {"X_TYPE": storage(x), "Y_TYPE": storage(c.y)}
        blocks = -(-n // _RADIUS_ROWS)
        gpu.launch(
            "radius_decide",
            "radius_decide",
            blocks,
            256,
            *(x, dim, c.y, dim, n, dim, c.metric, limit, packed.facts, c.packed.facts),
            *(offsets, indices, distances, counts),
            **types,
        )
        final = gpu.empty(n + 1, np.int64)
        self._scan(counts, final)
        (total,) = yield [final[n:]]
        inside = int(total[0])
        if not inside:
            return np.zeros(n + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
        kept, lengths = gpu.empty(inside, np.int32), gpu.empty(inside, np.float32)
        gpu.launch(
            "radius_decide",
            "radius_compact",
            blocks,
            256,
            *(n, offsets, indices, distances, final, kept, lengths),
            **types,
        )
        return tuple(array.copy() for array in (yield [final, kept, lengths]))

    def _scan(self, counts: Any, offsets: Any) -> None:
        n = counts.shape[0]
        self._gpu.launch("lloyd", "exclusive_scan", 1, 1024, counts, n, offsets, X_TYPE=1)


def _refuse(errors: NDArray[Any]) -> None:
    if int(errors[0]):
        raise FloatingPointError("queries")
