"""`MiniBatchKMeans`: k-means from small random batches."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.backends.places import as_given
from fastface.kmeans.base import BaseKMeans, center_dtype
from fastface.kmeans.batch_run import BatchReport, BatchRun
from fastface.kmeans.batches import BatchState, batch_step
from fastface.kmeans.lloyd import Problem, inertia_of
from fastface.kmeans.owner import LocalRows
from fastface.kmeans.parameters import (
    check_n_init,
    check_real,
    check_weights,
    is_array_like,
)
from fastface.kmeans.randomness import Draws, Purpose
from fastface.kmeans.starts import find_start
from fastface.validation import check_integer

__all__ = ["MiniBatchKMeans"]


class MiniBatchKMeans(BaseKMeans):
    """k-means from random batches (Sculley, "Web-scale k-means clustering", WWW 2010).

    A drop-in for `sklearn.cluster.MiniBatchKMeans`, with the same stopping rules and the same
    reassignment of starved centers.  Like `KMeans`, it gives the same bits for any number of
    threads and instruction set.

    Parameters
    ----------
    n_clusters : int
        How many clusters.
    init : {"k-means++", "k-means||", "random", "hierarchical"}, callable or array-like
        Where to start, chosen from `init_size` random rows; see `KMeans`.
    max_iter : int
        Most passes over as many rows as there are.
    batch_size : int
        Rows of a batch.
    verbose : int
        Print each step.
    compute_labels : bool
        Find `labels_` and `inertia_` of all rows at the end.
    random_state : int, RandomState or None
        Seed.
    tol : float
        Stop when a step moves the centers by no more than `tol` times the mean variance of the
        features, squared and summed.  0 turns this rule off.
    max_no_improvement : int or None
        Stop after so many batches in a row without a better smoothed inertia.
    init_size : int, optional
        Rows to choose the start from; by default three batches, or three times `n_clusters`.
    n_init : int or "auto"
        How many starts are tried, judged by other random rows.  ``"auto"`` is 3 for random rows
        and callables, else 1.
    reassignment_ratio : float
        Centers with less than this share of the largest center's count are moved to random rows
        now and then.
    metric : {"sqeuclidean", "cosine"}
        Distance.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.
    memory_limit : int or str, optional
        Bytes, or a text such as ``"1GiB"``, that the fit may take beyond an array in memory.
    device : {"auto", "cpu", "cuda", "cuda:1", "reference"}
        Where to compute; ``"auto"`` is the GPU that the rows lie on, else the CPU.
    callback : callable, optional
        Called with a `BatchReport` after every batch.
    checkpoint : str or path, optional
        File that `fit` replaces every second or so.  If it is there, the fit goes on from it.
        `partial_fit` does not use it: pickle the estimator instead.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        Centers.
    labels_ : ndarray of int32, shape (n_samples,)
        Nearest center of every row, if `compute_labels`.
    inertia_ : float
        Of all rows, or, without `compute_labels`, estimated from the batches.
    n_iter_ : int
        Passes over as many rows as there are.
    n_steps_ : int
        Batches.
    device_ : str
        Where it was computed.
    n_features_in_ : int
        Number of features.
    """

    labels_: NDArray[np.int32]
    inertia_: float
    n_iter_: int
    n_steps_: int
    _state: BatchState
    _draws: Draws

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: int | str = "auto",
        reassignment_ratio: float = 0.01,
        metric: str = "sqeuclidean",
        n_threads: int | None = None,
        memory_limit: int | str | None = None,
        device: str = "auto",
        callback: Callable[[BatchReport], object] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.metric = metric
        self.n_threads = n_threads
        self.memory_limit = memory_limit
        self.device = device
        self.callback = callback
        self.checkpoint = checkpoint

    def _check_parameters(self) -> None:
        self._check_common()
        check_integer(self.batch_size, name="batch_size", low=1)
        check_real(self.reassignment_ratio, "reassignment_ratio")
        if self.max_no_improvement is not None:
            check_integer(self.max_no_improvement, name="max_no_improvement", low=0)
        if self.init_size is not None:
            check_integer(self.init_size, name="init_size", low=1)

    def fit(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> MiniBatchKMeans:
        """Find the centers from random batches of rows.

        Interrupted (Ctrl-C), the estimator keeps the centers it had come to.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : object
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights, not negative: how likely a row is to be drawn.

        Returns
        -------
        MiniBatchKMeans
            Itself.

        Raises
        ------
        InvalidInputError
            If the rows, the weights or a parameter cannot be used.
        StorageError
            If the checkpoint cannot be read or written, or belongs to another fit.
        """
        self._check_parameters()
        rows = self._check_rows(X, reset=True)
        self._check_size(len(rows))
        weights = check_weights(sample_weight, rows)
        problem = Problem.over(
            self._blocks(rows),
            self._kernels(rows),
            self.metric,
            weights,
            n_threads=self._threads(),
        )
        draws = Draws(self.random_state)
        run = BatchRun(self, problem, draws)
        try:
            run.all(lambda: self._best_start(problem, draws))
        finally:
            if run.state is not None:
                self.cluster_centers_ = run.state.centers
                self._state, self._draws = run.state, draws
                self.n_steps_ = run.step
                self.n_iter_ = math.ceil(run.step * run.batch_size / len(rows))
        if self.compute_labels:
            self.labels_, self.inertia_ = self._labels_and_inertia(problem)
        else:
            mass = float(len(rows)) if weights is None else float(weights.sum())
            self.inertia_ = (run.improvement.smoothed or 0.0) * mass
        return self

    def _best_start(self, problem: Problem, draws: Draws) -> NDArray[Any]:
        """Return the best of `n_init` starts, judged by rows drawn for that."""
        rows, n = problem.rows, len(problem.rows)
        if is_array_like(self.init):
            if self.n_init not in ("auto", 1):
                warnings.warn(
                    "Explicit initial center position passed: performing only one init in"
                    f" MiniBatchKMeans instead of n_init={self.n_init}.",
                    RuntimeWarning,
                    stacklevel=3,
                )
            return self._given_centers(self.init, rows.X.shape[1], rows.X.dtype)
        size = self._init_rows(n)
        best: NDArray[Any] = np.empty(0)
        best_inertia = math.inf
        n_init = check_n_init(self.n_init, self.init, default=3)
        judges = self._some_rows(problem, draws, size, Purpose.VALIDATION)
        for init in range(n_init):
            own = draws.for_init(init)
            sample = problem if size >= n else self._some_rows(problem, own, size, Purpose.SAMPLE)
            if callable(self.init):
                state = own.numpy_state(Purpose.CALLABLE)
                found = self.init(as_given(sample.rows.X), self.n_clusters, random_state=state)
                centers = self._given_centers(found, rows.X.shape[1], rows.X.dtype)
            else:
                centers = find_start(
                    self.init,
                    LocalRows(sample),
                    self.n_clusters,
                    own,
                    center_dtype(rows.X.dtype),
                )
            if n_init == 1:
                return centers
            labels = judges.kernels.nearest_center(
                judges.rows.X, centers, self.metric, n_threads=judges.n_threads
            )
            inertia = float(inertia_of(judges, centers, labels))
            if inertia < best_inertia:
                best, best_inertia = centers, inertia
        return best

    def _init_rows(self, n: int) -> int:
        size = self.init_size
        if size is None:
            size = 3 * self.batch_size
            if size < self.n_clusters:
                size = 3 * self.n_clusters
        elif size < self.n_clusters:
            warnings.warn(
                f"init_size={size} should be larger than n_clusters={self.n_clusters}. Setting it"
                " to min(3*n_clusters, n_samples)",
                RuntimeWarning,
                stacklevel=4,
            )
            size = 3 * self.n_clusters
        return min(size, n)

    def _some_rows(self, problem: Problem, draws: Draws, size: int, purpose: Purpose) -> Problem:
        chosen = np.sort(draws.distinct(len(problem.rows), size, purpose))
        weights = None if problem.weights is None else problem.weights[chosen]
        if weights is not None and not weights.any():
            weights = None
        return problem.on(problem.rows.take(chosen), weights)

    def partial_fit(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> MiniBatchKMeans:
        """Update the centers with one batch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The batch.  The first one has to hold `n_clusters` rows to start from.
        y : object
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights, not negative.

        Returns
        -------
        MiniBatchKMeans
            Itself.

        Raises
        ------
        InvalidInputError
            If the rows, the weights or a parameter cannot be used.
        """
        self._check_parameters()
        first = not hasattr(self, "cluster_centers_")
        rows = self._check_rows(X, reset=first)
        weights = check_weights(sample_weight, rows)
        problem = Problem.over(
            self._blocks(rows),
            self._kernels(rows),
            self.metric,
            weights,
            n_threads=self._threads(),
        )
        if first:
            self._check_size(len(rows))
            self._draws = Draws(self.random_state)
            self._state = BatchState.start(self._best_start(problem, self._draws))
            self.n_steps_ = 0
        self._state, _ = batch_step(
            problem, self._state, self._draws, self.n_steps_, self.reassignment_ratio
        )
        self.cluster_centers_ = self._state.centers
        self.n_steps_ += 1
        if self.compute_labels:
            self.labels_, self.inertia_ = self._labels_and_inertia(problem)
        return self
