"""One call of `KMeans.fit`: its initialisations, reports and checkpoints."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import CorruptFileError
from fastface.kmeans.assigners import make_assigner
from fastface.kmeans.base import center_dtype
from fastface.kmeans.checkpoint import Checkpoint, Progress, fingerprint
from fastface.kmeans.iterate import IterationState, LloydResult, assign_all, iterate
from fastface.kmeans.lloyd import Problem, inertia_of
from fastface.kmeans.randomness import Draws, Purpose
from fastface.kmeans.rows import mean_variance, parse_memory
from fastface.kmeans.starts import find_start

if TYPE_CHECKING:
    from fastface.kmeans.estimator import KMeans

__all__ = ["IterationReport", "Run"]

_BOUNDS_SHARE = 2  # of the memory limit that bounds may take
_SEEDING_SHARE = 2  # of the memory limit that rows gathered for k-means++ may take


@dataclass(frozen=True)
class IterationReport:
    """What a `callback` is told after every iteration.

    Attributes
    ----------
    init : int
        Number of the initialisation, from 0.
    iteration : int
        From 1.
    inertia : float
        Of the labels this iteration found, to the centers it started from.
    shift : float
        Sum of the squared ways that the centers then went.
    moved : int
        Rows that changed their cluster.
    seconds : float
        What the iteration took.
    centers : ndarray of shape (n_clusters, n_features)
        Where the centers are now; not to be written to.
    """

    init: int
    iteration: int
    inertia: float
    shift: float
    moved: int
    seconds: float
    centers: NDArray[Any]


class Run:
    """One call of `KMeans.fit`."""

    def __init__(
        self, model: KMeans, problem: Problem, given: NDArray[Any] | None, n_init: int
    ) -> None:
        self._model = model
        self._problem = problem
        self._given = given
        self._n_init = n_init
        self._dtype = center_dtype(problem.rows.X)
        self._draws = Draws(model.random_state)
        self._tol = model.tol and model.tol * mean_variance(
            problem.rows, problem.columns, problem.kernels, problem.n_threads
        )
        self._checkpoint = (
            None if model.checkpoint is None else Checkpoint(model.checkpoint, self._job())
        )
        self._progress = Progress()
        self._state: IterationState | None = None
        limit = parse_memory(model.memory_limit)
        spare = None if limit is None else limit // _BOUNDS_SHARE
        self.assigner = make_assigner(model.algorithm, problem, model.n_clusters, spare)
        self.best: LloydResult | None = None

    def all(self) -> None:
        """Work through the initialisations that are not done."""
        if self._checkpoint is not None:
            self._progress = self._checkpoint.load()
        try:
            for init in range(self._progress.init, self._n_init):
                self._one(init)
            if self.best is None:
                self.best = self._stored_best()
        except KeyboardInterrupt:
            self._keep_what_there_is()
            raise

    def _one(self, init: int) -> None:
        model, before = self._model, self._progress
        centers, resume = before.centers, None
        if before.assigned is not None:
            resume = (before.iteration, before.assigned)
        if centers is None:
            centers = self._start(init)
            self._save(replace(before, init=init, centers=centers))
        if model.verbose:
            print("Initialization complete")
        self._began = time.perf_counter()
        result = iterate(
            self._problem,
            centers,
            max_iter=model.max_iter,
            tol=self._tol,
            assigner=self.assigner,
            after=lambda state: self._after(init, state),
            resume=resume,
        )
        self._state = None
        if model.verbose:
            self._say_why(result)
        if result.inertia < before.best_inertia:
            self.best = result
            before = replace(
                before,
                best=result.centers,
                best_inertia=result.inertia,
                best_n_iter=result.n_iter,
            )
        self._save(replace(before, init=init + 1, iteration=0, assigned=None, centers=None))

    def _start(self, init: int) -> NDArray[Any]:
        model, problem = self._model, self._problem
        if self._given is not None:
            return self._given
        draws = self._draws.for_init(init)
        if callable(model.init):
            state = draws.numpy_state(Purpose.CALLABLE)
            found = model.init(problem.rows.X, model.n_clusters, random_state=state)
            return model._given_centers(found, problem.rows.X)
        limit = parse_memory(model.memory_limit)
        most_rows = None
        if limit is not None:
            most_rows = limit // _SEEDING_SHARE // (4 * problem.n_features + 64)
        return find_start(
            model.init, problem, model.n_clusters, draws, self._dtype, most_rows=most_rows
        )

    def _after(self, init: int, state: IterationState) -> None:
        model = self._model
        self._state, self._shift, self._moved = state, state.shift, state.moved
        self._save(
            replace(
                self._progress,
                iteration=state.iteration,
                assigned=state.centers,
                centers=state.moved_centers,
            )
        )
        if model.callback is None and not model.verbose:
            return
        inertia = float(inertia_of(self._problem, state.centers, state.labels))
        now = time.perf_counter()
        seconds, self._began = now - self._began, now
        if model.verbose:
            print(f"Iteration {state.iteration - 1}, inertia {inertia}.")
        if model.callback is not None:
            model.callback(
                IterationReport(
                    init,
                    state.iteration,
                    inertia,
                    state.shift,
                    state.moved,
                    seconds,
                    state.moved_centers,
                )
            )

    def _say_why(self, result: LloydResult) -> None:
        last = result.n_iter - 1
        if self._moved == 0 or self._shift == 0.0:
            print(f"Converged at iteration {last}: strict convergence.")
        elif self._shift <= self._tol:
            print(
                f"Converged at iteration {last}: center shift {self._shift} within tolerance"
                f" {self._tol}."
            )

    def _save(self, progress: Progress) -> None:
        self._progress = progress
        if self._checkpoint is not None:
            self._checkpoint.save(progress)

    def _stored_best(self) -> LloydResult:
        """Return the best result of an earlier process, whose labels follow from its centers."""
        progress = self._progress
        if progress.best is None:
            raise CorruptFileError(f"checkpoint {self._model.checkpoint} has no result: delete it")
        labels = assign_all(self._problem, progress.best, self.assigner)
        return LloydResult(labels, progress.best, progress.best_inertia, progress.best_n_iter)

    def _keep_what_there_is(self) -> None:
        """Take the last whole iteration, if it beats the initialisations that are done."""
        state = self._state
        if self.best is None and self._progress.best is not None:
            self.best = self._stored_best()
        if state is None:
            return
        inertia = float(inertia_of(self._problem, state.centers, state.labels))
        if self.best is None or inertia < self.best.inertia:
            self.best = LloydResult(state.labels.copy(), state.centers, inertia, state.iteration)

    def _job(self) -> dict[str, Any]:
        model, X = self._model, self._problem.rows.X
        init = self._given if self._given is not None else model.init
        if isinstance(init, np.ndarray):
            init = fingerprint(init, None)
        elif callable(init):
            init = getattr(init, "__qualname__", type(init).__qualname__)
        return {
            "rows": fingerprint(X, self._problem.weights),
            "shape": list(X.shape),
            "dtype": str(X.dtype),
            "seed": self._draws.key_text(),
            "init": init,
            "n_init": self._n_init,
            "n_clusters": model.n_clusters,
            "max_iter": model.max_iter,
            "tol": float(model.tol),
            "metric": model.metric,
            "memory_limit": parse_memory(model.memory_limit),
        }
