"""One step of mini-batch k-means, and whether it still improves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.reference_kmeans import squared_norms
from fastface.kmeans.fixed_point import grid_bits, power_of_two_below
from fastface.kmeans.lloyd import ClusterSums, Problem, inertia_of
from fastface.kmeans.randomness import Draws, Purpose
from fastface.kmeans.rows import RowBlocks

__all__ = ["BatchDraw", "BatchState", "Improvement", "batch_step"]

Matrix = NDArray[Any]
_RELEASE_EVERY = 64  # batches, for mapped files
_REASSIGN_EVERY = 10  # rows, in units of n_clusters
_REASSIGN_MOST = 0.5  # of a batch


class BatchDraw:
    """Batches of random rows, drawn with replacement in proportion to their weight."""

    def __init__(self, problem: Problem, batch_size: int, draws: Draws) -> None:
        self._problem, self._size, self._draws = problem, batch_size, draws
        self._running: NDArray[np.int64] | None = None
        if problem.weights is not None:
            bits = grid_bits(len(problem.weights))
            scale = float(power_of_two_below(problem.largest_weight, bits))
            self._running = np.cumsum(np.rint(problem.weights * scale).astype(np.int64))

    def draw(self, step: int) -> Problem:
        """Return the batch of one step, whose rows all weigh the same."""
        p, rows = self._problem, self._problem.rows
        uniform = self._draws.uniform(Purpose.BATCH, step, 0, self._size)
        if self._running is None:
            chosen = (uniform * len(rows)).astype(np.int64)
        else:
            targets = (uniform * float(self._running[-1])).astype(np.int64)
            chosen = np.searchsorted(self._running, targets, side="right")
        chosen.sort()
        batch = rows.X[np.minimum(chosen, len(rows) - 1)]
        if step % _RELEASE_EVERY == 0:
            rows.release()
        return Problem.over(
            RowBlocks(batch), p.kernels, p.metric, None, n_threads=p.n_threads, columns=None
        )


@dataclass(frozen=True)
class BatchState:
    """Centers, how much weight each has seen, and how long ago starved ones were moved."""

    centers: Matrix
    counts: NDArray[np.float64]
    since_reassignment: int = 0

    @classmethod
    def start(cls, centers: Matrix) -> BatchState:
        """Return the state before the first batch."""
        return cls(centers, np.zeros(len(centers)))


def batch_step(
    batch: Problem, state: BatchState, draws: Draws, step: int, reassignment_ratio: float
) -> tuple[BatchState, float]:
    """Move every center towards its rows of the batch; tell the batch's inertia before that.

    A center is the mean of all rows it ever got.  With the cosine metric, that of unit rows, scaled
    to one again.
    """
    centers, X = state.centers, batch.rows.X
    labels = batch.kernels.nearest_center(X, centers, batch.metric, n_threads=batch.n_threads)
    inertia = float(inertia_of(batch, centers, labels))
    grid = batch.grid()
    totals = ClusterSums.zeros(*centers.shape)
    batch.kernels.accumulate(
        X,
        labels,
        None,
        batch.factors,
        batch.masses,
        grid.scales,
        grid.mass_scale,
        grid.low_scale,
        totals.sums,
        totals.mass,
        n_threads=batch.n_threads,
    )
    mass = grid.decode_mass(totals.mass)
    hit = np.flatnonzero(mass > 0.0)
    counts = state.counts.copy()
    moved = centers[hit].astype(np.float64) * counts[hit, None]
    moved += grid.decode(totals.sums[:, hit])
    counts[hit] += mass[hit]
    if batch.metric == "cosine":
        lengths = np.sqrt(squared_norms(moved))
        hit, moved, lengths = hit[lengths > 0], moved[lengths > 0], lengths[lengths > 0]
    else:
        lengths = counts[hit]
    centers = centers.copy()
    centers[hit] = moved / lengths[:, None]
    after = BatchState(centers, counts, state.since_reassignment + len(X))
    return _reassigned(X, after, draws, step, reassignment_ratio), inertia


def _reassigned(X: Matrix, state: BatchState, draws: Draws, step: int, ratio: float) -> BatchState:
    """Move centers that got hardly any rows to random rows of the batch."""
    centers, counts = state.centers, state.counts
    due = state.since_reassignment >= _REASSIGN_EVERY * len(counts)
    if not (due or (counts == 0.0).any()):
        return state
    state = replace(state, since_reassignment=0)
    if ratio == 0.0:
        return state
    starved = counts < ratio * counts.max()
    most = int(_REASSIGN_MOST * len(X))
    if starved.sum() > most:
        starved[np.argsort(counts, kind="stable")[most:]] = False
    if not starved.any():
        return state
    rows = draws.distinct(len(X), int(starved.sum()), Purpose.REASSIGNMENT, step)
    centers[starved] = X[rows]
    # Not so few that they would be moved again at once.
    counts[starved] = counts[~starved].min()
    return state


@dataclass(frozen=True)
class Improvement:
    """The exponentially weighted inertia of batches, and how long ago it was best."""

    smoothed: float | None = None
    best: float | None = None
    waited: int = 0

    def after(self, inertia: float, share: float) -> Improvement:
        """Return what it is after one more batch, whose mean inertia counts as `share`."""
        if self.smoothed is None:
            smoothed = inertia
        else:
            smoothed = self.smoothed * (1 - share) + inertia * share
        if self.best is None or smoothed < self.best:
            return Improvement(smoothed, smoothed, 0)
        return Improvement(smoothed, self.best, self.waited + 1)
