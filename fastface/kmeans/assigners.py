"""Which way rows find their center: all of them, or those that no bound rules out."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InvalidInputError
from fastface.kmeans.lloyd import Assigner, ExhaustiveAssigner, Problem

__all__ = ["AutoAssigner", "PrunedAssigner", "make_assigner"]

Matrix = NDArray[Any]
_LEAST_CLUSTERS = 97  # fewer leave little to skip
_LEAST_FEATURES = 8
_LEAST_ROWS = 2048
_FREE_BYTES = 256 << 20  # that bounds may take whatever the size of the rows
_TRIALS = 3  # pruned iterations before it has to be the faster way
_GROUPING_ITERATIONS = 5


def make_assigner(algorithm: str, problem: Problem, n_clusters: int, spare: int | None) -> Assigner:
    """Return the assigner that `algorithm` names.

    Parameters
    ----------
    algorithm : {"auto", "lloyd", "pruned", "elkan"}
        ``"elkan"`` is scikit-learn's name for ``"pruned"``.
    problem : Problem
        The rows.
    n_clusters : int
        Number of centers.
    spare : int or None
        Bytes that bounds may take; None is no limit.

    Raises
    ------
    InvalidInputError
        If ``"pruned"`` was asked for and its bounds do not fit.
    """
    if algorithm == "lloyd":
        return ExhaustiveAssigner(problem)
    needed = PrunedAssigner.memory(problem, n_clusters, keep_rows=False)
    kept = PrunedAssigner.memory(problem, n_clusters, keep_rows=True)
    if algorithm in ("pruned", "elkan"):
        if spare is not None and needed > spare:
            raise InvalidInputError(
                f"algorithm={algorithm!r} keeps {needed} bytes of bounds, and the memory limit"
                f" leaves {spare}: raise it, or use algorithm='auto' or 'lloyd'"
            )
        return PrunedAssigner(problem, n_clusters, keep_rows=spare is None or kept <= spare)
    allowed = max(problem.rows.X.nbytes, _FREE_BYTES) if spare is None else spare
    worth = (
        n_clusters >= _LEAST_CLUSTERS
        and problem.n_features >= _LEAST_FEATURES
        and len(problem.rows) >= _LEAST_ROWS
        and needed <= allowed
    )
    if not worth:
        return ExhaustiveAssigner(problem)
    return AutoAssigner(problem, n_clusters, keep_rows=kept <= allowed)


class PrunedAssigner:
    """Skips groups of centers that cannot hold a row's nearest.

    The first iteration compares everything.  Then centers are put into groups, and every row keeps
    an upper bound on what it scores in each.

    Parameters
    ----------
    problem : Problem
        The rows.
    n_clusters : int
        Number of centers.
    keep_rows : bool
        Whether rows may be kept as 8-bit integers, where those are what is scored.
    """

    name = "pruned"

    def __init__(self, problem: Problem, n_clusters: int, *, keep_rows: bool = True) -> None:
        self._problem = problem
        self._exhaustive = ExhaustiveAssigner(problem)
        self._pruner = problem.kernels.pruner(
            len(problem.rows),
            n_clusters,
            problem.metric,
            n_threads=problem.n_threads,
            keep_rows=keep_rows,
        )
        self.n_groups = self._pruner.n_groups
        self.scored_pairs = self.decided_pairs = 0
        self.forget()

    @staticmethod
    def memory(problem: Problem, n_clusters: int, *, keep_rows: bool) -> int:
        """Return the bytes that bounds take, and rows if they are kept."""
        per_row = problem.kernels.pruner_bytes(problem.n_features, n_clusters, keep_rows)
        return len(problem.rows) * per_row

    def forget(self) -> None:
        """Start anew, with other centers."""
        self._order: NDArray[np.int32] | None = None
        self._centers: Matrix | None = None

    def begin(self, centers: Matrix) -> None:
        """Take new centers."""
        self.scored_pairs = self.decided_pairs = 0
        self._anew = self._order is None
        if self._order is not None:
            self._pruner.begin(centers[self._order], self._order)
        self._centers = centers
        self._exhaustive.begin(centers)

    def assign(
        self, part: slice, chunk: Matrix, previous: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """Return the labels of a chunk."""
        assert self._centers is not None  # noqa: S101
        if previous is None:
            return self._exhaustive.assign(part, chunk, previous)
        if self._order is None:
            self._order = _similar_order(self._problem, self._centers, self.n_groups)
            self._pruner.begin(self._centers[self._order], self._order)
        labels = previous.copy()
        scored, decided = self._pruner.assign(chunk, part.start, self._anew, labels)
        self.scored_pairs += scored
        self.decided_pairs += decided
        return labels


def _similar_order(problem: Problem, centers: Matrix, n_groups: int) -> NDArray[np.int32]:
    """Return centers in an order in which neighbours are similar: any order would be right."""
    from fastface.kmeans.iterate import iterate
    from fastface.kmeans.owner import LocalRows

    start = np.ascontiguousarray(centers[np.linspace(0, len(centers) - 1, n_groups).astype(int)])
    rows = LocalRows(problem.on(centers, None))
    groups = iterate(rows, start, max_iter=_GROUPING_ITERATIONS, tol=0.0)
    wide = groups.centers.astype(np.float64)
    # Groups have no size of their own: what does not fit goes on to the next group, so that this
    # one had better be near.
    rank = np.argsort(np.argsort((wide - wide.mean(axis=0)) @ (wide[0] - wide.mean(axis=0))))
    return np.argsort(rank[groups.labels], kind="stable").astype(np.int32)


class AutoAssigner:
    """Prunes, unless comparing everything turns out to be faster."""

    def __init__(self, problem: Problem, n_clusters: int, *, keep_rows: bool = True) -> None:
        # None where it turned out to be slower: its bounds take room.
        self._pruned: PrunedAssigner | None = PrunedAssigner(
            problem, n_clusters, keep_rows=keep_rows
        )
        self._exhaustive = ExhaustiveAssigner(problem)
        self._seconds: dict[str, float] = {}
        self._trials = 0

    @property
    def name(self) -> str:
        """The way in use."""
        return (self._pruned or self._exhaustive).name

    def begin(self, centers: Matrix) -> None:
        """Take new centers."""
        if self._trials == _TRIALS + 1 and self._seconds["pruned"] > self._seconds["lloyd"]:
            self._pruned = None
        self._trials += 1
        self._seconds["pruned"] = 0.0
        self._active: Assigner = self._pruned or self._exhaustive
        self._active.begin(centers)

    def forget(self) -> None:
        """Start anew, with other centers."""
        if self._pruned is not None:
            self._pruned.forget()

    def assign(
        self, part: slice, chunk: Matrix, previous: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """Return the labels of a chunk."""
        began = time.perf_counter()
        labels = self._active.assign(part, chunk, previous)
        way = "lloyd" if previous is None else "pruned"
        self._seconds[way] = self._seconds.get(way, 0.0) + time.perf_counter() - began
        return labels
