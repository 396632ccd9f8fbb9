"""One call of `KMeans.fit`: its initialisations, reports and checkpoints."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fastface.backends.places import as_given
from fastface.errors import CorruptFileError, InvalidInputError
from fastface.kmeans.base import center_dtype
from fastface.kmeans.checkpoint import Checkpoint, Progress, describe_init
from fastface.kmeans.iterate import IterationState, LloydResult, iterate
from fastface.kmeans.owner import LocalRows, RowOwner
from fastface.kmeans.randomness import Draws, Purpose
from fastface.kmeans.rows import parse_memory
from fastface.kmeans.starts import find_start

if TYPE_CHECKING:
    from fastface.kmeans.estimator import KMeans

__all__ = ["IterationReport", "Run"]

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
        self, model: KMeans, rows: RowOwner, given: NDArray[Any] | None, n_init: int
    ) -> None:
        self._model = model
        self._rows = rows
        self._given = given
        self._n_init = n_init
        self._dtype = center_dtype(rows.dtype)
        self._draws = Draws(model.random_state)
        self._tol = model.tol and model.tol * rows.mean_variance()
        self._checkpoint = (
            None
            if model.checkpoint is None
            else Checkpoint(model.checkpoint, Progress, self._job())
        )
        self._progress = Progress()
        self._state: IterationState | None = None
        self.best: LloydResult | None = None

    def all(self) -> None:
        """Work through the initialisations that are not done."""
        if self._checkpoint is not None:
            self._progress = self._checkpoint.load() or Progress()
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
            self._rows,
            centers,
            max_iter=model.max_iter,
            tol=self._tol,
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
        model, rows = self._model, self._rows
        if self._given is not None:
            return self._given
        draws = self._draws.for_init(init)
        if callable(model.init):
            state = draws.numpy_state(Purpose.CALLABLE)
            if not isinstance(rows, LocalRows):
                raise InvalidInputError(
                    "a callable init wants all rows in one place; call it yourself, on a sample,"
                    " and pass the centers"
                )
            found = model.init(as_given(rows.problem.rows.X), model.n_clusters, random_state=state)
            return model._given_centers(found, rows.shape[1], rows.dtype)
        limit = parse_memory(model.memory_limit)
        most_rows = None
        if limit is not None:
            most_rows = limit // _SEEDING_SHARE // (4 * rows.shape[1] + 64)
        return find_start(
            model.init, rows, model.n_clusters, draws, self._dtype, most_rows=most_rows
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
        inertia = float(self._rows.inertia())
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
        self._rows.begin()  # an interrupted step may have left bounds half moved
        self._rows.settle(progress.best)
        return LloydResult(
            self._rows.labels, progress.best, progress.best_inertia, progress.best_n_iter
        )

    def _keep_what_there_is(self) -> None:
        """Take the last whole iteration, if it beats the initialisations that are done."""
        state, best = self._state, self.best
        if state is not None:
            self._rows.settle(state.centers)  # an interrupted step has left no trace
            inertia = float(self._rows.inertia())
            if inertia < self._progress.best_inertia:
                best = LloydResult(self._rows.labels, state.centers, inertia, state.iteration)
        if best is None and self._progress.best is not None:
            best = self._stored_best()
        self.best = best

    def _job(self) -> dict[str, Any]:
        model, rows = self._model, self._rows
        return {
            "estimator": "KMeans",
            "rows": rows.fingerprint(),
            "shape": list(rows.shape),
            "dtype": str(rows.dtype),
            "seed": self._draws.key_text(),
            "init": describe_init(model.init if self._given is None else self._given),
            "n_init": self._n_init,
            "n_clusters": model.n_clusters,
            "max_iter": model.max_iter,
            "tol": float(model.tol),
            "metric": model.metric,
            "memory_limit": parse_memory(model.memory_limit),
        }
