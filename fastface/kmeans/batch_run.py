"""One call of `MiniBatchKMeans.fit`: its batches, reports and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastface.kmeans.batches import BatchDraw, BatchState, Improvement, batch_step
from fastface.kmeans.checkpoint import BatchProgress, Checkpoint, describe_init, fingerprint
from fastface.kmeans.lloyd import Matrix, Problem, shift_of
from fastface.kmeans.randomness import Draws
from fastface.kmeans.rows import mean_variance

if TYPE_CHECKING:
    from fastface.kmeans.minibatch import MiniBatchKMeans

__all__ = ["BatchReport", "BatchRun"]

_SAVE_SECONDS = 1.0  # between checkpoints: a batch may take less time than a file
_SAVE_SHARE = 0.05  # of the time that saving may take


@dataclass(frozen=True)
class BatchReport:
    """What a `callback` is told after every batch.

    Attributes
    ----------
    step : int
        From 1.
    n_steps : int
        Most steps.
    inertia : float
        Mean of the batch, before its update.
    smoothed_inertia : float or None
        Exponentially weighted mean over the batches, by which the fit stops early.
    seconds : float
        What the step took.
    """

    step: int
    n_steps: int
    inertia: float
    smoothed_inertia: float | None
    seconds: float


class BatchRun:
    """One call of `MiniBatchKMeans.fit`.

    Parameters
    ----------
    model : MiniBatchKMeans
        Its parameters are checked.
    problem : Problem
        All rows.
    draws : Draws
        Randomness.
    """

    def __init__(self, model: MiniBatchKMeans, problem: Problem, draws: Draws) -> None:
        n = len(problem.rows)
        self._model, self._problem, self._draws = model, problem, draws
        self.batch_size = min(model.batch_size, n)
        self.n_steps = (model.max_iter * n) // self.batch_size
        self._share = min(1.0, self.batch_size * 2.0 / (n + 1))
        self._tol = model.tol and model.tol * mean_variance(
            problem.rows, problem.columns, problem.kernels, problem.n_threads
        )
        self._checkpoint = (
            None
            if model.checkpoint is None
            else Checkpoint(model.checkpoint, BatchProgress, self._job())
        )
        self._due = 0.0
        self.state: BatchState | None = None
        self.improvement = Improvement()
        self.step = 0
        self._finished = False

    def all(self, start: Callable[[], Matrix]) -> None:
        """Make the batches that are not done yet, from `start` if there are none."""
        if self._checkpoint is not None and (stored := self._checkpoint.load()) is not None:
            self._go_on_from(stored)
        if self.state is None:
            self.state = BatchState.start(start())
            self._save()
        batches = BatchDraw(self._problem, self.batch_size, self._draws)
        try:
            while not self._finished:
                self._one(batches)
        except KeyboardInterrupt:
            self._save()
            raise

    def _one(self, batches: BatchDraw) -> None:
        began = time.perf_counter()
        assert self.state is not None  # noqa: S101
        before, step = self.state, self.step
        after, inertia = batch_step(
            batches.draw(step), before, self._draws, step, self._model.reassignment_ratio
        )
        mean = inertia / self.batch_size
        improvement, why = self.improvement, ""
        if step > 0:  # the inertia of the first batch is that of the start
            improvement = improvement.after(mean, self._share)
            why = self._reason_to_stop(improvement, before.centers, after.centers)
        self.state, self.improvement, self.step = after, improvement, step + 1
        self._finished = bool(why) or self.step >= self.n_steps
        if self._finished or time.perf_counter() >= self._due:
            self._save()
        self._report(mean, began, why)

    def _reason_to_stop(self, improvement: Improvement, before: Matrix, after: Matrix) -> str:
        """Return which of scikit-learn's two rules ends the fit, or nothing."""
        if self._tol > 0.0 and shift_of(before, after) <= self._tol:
            return "small centers change"
        patience = self._model.max_no_improvement
        if patience is not None and improvement.waited >= patience:
            return "lack of improvement in inertia"
        return ""

    def _report(self, inertia: float, began: float, why: str) -> None:
        smoothed, step, n_steps = self.improvement.smoothed, self.step, self.n_steps
        if self._model.verbose:
            told = "" if smoothed is None else f", ewa inertia: {smoothed}"
            print(f"Minibatch step {step}/{n_steps}: mean batch inertia: {inertia}{told}")
            if why:
                print(f"Converged ({why}) at step {step}/{n_steps}")
        if self._model.callback is not None:
            seconds = time.perf_counter() - began
            self._model.callback(BatchReport(step, n_steps, inertia, smoothed, seconds))

    def _save(self) -> None:
        if self._checkpoint is None or self.state is None:
            return
        began = time.perf_counter()
        self._checkpoint.save(
            BatchProgress(
                self.step,
                self.state.since_reassignment,
                self.improvement.waited,
                self._finished,
                self.state.centers,
                self.state.counts,
                self.improvement.best,
                self.improvement.smoothed,
            )
        )
        now = time.perf_counter()
        self._due = now + max(_SAVE_SECONDS, (now - began) / _SAVE_SHARE)

    def _go_on_from(self, stored: BatchProgress) -> None:
        self.state = BatchState(stored.centers, stored.counts, stored.since_reassignment)
        self.improvement = Improvement(stored.smoothed, stored.best, stored.waited)
        self.step, self._finished = stored.step, stored.finished

    def _job(self) -> dict[str, Any]:
        model, X = self._model, self._problem.rows.X
        return {
            "estimator": "MiniBatchKMeans",
            "rows": fingerprint(X, self._problem.weights),
            "shape": list(X.shape),
            "dtype": str(X.dtype),
            "seed": self._draws.key_text(),
            "init": describe_init(model.init),
            "n_init": model.n_init,
            "init_size": model.init_size,
            "n_clusters": model.n_clusters,
            "max_iter": model.max_iter,
            "batch_size": model.batch_size,
            "tol": float(model.tol),
            "max_no_improvement": model.max_no_improvement,
            "reassignment_ratio": float(model.reassignment_ratio),
            "metric": model.metric,
        }
