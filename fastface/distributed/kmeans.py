"""`fastface.distributed.KMeans`: the fit of `fastface.KMeans`, to the bit, on a Dask cluster."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fastface.backends.registry import get_backend
from fastface.distributed.cluster import Partitions, count_workers, find_client
from fastface.distributed.inputs import DividedRows, as_dask, divide, divide_weights, is_dask
from fastface.distributed.partition import FileRows, Recipe, survey
from fastface.distributed.rows import DistributedRows
from fastface.errors import InvalidInputError
from fastface.kmeans.base import BaseKMeans
from fastface.kmeans.parameters import (
    ALGORITHMS,
    check_choice,
    check_n_init,
    is_array_like,
    warn_of_few_clusters,
)
from fastface.kmeans.rows import parse_memory
from fastface.kmeans.run import IterationReport, Run
from fastface.validation import check_integer

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["KMeans"]

_BOUNDS_SHARE = 2  # of the memory limit that bounds may take


class KMeans(BaseKMeans):
    """k-means over the workers of a Dask cluster.

    The same rows, parameters and seed give the same bits as `fastface.KMeans` in one process, for
    any number of workers and any division of the rows.  Rows and labels stay on the workers; only
    centers, sums of clusters and single rows travel.  A worker that dies costs its share of one
    iteration.

    Parameters
    ----------
    n_clusters : int
        How many clusters.
    init : {"k-means||", "k-means++", "random"} or array-like
        Where to start.  ``"k-means++"`` asks all workers twice a center.
    n_init : int or "auto"
        How many starts; the best result is kept.
    max_iter : int
        Most iterations of one start.
    tol : float
        Stop when the squared shifts of the centers sum to at most `tol` times the mean variance
        of the features.
    verbose : int
        Print each iteration.
    random_state : int, RandomState or None
        Seed.
    algorithm : {"lloyd", "pruned", "auto", "elkan"}
        How rows find their center; the result is the same.
    metric : {"sqeuclidean", "cosine"}
        Distance.
    n_threads : int
        Threads that one partition takes; a worker works on as many partitions at a time as it has
        threads.
    memory_limit : int or str, optional
        Bytes of each worker that ``"pruned"`` may fill with bounds: half of it.
    device : {"auto", "cpu", "reference"}
        Where workers compute.
    callback : callable, optional
        Called with an `IterationReport` after every iteration.
    checkpoint : str or path, optional
        File of this process that is replaced after every iteration.  A fit goes on from it,
        also one of `fastface.KMeans` with the same rows and parameters.
    client : distributed.Client, optional
        The cluster; by default the current client.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        Centers, float64 for float64 rows, else float32.
    labels_ : dask.array.Array of int32, shape (n_samples,)
        Nearest center of every row; its chunks lie on the workers.
    inertia_ : float
        Weighted sum of the (squared) distances of rows to their center.
    n_iter_ : int
        Iterations of the best start.
    n_features_in_ : int
        Number of features.
    """

    labels_: Any
    inertia_: float
    n_iter_: int
    algorithm_: str
    n_threads: int

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means||",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        algorithm: str = "lloyd",
        metric: str = "sqeuclidean",
        n_threads: int = 1,
        memory_limit: int | str | None = None,
        device: str = "auto",
        callback: Callable[[IterationReport], object] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        client: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.algorithm = algorithm
        self.metric = metric
        self.n_threads = n_threads
        self.memory_limit = memory_limit
        self.device = device
        self.callback = callback
        self.checkpoint = checkpoint
        self.client = client

    def fit(self, X: Any, y: object = None, sample_weight: Any = None) -> KMeans:
        """Find the centers.

        Parameters
        ----------
        X : dask.array.Array of shape (n_samples, n_features), str or path
            Rows, divided along the first axis; or a ``.npy`` file or a run folder that all workers
            can open.
        y : object
            Ignored.
        sample_weight : dask.array.Array or array-like of shape (n_samples,), optional
            Weights, not negative.

        Returns
        -------
        KMeans
            Itself.

        Raises
        ------
        InvalidInputError
            If the rows, the weights or a parameter cannot be used, or there is no client.
        BackendUnavailableError
            If there are no workers, or they die again and again.
        StorageError
            If the rows or the checkpoint cannot be read, or the checkpoint belongs to another fit.
        """
        self._check_common()
        check_choice(self.algorithm, "algorithm", ALGORITHMS)
        check_integer(self.n_threads, name="n_threads", low=1)
        n_init = check_n_init(self.n_init, self.init, default=10)
        self.device_ = get_backend(self.device).name
        client = find_client(self.client)
        with client.as_current():
            self._fit(X, sample_weight, n_init, client)
        return self

    def _fit(self, X: Any, sample_weight: Any, n_init: int, client: Client) -> None:
        rows = divide(X, client)
        self._check_size(rows.n_rows)
        self.n_features_in_ = rows.n_features
        given = None
        if is_array_like(self.init):
            given, n_init = self._given_centers(self.init, rows.n_features, rows.dtype), 1
        partitions = rows.over(client, divide_weights(sample_weight, rows, client))
        recipe = self._survey(partitions, count_workers(client), sample_weight is not None)
        weights = _gathered(sample_weight) if recipe.weighted else None
        try:
            self._run(DistributedRows(partitions, recipe, rows.dtype, weights), given, n_init, rows)
        finally:
            partitions.forget(recipe)

    def _survey(self, partitions: Partitions, n_workers: int, weighted: bool) -> Recipe:
        """Look at all rows once, and settle how they are treated."""
        seen = reduce(
            lambda one, other: one.merge(other),
            partitions.each(survey, self.device, self.n_threads),
        )
        if weighted and seen.largest_weight == 0.0:
            raise InvalidInputError(
                "sample_weight is zero for every row: there is nothing to cluster"
            )
        limit = parse_memory(self.memory_limit)
        share = -(-len(partitions) // n_workers)
        return Recipe(
            uuid.uuid4().hex,
            self.metric,
            self.device,
            self.n_threads,
            self.algorithm,
            self.n_clusters,
            None if limit is None else limit // _BOUNDS_SHARE // share,
            seen.columns,
            seen.largest_weight,
            weighted and not seen.all_one,
        )

    def _run(
        self,
        rows: DistributedRows,
        given: NDArray[Any] | None,
        n_init: int,
        divided: DividedRows,
    ) -> None:
        run = Run(self, rows, given, n_init)
        try:
            run.all()
        finally:
            best = run.best
            if best is not None:
                self.cluster_centers_ = best.centers
                self.labels_ = as_dask(best.labels, divided.sizes, np.int32)
                self.inertia_ = best.inertia
                self.n_iter_ = best.n_iter
                self.algorithm_ = rows.algorithm
        n_distinct = int(np.count_nonzero(_cluster_sizes(self.labels_, self.n_clusters)))
        warn_of_few_clusters(n_distinct, self.n_clusters, stacklevel=3)

    def predict(self, X: Any) -> Any:
        """Return the cluster of every row.

        Parameters
        ----------
        X : dask.array.Array or array-like of shape (n_samples, n_features), str or path
            Rows.

        Returns
        -------
        dask.array.Array of int32, shape (n_samples,)
            Index of the nearest center, not yet computed; an ndarray for rows in memory.
        """
        return self._map(super().predict, X, np.dtype(np.int32))

    def transform(self, X: Any) -> Any:
        """Return the distance of every row to every center.

        Parameters
        ----------
        X : dask.array.Array or array-like of shape (n_samples, n_features), str or path
            Rows.

        Returns
        -------
        dask.array.Array of shape (n_samples, n_clusters)
            Distances, not yet computed; an ndarray for rows in memory.
        """
        dtype = np.dtype(self.cluster_centers_.dtype)
        return self._map(super().transform, X, dtype, self.n_clusters)

    def _map(
        self, work: Callable[[Any], Any], X: Any, dtype: np.dtype[Any], width: int | None = None
    ) -> Any:
        check_is_fitted(self)
        is_path = isinstance(X, (str, os.PathLike))
        if not is_path and not is_dask(X):
            return work(X)
        from dask import delayed
        from dask.array import concatenate, from_delayed

        if not is_path:
            shape = {} if width is None else {"chunks": (X.chunks[0], (width,))}
            drop = 1 if width is None else None
            return X.rechunk({1: -1}).map_blocks(work, dtype=dtype, drop_axis=drop, **shape)
        divided = divide(X, find_client(self.client))
        pieces = [
            from_delayed(
                delayed(_work_on_file)(work, source),
                (size,) if width is None else (size, width),
                dtype=dtype,
            )
            for source, size in zip(divided.sources, divided.sizes, strict=True)
        ]
        return concatenate(pieces)

    def score(self, X: Any, y: object = None, sample_weight: Any = None) -> float:
        """Return the negated inertia of rows.

        Parameters
        ----------
        X : dask.array.Array or array-like of shape (n_samples, n_features), str or path
            Rows.
        y : object
            Ignored.
        sample_weight : dask.array.Array or array-like of shape (n_samples,), optional
            Weights.

        Returns
        -------
        float
            Minus the weighted sum of squared distances to the nearest center (of cosine distances
            for that metric).
        """
        check_is_fitted(self)
        if not isinstance(X, (str, os.PathLike)) and not is_dask(X):
            return super().score(X, sample_weight=sample_weight)
        client = find_client(self.client)
        divided = divide(X, client)
        partitions = divided.over(client, divide_weights(sample_weight, divided, client))
        recipe = self._survey(partitions, count_workers(client), sample_weight is not None)
        try:
            rows = DistributedRows(partitions, recipe, divided.dtype, None)
            rows.settle(self.cluster_centers_)
            return -float(rows.inertia())
        finally:
            partitions.forget(recipe)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker, or a file, can hold: everything but the connection."""
        return {**super().__getstate__(), "client": None}


def _gathered(sample_weight: Any) -> NDArray[np.float64]:
    weights = sample_weight.compute() if is_dask(sample_weight) else sample_weight
    result: NDArray[np.float64] = np.asarray(weights, np.float64)
    return result


def _cluster_sizes(labels: Any, n_clusters: int) -> NDArray[np.int64]:
    import dask.array

    sizes: NDArray[np.int64] = dask.array.bincount(labels, minlength=n_clusters).compute()
    return sizes


def _work_on_file(work: Callable[[Any], Any], source: FileRows) -> Any:
    return work(source.open())
