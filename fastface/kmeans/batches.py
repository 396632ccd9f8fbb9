"""One step of mini-batch k-means, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.reference_kmeans import squared_norms
from fastface.kmeans.fixed_point import grid_bits, power_of_two_below
from fastface.kmeans.lloyd import ClusterSums, Problem, inertia_of, shift_of
from fastface.kmeans.randomness import Draws, Purpose
from fastface.kmeans.rows import RowBlocks

__all__ = ["BatchDraw", "BatchState", "EarlyStop", "batch_step"]

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


@dataclass
class BatchState:
    """Centers, how much weight each has seen, and how long ago starved ones were moved."""

    centers: Matrix
    counts: NDArray[np.float64]
    since_reassignment: int

    @classmethod
    def start(cls, centers: Matrix) -> BatchState:
        """Return the state before the first batch."""
        return cls(centers, np.zeros(len(centers)), 0)


def batch_step(
    batch: Problem, state: BatchState, draws: Draws, step: int, reassignment_ratio: float
) -> float:
    """Move every center towards its rows of the batch; return the batch's inertia before that.

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
    before = state.counts[hit]
    moved = centers[hit].astype(np.float64) * before[:, None]
    moved += grid.decode(totals.sums[:, hit])
    state.counts[hit] = before + mass[hit]
    if batch.metric == "cosine":
        lengths = np.sqrt(squared_norms(moved))
        hit, moved, lengths = hit[lengths > 0], moved[lengths > 0], lengths[lengths > 0]
    else:
        lengths = state.counts[hit]
    state.centers = centers.copy()
    state.centers[hit] = moved / lengths[:, None]
    _reassign(X, state, draws, step, reassignment_ratio)
    return inertia


def _reassign(X: Matrix, state: BatchState, draws: Draws, step: int, ratio: float) -> None:
    """Move centers that got hardly any rows to random rows of the batch."""
    state.since_reassignment += len(X)
    due = state.since_reassignment >= _REASSIGN_EVERY * len(state.counts)
    if not (due or (state.counts == 0.0).any()):
        return
    state.since_reassignment = 0
    if ratio == 0.0:
        return
    starved = state.counts < ratio * state.counts.max()
    most = int(_REASSIGN_MOST * len(X))
    if starved.sum() > most:
        starved[np.argsort(state.counts, kind="stable")[most:]] = False
    if not starved.any():
        return
    rows = draws.distinct(len(X), int(starved.sum()), Purpose.REASSIGNMENT, step)
    state.centers[starved] = X[rows]
    # Not so few that they would be moved again at once.
    state.counts[starved] = state.counts[~starved].min()


class EarlyStop:
    """scikit-learn's two rules: centers hardly move, or the smoothed inertia does not improve."""

    def __init__(
        self, n_rows: int, batch_size: int, tol: float, max_no_improvement: int | None
    ) -> None:
        self._share = min(1.0, batch_size * 2.0 / (n_rows + 1))
        self._batch_size = batch_size
        self._tol = tol
        self._patience = max_no_improvement
        self._best: float | None = None
        self._waited = 0
        self.smoothed: float | None = None

    def after(
        self, step: int, n_steps: int, inertia: float, before: Matrix, centers: Matrix
    ) -> str:
        """Return why to stop after this step, or nothing."""
        if step == 0:  # its inertia is that of the start
            return ""
        mean = inertia / self._batch_size
        if self.smoothed is None:
            self.smoothed = mean
        else:
            self.smoothed = self.smoothed * (1 - self._share) + mean * self._share
        if self._tol > 0.0 and shift_of(before, centers) <= self._tol:
            return "small centers change"
        if self._best is None or self.smoothed < self._best:
            self._waited, self._best = 0, self.smoothed
        else:
            self._waited += 1
        if self._patience is not None and self._waited >= self._patience:
            return "lack of improvement in inertia"
        return ""
