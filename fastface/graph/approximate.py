"""Most of the nearest neighbours of every row, in far less time than all of them.

Rows are put into an order in which near ones stand together, and cut into groups; each group is
compared with the groups nearest to it.  Then each row looks among the neighbours of its neighbours,
pass after pass, until enough of them are found (Dong, Moses and Li, "Efficient k-nearest neighbor
graph construction for generic similarity measures", WWW 2011, begun with near groups in place of
random lists).  How many are found is measured: some rows, drawn by chance, are searched exactly.

On the way entries are compared by 8-bit codes, in the end by the definition, so that every distance
is the one that `fastface.nearest_neighbors` returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastface.backends.registry import get_backend, resolve_threads
from fastface.distances import nearest_neighbors
from fastface.errors import InvalidInputError
from fastface.graph.join import center_of, leading_directions
from fastface.graph.rows import unit_rows

__all__ = [
    "Approximation",
    "Effort",
    "Recall",
    "approximate_neighbors",
    "choose_method",
    "nearest_others",
]

_METHODS = ("auto", "exact", "approximate")
_METRICS = ("sqeuclidean", "euclidean", "cosine")

_EXACT_ROWS = 200_000  # up to which an approximate graph saves little
_SPARE = 8  # entries of a list beyond those asked for, for what codes cannot tell apart
_NOBODY = np.uint32(0xFFFFFFFF)
_NORMAL_95 = 1.96


class Recall(NamedTuple):
    """Share of the true neighbours that were found, measured on rows drawn by chance."""

    estimate: float
    low: float  # of the 95 % confidence interval
    high: float
    n_rows: int  # drawn


class Approximation(NamedTuple):
    """Neighbours as `fastface.nearest_neighbors` returns them, and how many of them are right."""

    distances: NDArray[np.float32]
    indices: NDArray[np.int32]
    recall: Recall


@dataclass(frozen=True)
class Effort:
    """How hard to look; more of anything finds more and takes longer."""

    groups: int = 240  # of some hundred rows, that each group is compared with; see `visited`
    # Share of a list whose neighbours are looked at, pass by pass: a third of both lists is a ninth
    # of the work, and finds most.  The last share is that of all further passes.
    fans: tuple[float, ...] = (0.36, 0.36, 0.55, 0.75, 1.0)
    passes: int = 10  # most
    gain: float = 0.0002  # of recall, under which another pass over whole lists is not worth it
    sample: int = 1000  # rows to measure the recall on

    def visited(self, n_rows: int) -> int:
        """Return how many groups each one visits: beyond 200,000 rows more, as their root.

        There passes over whole lists cost more than that, and find less.
        """
        return round(self.groups * max(1.0, math.sqrt(n_rows / _EXACT_ROWS)))


def choose_method(method: str, n_samples: int, metric: str, device: str) -> str:
    """Return "exact" or "approximate", refusing what cannot be served."""
    if method not in _METHODS:
        raise InvalidInputError(
            f"unknown method {method!r}; choose {', '.join(map(repr, _METHODS))}"
        )
    served = metric in _METRICS and device in ("auto", "cpu")
    if method == "approximate" and not served:
        raise InvalidInputError(
            f"there is no approximate graph for metric {metric!r} on device {device!r}: choose"
            f" another metric ({', '.join(_METRICS)}), device 'cpu' or method 'exact'"
        )
    if method == "auto":
        return "approximate" if served and n_samples > _EXACT_ROWS else "exact"
    return method


def approximate_neighbors(
    X: NDArray[Any],
    k: int,
    metric: str,
    *,
    recall: float,
    effort: Effort | None = None,
    seed: int = 0,
    n_threads: int | None = None,
    memory_limit: int | str | None = None,
) -> Approximation:
    """Find most of the k nearest other rows of every row.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Checked rows.
    k : int
        Less than the number of rows.
    metric : {"sqeuclidean", "euclidean", "cosine"}
        Distance.
    recall : float
        Passes end when this share is found, or when they find hardly anything new.
    effort : Effort, optional
        How hard to look.
    seed : int
        Of the rows that the recall is measured on.
    n_threads : int, optional
        Threads; the answer depends neither on them nor on the machine.
    memory_limit : int or str, optional
        Most bytes that the search for measuring allocates; codes and lists take some
        ``n (2 n_features + 8 k + 80)`` bytes besides, and unit rows for the cosine metric.

    Returns
    -------
    Approximation
        Every row has `k` neighbours: its own group and those compared with it hold more.
    """
    effort = effort or Effort()
    threads = resolve_threads(n_threads)
    get_backend("cpu")  # names the remedy where the extension is missing
    from fastface import _kernels

    # Directions are ordered by angle as their unit vectors are by distance.
    compared = unit_rows(X) if metric == "cosine" else X
    center = center_of(compared)
    # A list for each row; rows go by their place in the order, near ones together.
    order = _kernels.row_order(compared, threads)
    place = np.empty_like(order)
    everybody = np.arange(len(X), dtype=np.int32)
    place[order] = everybody
    lists = np.empty((len(X), min(k + _SPARE, len(X) - 1)), np.uint32)
    directions = leading_directions(compared, center)
    join = _kernels.SelfJoin(compared, order, center, directions, threads)
    fewest = -(-2 * lists.shape[1] // _kernels.GROUP_ROWS)  # that fill the lists
    join.nearby(max(effort.visited(len(X)), fewest), lists, threads)
    del join
    encoded = _kernels.EncodedRows(compared, order, center, threads)
    del compared

    def settle(rows: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        distances = np.empty((len(rows), k), np.float32)
        indices = np.empty((len(rows), k), np.int32)
        _kernels.settle(X, order, lists, metric, place[rows], distances, indices, threads)
        return distances, indices

    rng = np.random.Generator(np.random.Philox(seed))
    drawn = np.sort(rng.choice(len(X), min(effort.sample, len(X)), replace=False)).astype(np.int32)
    exact, _ = nearest_others(X, drawn, k, metric, n_threads=threads, memory_limit=memory_limit)
    measured = _measure(settle(drawn)[0], exact)
    other = np.empty_like(lists)
    for number in range(effort.passes):
        before = measured.estimate
        if before >= recall:
            break
        share = effort.fans[min(number, len(effort.fans) - 1)]
        encoded.refine(lists, other, max(1, round(share * lists.shape[1])), threads)
        lists, other = other, lists
        measured = _measure(settle(drawn)[0], exact)
        if share == 1 and measured.estimate - before < effort.gain:
            break
    del other, encoded
    distances, indices = settle(everybody)
    return Approximation(distances, indices, measured)


def nearest_others(
    X: NDArray[Any],
    rows: NDArray[np.int32],
    k: int,
    metric: str,
    *,
    device: str = "auto",
    n_threads: int | None = None,
    memory_limit: int | str | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Find the k nearest other rows of some rows exactly."""
    distances, indices = nearest_neighbors(
        X[rows],
        X,
        n_neighbors=k + 1,
        metric=metric,
        device=device,
        n_threads=n_threads,
        memory_limit=memory_limit,
    )
    # Of more than k equals of a row, it may not be among the first itself: then the last goes.
    keep = indices != np.asarray(rows)[:, None]
    keep[keep.all(axis=1), -1] = False
    return distances[keep].reshape(-1, k), indices[keep].reshape(-1, k)


def _measure(found: NDArray[np.float32], exact: NDArray[np.float32]) -> Recall:
    """Count what is as near as the true neighbours are: which of equals is found is no matter."""
    shares = (found <= exact[:, -1:]).mean(axis=1)
    estimate = float(shares.mean())
    doubt = _NORMAL_95 * float(shares.std()) / math.sqrt(len(shares))
    low, high = max(0.0, estimate - doubt), min(1.0, estimate + doubt)
    return Recall(estimate, low, high, len(shares))
