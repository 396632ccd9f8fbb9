"""Which way rows find their center: all of them, or those that no bound rules out."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.reference_kmeans import squared_norms
from fastface.errors import InvalidInputError
from fastface.kmeans.lloyd import Assigner, ExhaustiveAssigner, Problem

__all__ = ["AutoAssigner", "PrunedAssigner", "make_assigner"]

Matrix = NDArray[Any]
_LEAST_GROUPS = 4  # fewer leave nothing to skip
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
    needed = PrunedAssigner.memory(problem, n_clusters)
    fits = spare is None or needed <= spare
    if algorithm in ("pruned", "elkan"):
        if not fits:
            raise InvalidInputError(
                f"algorithm={algorithm!r} keeps {needed} bytes of bounds, and the memory limit"
                f" leaves {spare}: raise it, or use algorithm='auto' or 'lloyd'"
            )
        return PrunedAssigner(problem, n_clusters)
    n_groups = -(-n_clusters // problem.kernels.group_size())
    worth = (
        n_groups >= _LEAST_GROUPS
        and problem.n_features >= _LEAST_FEATURES
        and len(problem.rows) >= _LEAST_ROWS
        and (fits if spare is not None else needed <= max(problem.rows.X.nbytes, _FREE_BYTES))
    )
    return AutoAssigner(problem, n_clusters) if worth else ExhaustiveAssigner(problem)


class PrunedAssigner:
    """Skips groups of centers that cannot hold a row's nearest.

    The first iteration compares everything.  Then centers are put into groups of similar ones, and
    every row keeps a lower bound on its distance to each group.
    """

    name = "pruned"

    def __init__(self, problem: Problem, n_clusters: int) -> None:
        self._problem = problem
        self._exhaustive = ExhaustiveAssigner(problem)
        self._n_groups = -(-n_clusters // problem.kernels.group_size())
        self._lower: NDArray[np.float32] | None = None
        self._centers: Matrix | None = None
        self._grouped = False
        self.scored_pairs = self.decided_pairs = 0

    @staticmethod
    def memory(problem: Problem, n_clusters: int) -> int:
        """Return the bytes that bounds take."""
        return 4 * len(problem.rows) * -(-n_clusters // problem.kernels.group_size())

    def forget(self) -> None:
        """Start anew, with other centers."""
        self._lower, self._centers, self._grouped = None, None, False

    def begin(self, centers: Matrix) -> None:
        """Take new centers, and find how far each group went."""
        self.scored_pairs = self.decided_pairs = 0
        before, self._centers = self._centers, centers
        self._exhaustive.begin(centers)
        if self._lower is not None and before is not None:
            moves = _moves(before, centers, self._problem.metric)[self._names]
            starts = np.arange(0, len(centers), self._problem.kernels.group_size())
            # Rounded up to float32.
            self._moves = np.nextafter(
                np.maximum.reduceat(moves, starts).astype(np.float32), np.float32(np.inf)
            )

    def assign(
        self, part: slice, chunk: Matrix, previous: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """Return the labels of a chunk."""
        if previous is None or self._centers is None:
            return self._exhaustive.assign(part, chunk, previous)
        if self._lower is None:
            self._group(self._centers)
        assert self._lower is not None  # noqa: S101
        labels = previous.copy()
        scored, decided = self._problem.kernels.assign_pruned(
            chunk,
            self._centers[self._names],
            self._names,
            self._places,
            self._moves,
            self._problem.metric,
            labels,
            self._lower[:, part],
            n_threads=self._problem.n_threads,
        )
        self.scored_pairs += scored
        self.decided_pairs += decided
        return labels

    def _group(self, centers: Matrix) -> None:
        self._names = _similar_order(self._problem, centers, self._n_groups)
        self._places = np.empty_like(self._names)
        self._places[self._names] = np.arange(len(centers), dtype=np.int32)
        self._lower = np.zeros((self._n_groups, len(self._problem.rows)), np.float32)
        self._moves = np.zeros(self._n_groups, np.float32)


def _moves(before: Matrix, after: Matrix, metric: str) -> NDArray[np.float64]:
    """Return how far every center went, rounded up; between unit vectors for cosine."""
    a, b = before.astype(np.float64), after.astype(np.float64)
    if metric != "cosine":
        return np.sqrt(squared_norms(a - b)) * (1.0 + 1e-9)
    norms_a, norms_b = np.sqrt(squared_norms(a)), np.sqrt(squared_norms(b))
    known = (norms_a > 1e-140) & (norms_b > 1e-140)
    moves = np.where((a == b).all(axis=1), 0.0, 2.0)
    difference = a[known] / norms_a[known, None] - b[known] / norms_b[known, None]
    moves[known] = np.sqrt(squared_norms(difference)) * (1.0 + 1e-9) + 1e-14
    return moves


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

    def __init__(self, problem: Problem, n_clusters: int) -> None:
        self._pruned = PrunedAssigner(problem, n_clusters)
        self._exhaustive = ExhaustiveAssigner(problem)
        self._seconds: dict[str, float] = {}
        self._trials = 0
        self._gave_up = False

    @property
    def name(self) -> str:
        """The way in use."""
        return self._exhaustive.name if self._gave_up else self._pruned.name

    def begin(self, centers: Matrix) -> None:
        """Take new centers."""
        if self._trials == _TRIALS + 1 and self._seconds["pruned"] > self._seconds["lloyd"]:
            self._gave_up = True
            self._pruned.forget()
        self._trials += 1
        self._seconds["pruned"] = 0.0
        self._active: Assigner = self._exhaustive if self._gave_up else self._pruned
        self._active.begin(centers)

    def forget(self) -> None:
        """Start anew, with other centers."""
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
