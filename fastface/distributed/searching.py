"""Searches of partitions in partitions, exact to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.distances import nearest_neighbors
from fastface.distributed.cluster import Shared, gather, submit
from fastface.distributed.inputs import DividedRows
from fastface.distributed.merging import NOBODY, empty_lists, merge_found, merge_lists
from fastface.distributed.partition import open_rows
from fastface.errors import InvalidInputError
from fastface.graph import unit_rows
from fastface.graph.approximate import Recall

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = [
    "Lists",
    "Search",
    "check_rows",
    "completed",
    "drawn_rows",
    "exact_lists",
    "measured",
    "name_type",
    "split_names",
    "take_rows",
]

_SAMPLE = 1000  # rows that the recall is measured on
_NORMAL_95 = 1.96

Keyed = tuple[NDArray[np.float64], NDArray[np.int64]]
Lists = tuple[NDArray[np.float32], NDArray[Any]]


@dataclass(frozen=True)
class Search:
    """What is searched for, and how.

    Attributes
    ----------
    k : int
        Neighbours of a row.
    metric : str
        Distance.
    normalize : bool
        Whether rows are scaled to length one first.
    device : str
        Where.
    n_threads : int
        Threads of one task.
    """

    k: int
    metric: str
    normalize: bool
    device: str
    n_threads: int

    def rows(self, source: Any) -> NDArray[Any]:
        """Return the rows of a partition as they are compared."""
        rows = open_rows(source)
        return unit_rows(rows) if self.normalize else rows


def name_type(n_rows: int) -> np.dtype[Any]:
    """Return the type of row numbers."""
    return np.dtype(np.int32 if n_rows <= np.iinfo(np.int32).max else np.int64)


def check_rows(rows: DividedRows, client: Client, normalize: bool) -> None:
    """Refuse values that cannot be compared, naming the first row.

    Raises
    ------
    InvalidInputError
        If a value is not finite, or a row of zeros has no direction.
    """
    answers = gather(client, [submit(client, _bad_rows, source) for source in rows.sources])
    for first, (bad, zero) in zip(rows.first_rows, answers, strict=True):
        if bad is not None:
            raise InvalidInputError(
                f"X[{first + bad}] holds a value that is not finite, or beyond 1e150: drop or"
                " repair such rows"
            )
        if normalize and zero is not None:
            raise InvalidInputError(
                f"row {first + zero} of X is all zero and has no direction to compare: drop it"
            )


def _bad_rows(source: Any) -> tuple[int | None, int | None]:
    bad = zero = None
    rows = open_rows(source)
    for start in range(0, len(rows), 1 << 14):
        block = rows[start : start + (1 << 14)]
        peaks = np.abs(block.astype(np.float64)).max(axis=1)
        unusable = np.flatnonzero(~(peaks <= 1e150))
        if bad is None and len(unusable):
            bad = start + int(unusable[0])
        nothing = np.flatnonzero(peaks == 0)
        if zero is None and len(nothing):
            zero = start + int(nothing[0])
    return bad, zero


def exact_lists(rows: DividedRows, search: Search, client: Client) -> list[Future]:
    """Search every partition in every other one, in a ring so that all are busy with others."""
    n, names = len(rows.sources), name_type(rows.n_rows)
    lists = []
    for i in range(n):
        state: Any = None
        for j in (*range(i, n), *range(i)):
            one, other, first = rows.sources[i], rows.sources[j], rows.first_rows[j]
            state = submit(client, _advance, state, one, other, first, i == j, search)
        lists.append(submit(client, _settled, state, search.metric, names))
    return lists


def _advance(
    state: Keyed | None, source: Any, other: Any, first: int, is_same: bool, search: Search
) -> Keyed:
    x = search.rows(source)
    y = x if is_same else search.rows(other)
    keys, names = empty_lists(len(x), search.k, np.float64) if state is None else state
    keys, names = keys.copy(), names.copy()  # the result of another task
    near = min(search.k, len(y) - is_same)
    if near > 0:
        _, found = nearest_neighbors(
            x,
            y,
            n_neighbors=near,
            metric=search.metric,
            exclude_self=is_same,
            device=search.device,
            n_threads=search.n_threads,
        )
        merge_found(keys, names, x, y, found, first, search.metric)
    return keys, names


def distance_of_keys(keys: NDArray[np.float64], metric: str) -> NDArray[np.float32]:
    """Return distances from the float64 values by which neighbours are ordered."""
    with np.errstate(over="ignore"):
        return (np.sqrt(keys) if metric == "euclidean" else keys).astype(np.float32)


def _settled(state: Keyed, metric: str, names: np.dtype[Any]) -> Lists:
    return distance_of_keys(state[0], metric), state[1].astype(names)


def exact_lists_of(
    X: NDArray[Any], names: NDArray[np.int64], rows: DividedRows, search: Search, client: Client
) -> Keyed:
    """Search a few rows, themselves among `rows` by these names, exactly."""
    X_there, names_there = Shared(client, X), Shared(client, names)
    parts = gather(
        client,
        [
            submit(client, _search_some, source, first, X_there, names_there, search)
            for source, first in zip(rows.sources, rows.first_rows, strict=True)
        ],
    )
    joined: Keyed = reduce(_joined, parts)
    return joined


def _search_some(
    source: Any, first: int, X: NDArray[Any], names: NDArray[np.int64], search: Search
) -> Keyed:
    y = search.rows(source)
    wanted = search.k + 1  # one of them may be the row itself
    keys, found_names = empty_lists(len(X), wanted, np.float64)
    _, found = nearest_neighbors(
        X,
        y,
        n_neighbors=min(wanted, len(y)),
        metric=search.metric,
        device=search.device,
        n_threads=search.n_threads,
    )
    merge_found(keys, found_names, X, y, found, first, search.metric)
    keep = found_names != names[:, None]
    keep[keep.all(axis=1), -1] = False
    return keys[keep].reshape(-1, search.k), found_names[keep].reshape(-1, search.k)


def _joined(one: Keyed, other: Keyed) -> Keyed:
    keys, names = one[0].copy(), one[1].copy()
    merge_lists(keys, names, np.arange(len(keys)), *other)
    return keys, names


def completed(
    lists: list[Future], rows: DividedRows, search: Search, client: Client
) -> list[Future]:
    """Search rows whose lists are not full, which happens in regions of hardly any rows."""
    missing = gather(client, [submit(client, _incomplete, one) for one in lists])
    for i, here in enumerate(missing):
        if len(here):
            (X,) = gather(client, [submit(client, take_rows, rows.sources[i], here, search)])
            keys, names = exact_lists_of(X, here + rows.first_rows[i], rows, search, client)
            found = distance_of_keys(keys, search.metric), names
            lists[i] = submit(client, _replaced, lists[i], here, found)
    return lists


def _incomplete(lists: Lists) -> NDArray[np.int64]:
    return np.flatnonzero((lists[1] == NOBODY).any(axis=1))


def _replaced(lists: Lists, here: NDArray[np.int64], found: Lists) -> Lists:
    distances, names = lists[0].copy(), lists[1].copy()
    distances[here], names[here] = found
    return distances, names


def take_rows(source: Any, here: NDArray[np.int64], search: Search) -> NDArray[Any]:
    """Return some rows of a partition as they are compared."""
    rows = np.ascontiguousarray(open_rows(source)[here])
    return unit_rows(rows) if search.normalize else rows


def measured(
    lists: list[Future], rows: DividedRows, search: Search, seed: int, client: Client
) -> Recall:
    """Count what is as near as the true neighbours are, on rows drawn by chance."""
    n = rows.n_rows
    rng = np.random.Generator(np.random.Philox(key=[seed, 1 << 32]))
    drawn = np.sort(rng.choice(n, min(_SAMPLE, n), replace=False, shuffle=False))
    X, have = drawn_rows(drawn, rows, search, client), []
    for one, here in zip(lists, split_names(drawn, rows), strict=True):
        if len(here):
            have.append(submit(client, _distances_of, one, here))
    keys, _ = exact_lists_of(X, drawn, rows, search, client)
    exact = distance_of_keys(keys, search.metric)
    shares = (np.concatenate(gather(client, have)) <= exact[:, -1:]).mean(axis=1)
    estimate = float(shares.mean())
    doubt = _NORMAL_95 * float(shares.std()) / np.sqrt(len(shares))
    return Recall(estimate, max(0.0, estimate - doubt), min(1.0, estimate + doubt), len(shares))


def _distances_of(lists: Lists, here: NDArray[np.int64]) -> NDArray[np.float32]:
    return lists[0][here]


def split_names(names: NDArray[np.int64], rows: DividedRows) -> list[NDArray[np.int64]]:
    """Cut sorted names of rows by partition, counted within each."""
    cuts = np.searchsorted(names, [*rows.first_rows, rows.n_rows])
    return [
        names[low:high] - first
        for low, high, first in zip(cuts[:-1], cuts[1:], rows.first_rows, strict=True)
    ]


def drawn_rows(
    names: NDArray[np.int64], rows: DividedRows, search: Search, client: Client
) -> NDArray[Any]:
    """Bring a few rows here, as they are compared."""
    asked = [
        submit(client, take_rows, source, here, search)
        for source, here in zip(rows.sources, split_names(names, rows), strict=True)
        if len(here)
    ]
    return np.concatenate(gather(client, asked))
