"""Lloyd's algorithm from start to end, whoever holds the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastface.kmeans.empty import relocate_empty
from fastface.kmeans.lloyd import Matrix, next_centers, shift_of
from fastface.kmeans.owner import RowOwner

__all__ = ["IterationState", "LloydResult", "iterate"]


@dataclass(frozen=True)
class LloydResult:
    """Where the iterations ended: labels belong to the centers."""

    labels: Any
    centers: Matrix
    inertia: float
    n_iter: int


@dataclass(frozen=True)
class IterationState:
    """What one iteration did; enough to go on from."""

    iteration: int
    centers: Matrix  # the rows were assigned to these
    moved_centers: Matrix  # and these are their means
    moved: int
    shift: float


def iterate(
    rows: RowOwner,
    centers: Matrix,
    *,
    max_iter: int,
    tol: float,
    after: Callable[[IterationState], object] = lambda state: None,
    resume: tuple[int, Matrix] | None = None,
) -> LloydResult:
    """Alternate assignment and update until labels stay, centers hardly move, or `max_iter`.

    Parameters
    ----------
    rows : RowOwner
        All rows.
    centers : ndarray of shape (n_clusters, n_features)
        Where to start.
    max_iter : int
        Most iterations.
    tol : float
        Stop when the squared shifts of the centers sum to no more.
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
    grid = rows.grid()
    rows.begin()
    done = 0
    if resume is not None:
        done, before = resume
        rows.step(before)
    for iteration in range(done + 1, max_iter + 1):
        totals, moved = rows.step(centers)
        moved_centers = next_centers(totals, grid, centers, rows.metric)
        some, seated = relocate_empty(totals, rows.farthest)
        moved_centers[some] = next_centers(seated, grid, centers[some], rows.metric)
        shift = shift_of(centers, moved_centers)
        after(IterationState(iteration, centers, moved_centers, moved, shift))
        centers, done = moved_centers, iteration
        if shift <= tol or (moved == 0 and iteration > 1):
            break
    # Where centers stayed, labels belong to them already.
    rows.settle(centers)
    return LloydResult(rows.labels, centers, float(rows.inertia()), done)
