"""`KMeans`: scikit-learn's estimator, exact and the same to the bit everywhere."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.kmeans.assigners import make_assigner
from fastface.kmeans.base import BaseKMeans
from fastface.kmeans.judge import ClusteringQuality, Judge
from fastface.kmeans.lloyd import Problem
from fastface.kmeans.owner import LocalRows, assign_all
from fastface.kmeans.parameters import (
    ALGORITHMS,
    check_choice,
    check_n_init,
    check_weights,
    is_array_like,
    warn_of_few_clusters,
)
from fastface.kmeans.run import IterationReport, Run

__all__ = ["KMeans"]


class KMeans(BaseKMeans):
    """k-means clustering with exact assignments and order-free sums.

    A drop-in for `sklearn.cluster.KMeans`.  The same seed gives the same bits of every fitted
    attribute for any number of threads, instruction set, chunking or storage of the same rows.

    Parameters
    ----------
    n_clusters : int
        How many clusters.
    init : {"k-means++", "k-means||", "random", "hierarchical"}, callable or array-like
        Where to start: greedy k-means++; its parallel form, which reads the rows five times; random
        rows; two levels of k-means, for very many clusters; a function of (X, n_clusters,
        random_state); or centers of shape (n_clusters, n_features).
    n_init : int or "auto"
        How many starts; the best result is kept.  ``"auto"`` is 10 for random rows and callables,
        else 1.
    max_iter : int
        Most iterations of one start.
    tol : float
        Stop when the squared shifts of the centers sum to at most `tol` times the mean variance
        of the features.
    verbose : int
        Print each iteration.
    random_state : int, RandomState or None
        Seed.
    copy_x : bool
        Accepted for scikit-learn's sake: rows are never written to.
    algorithm : {"auto", "lloyd", "pruned", "elkan"}
        How rows find their center; the result is the same.  ``"pruned"`` leaves out comparisons
        that a bound rules out, ``"elkan"`` is another name for it.
    metric : {"sqeuclidean", "cosine"}
        Distance.  With ``"cosine"`` rows count by their direction, and centers are unit vectors
        (spherical k-means).
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.
    memory_limit : int or str, optional
        Bytes, or a text such as ``"1GiB"``, that the fit may take beyond an array in memory.
    device : {"auto", "cpu", "cuda", "cuda:1", "reference"}
        Where to compute; ``"auto"`` is the GPU that the rows lie on, else the CPU.
    callback : callable, optional
        Called with an `IterationReport` after every iteration.
    checkpoint : str or path, optional
        File that is replaced after every iteration.  If it is there, the fit goes on from it.
    compute_quality : bool
        Find `quality_` too, in the last pass over the rows, which then compares every row with
        every center.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        Centers, float64 for float64 rows, else float32.
    labels_ : ndarray of int32, shape (n_samples,)
        Nearest center of every row, the lowest index among equals.
    inertia_ : float
        Weighted sum of the (squared) distances of rows to their center.
    n_iter_ : int
        Iterations of the best start.
    device_ : str
        Where it was computed.
    algorithm_ : str
        How rows found their center.
    quality_ : ClusteringQuality
        Inertia, simplified silhouette and Davies-Bouldin index, if `compute_quality`; a fit that
        was interrupted has none.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features, where the rows had them.
    """

    labels_: NDArray[np.int32]
    inertia_: float
    n_iter_: int
    algorithm_: str
    quality_: ClusteringQuality

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "auto",
        metric: str = "sqeuclidean",
        n_threads: int | None = None,
        memory_limit: int | str | None = None,
        device: str = "auto",
        callback: Callable[[IterationReport], object] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        compute_quality: bool = False,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.metric = metric
        self.n_threads = n_threads
        self.memory_limit = memory_limit
        self.device = device
        self.callback = callback
        self.checkpoint = checkpoint
        self.compute_quality = compute_quality

    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> KMeans:
        """Find the centers.

        Interrupted (Ctrl-C), the estimator is fitted with the best that was found so far, and
        KeyboardInterrupt goes on to the caller.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.  A memory-mapped array is read in order, a chunk at a time; an array on a GPU
            stays there.  Attributes are arrays of NumPy whatever the rows are.
        y : object
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights, not negative.

        Returns
        -------
        KMeans
            Itself.

        Raises
        ------
        InvalidInputError
            If the rows, the weights or a parameter cannot be used.
        StorageError
            If the checkpoint cannot be read or written, or belongs to another fit.
        """
        self._check_common()
        check_choice(self.algorithm, "algorithm", ALGORITHMS)
        algorithm = self.algorithm
        if algorithm == "elkan" and self.n_clusters == 1:
            algorithm = "lloyd"
            warnings.warn(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                RuntimeWarning,
                stacklevel=2,
            )
        n_init = self._count_inits()
        rows = self._check_rows(X, reset=True)
        self._check_size(len(rows))
        weights = check_weights(sample_weight, rows)
        given = None
        if is_array_like(self.init):
            given = self._given_centers(self.init, rows.shape[1], rows.dtype)
        problem = Problem.over(
            self._blocks(rows),
            self._kernels(rows),
            self.metric,
            weights,
            n_threads=self._threads(),
        )
        assigner = make_assigner(algorithm, problem, self.n_clusters, self._spare_bytes(rows))
        judge = None
        if self.compute_quality:
            judge = Judge(problem, self._backend(rows), self.n_clusters)
        owner = LocalRows(
            problem,
            assigner,
            last=judge if n_init == 1 else None,  # of several starts only the best is judged
            observe=self.callback is not None or bool(self.verbose),
        )
        run = Run(self, owner, given, n_init)
        if hasattr(self, "quality_"):
            del self.quality_  # of an earlier fit
        try:
            run.all()
        finally:
            best = run.best
            if best is not None:
                self.cluster_centers_ = best.centers
                self.labels_ = best.labels
                self.inertia_ = best.inertia
                self.n_iter_ = best.n_iter
                self.algorithm_ = assigner.name
        if judge is not None:
            if not judge.has_seen(self.cluster_centers_):
                assign_all(problem, self.cluster_centers_, judge)
            self.quality_ = judge.quality(self.inertia_)
        warn_of_few_clusters(len(np.unique(self.labels_)), self.n_clusters, stacklevel=2)
        return self

    def _count_inits(self) -> int:
        n_init = check_n_init(self.n_init, self.init, default=10)
        if is_array_like(self.init) and n_init != 1:
            warnings.warn(
                "Explicit initial center position passed: performing only one init in KMeans"
                f" instead of n_init={n_init}.",
                RuntimeWarning,
                stacklevel=3,
            )
            return 1
        return n_init
