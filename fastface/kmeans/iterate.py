"""Lloyd's algorithm from start to end, over all rows of this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastface.kmeans.empty import relocate_empty
from fastface.kmeans.lloyd import (
    Assigner,
    ClusterSums,
    ExhaustiveAssigner,
    Matrix,
    Problem,
    inertia_of,
    next_centers,
    partial_step,
    shift_of,
)

__all__ = ["IterationState", "LloydResult", "assign_all", "iterate"]


@dataclass(frozen=True)
class LloydResult:
    """Where the iterations ended: labels belong to the centers."""

    labels: NDArray[np.int32]
    centers: Matrix
    inertia: float
    n_iter: int


@dataclass(frozen=True)
class IterationState:
    """What one iteration did; enough to go on from."""

    iteration: int
    centers: Matrix  # the rows were assigned to these
    labels: NDArray[np.int32]
    moved_centers: Matrix  # and these are their means
    moved: int
    shift: float


def iterate(
    problem: Problem,
    centers: Matrix,
    *,
    max_iter: int,
    tol: float,
    assigner: Assigner | None = None,
    after: Callable[[IterationState], object] = lambda state: None,
    resume: tuple[int, Matrix] | None = None,
) -> LloydResult:
    """Alternate assignment and update until labels stay, centers hardly move, or `max_iter`.

    Parameters
    ----------
    problem : Problem
        All rows.
    centers : ndarray of shape (n_clusters, n_features)
        Where to start.
    max_iter : int
        Most iterations.
    tol : float
        Stop when the squared shifts of the centers sum to no more.
    assigner : Assigner, optional
        Compares with every center by default.
    after : callable
        Called with the state after every iteration.
    resume : (int, ndarray), optional
        Iterations that were done, and the centers that the last of them assigned to; `centers`
        are then those it moved to.

    Returns
    -------
    LloydResult
        Labels, centers, inertia and number of iterations.
    """
    n, (n_clusters, n_features) = len(problem.rows), centers.shape
    assigner = assigner or ExhaustiveAssigner(problem)
    assigner.forget()
    grid = problem.grid()
    totals = ClusterSums.zeros(n_clusters, n_features)
    latest: NDArray[np.int32] | None = None
    spare = np.empty(n, np.int32)
    done = 0
    if resume is not None:
        done, before = resume
        latest, spare = spare, np.empty(n, np.int32)
        partial_step(problem, before, assigner, grid, latest, None, totals)
    settled = False
    for iteration in range(done + 1, max_iter + 1):
        first = latest is None
        moved = partial_step(problem, centers, assigner, grid, spare, latest, totals)
        latest, spare = spare, (np.empty(n, np.int32) if latest is None else latest)
        seated = relocate_empty(problem, totals, grid, centers, latest)
        moved_centers = next_centers(seated, grid, centers, problem.metric)
        shift = shift_of(centers, moved_centers)
        after(IterationState(iteration, centers, latest, moved_centers, moved, shift))
        done = iteration
        # Assigned to the same centers once more, rows would get the same labels.
        settled = np.array_equal(centers, moved_centers)
        centers = moved_centers
        if shift <= tol or (moved == 0 and not first):
            break
    if latest is None or not settled:
        latest = assign_all(problem, centers, assigner, latest)
    return LloydResult(latest, centers, float(inertia_of(problem, centers, latest)), done)


def assign_all(
    problem: Problem,
    centers: Matrix,
    assigner: Assigner,
    previous: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Return the labels of all rows; `previous` may help the assigner."""
    labels = np.empty(len(problem.rows), np.int32)
    assigner.begin(centers)
    for part, chunk in problem.rows:
        before = None if previous is None else previous[part]
        labels[part] = assigner.assign(part, chunk, before)
    return labels
