"""New rows for a graph, as if it had been built with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.distances import nearest_neighbors
from fastface.graph.approximate import nearest_others

__all__ = ["grown_neighbors"]

_BLOCK_ROWS = 1 << 16
_FEW = 4  # new neighbours that most old rows do not exceed


def grown_neighbors(
    X: NDArray[Any],
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    metric: str,
    *,
    device: str = "auto",
    n_threads: int | None = None,
    memory_limit: int | str | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Extend lists of the first rows of a matrix to all of its rows.

    New rows are searched against all; old rows are searched against the new ones, and take those
    that are nearer than what they have.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Old rows, then new ones.
    indices, distances : ndarray of shape (n_old, n_neighbors)
        Lists of the old rows, sorted by (distance, index).
    metric : str
        Their metric.
    device, n_threads, memory_limit
        See `fastface.nearest_neighbors`.

    Returns
    -------
    distances : ndarray of float32, shape (n_samples, n_neighbors)
        From exact lists, exact lists.
    indices : ndarray of int32, shape (n_samples, n_neighbors)
    """
    n_old, k = indices.shape
    out_distances = np.empty((len(X), k), np.float32)
    out_indices = np.empty((len(X), k), np.int32)
    for start in range(0, n_old, _BLOCK_ROWS):
        block = slice(start, min(n_old, start + _BLOCK_ROWS))
        out_distances[block], out_indices[block] = distances[block], indices[block]
        rows = np.arange(block.start, block.stop)
        few = min(_FEW, k, len(X) - n_old)
        while len(rows):
            found, names = nearest_neighbors(
                X[block] if len(rows) == block.stop - block.start else X[rows],
                X[n_old:],
                n_neighbors=few,
                metric=metric,
                device=device,
                n_threads=n_threads,
                memory_limit=memory_limit,
            )
            worst = distances[rows, -1]
            # New rows come after old ones, so that an equal distance is not enough.
            nearer = found[:, 0] < worst
            full = nearer & (found[:, -1] < worst) & (few < min(k, len(X) - n_old))
            some = rows[nearer & ~full]
            _merge(
                out_distances, out_indices, some, found[nearer & ~full],
                names[nearer & ~full] + np.int32(n_old),
            )  # fmt: skip
            rows, few = rows[full], min(4 * few, k, len(X) - n_old)
    for start in range(n_old, len(X), _BLOCK_ROWS):
        new = np.arange(start, min(len(X), start + _BLOCK_ROWS), dtype=np.int32)
        out_distances[new], out_indices[new] = nearest_others(
            X, new, k, metric, device=device, n_threads=n_threads, memory_limit=memory_limit
        )
    return out_distances, out_indices


def _merge(
    distances: NDArray[np.float32],
    indices: NDArray[np.int32],
    rows: NDArray[np.int64],
    found: NDArray[np.float32],
    names: NDArray[np.int32],
) -> None:
    """Let `found` compete in the lists of `rows`; all names there are larger than the old ones."""
    all_distances = np.concatenate([distances[rows], found], axis=1)
    all_indices = np.concatenate([indices[rows], names], axis=1)
    # Stable, and new names stand last, in order: equals stay in order of index.
    first = np.argsort(all_distances, axis=1, kind="stable")[:, : indices.shape[1]]
    distances[rows] = np.take_along_axis(all_distances, first, axis=1)
    indices[rows] = np.take_along_axis(all_indices, first, axis=1)
