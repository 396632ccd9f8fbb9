"""What both k-means estimators share: rows in, predictions out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.spatial.distance import cdist
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from fastface.backends.kmeans_protocol import KMeansKernels
from fastface.backends.places import Origin, choose_device, on_host
from fastface.backends.registry import get_backend, resolve_threads
from fastface.errors import InvalidInputError
from fastface.kmeans.lloyd import ExhaustiveAssigner, InertiaSum, Problem, Watch
from fastface.kmeans.owner import assign_all
from fastface.kmeans.parameters import (
    METRICS,
    check_choice,
    check_init,
    check_real,
    check_weights,
)
from fastface.kmeans.rows import RowBlocks, parse_memory
from fastface.validation import check_device_matrix, check_integer, gpu_of

__all__ = ["BaseKMeans", "center_dtype"]

_STORAGE = [np.float64, np.float32, np.float16]
_CHUNK_SHARE = 8  # of the memory limit that one chunk may take


def center_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of centers of such rows: float64 for float64, else float32."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


class BaseKMeans(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    ClusterMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Predictions and checks of `KMeans` and `MiniBatchKMeans`."""

    n_clusters: int
    init: Any
    tol: float
    max_iter: int
    metric: str
    device: str
    n_threads: int | None
    memory_limit: int | str | None
    cluster_centers_: NDArray[Any]

    def _check_common(self) -> None:
        check_integer(self.n_clusters, name="n_clusters", low=1)
        check_integer(self.max_iter, name="max_iter", low=1)
        check_real(self.tol, "tol")
        check_choice(self.metric, "metric", METRICS)
        check_init(self.init)
        parse_memory(self.memory_limit)

    def _check_rows(self, X: ArrayLike, *, reset: bool) -> Any:
        """Return `X` as a C-contiguous matrix of floats, not yet looked into.

        Rows on a GPU stay there; the kernels run where they are.
        """
        if gpu_of(X, "X"):
            check_device_matrix(X)
            rows = self._backend(X).rows(X)
            validate_data(self, rows, reset=reset, skip_check_array=True)
            return rows
        if issparse(X):
            raise InvalidInputError(
                "sparse data is not supported: pass a dense array (X.toarray())"
            )
        array: NDArray[Any]
        if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype in _STORAGE and X.size:
            # scikit-learn's own check would read a mapped file from end to end.
            validate_data(self, X, reset=reset, skip_check_array=True)
            array = np.ascontiguousarray(X)
        else:
            array = validate_data(
                self, X, reset=reset, dtype=_STORAGE, order="C", ensure_all_finite=False
            )
        return array

    def _blocks(self, X: NDArray[Any]) -> RowBlocks:
        """Return the rows in chunks that the memory limit allows."""
        limit = parse_memory(self.memory_limit)
        blocks = RowBlocks(X)
        if limit is None:
            return blocks
        row_bytes = X.shape[1] * X.itemsize + 32
        n_features = X.shape[1]
        fixed = self._state_bytes(X)
        chunk = min(blocks.chunk_rows, limit // _CHUNK_SHARE // row_bytes)
        if chunk < 1 or fixed > limit - limit // _CHUNK_SHARE:
            raise InvalidInputError(
                f"memory_limit={self.memory_limit!r} is too small for {len(X)} rows and"
                f" {self.n_clusters} clusters of {n_features} features: needs at least"
                f" {(fixed + row_bytes) * 8 // 7 + 1} bytes"
            )
        return RowBlocks(X, chunk)

    def _state_bytes(self, X: NDArray[Any]) -> int:
        """Return what a fit holds beside the rows and bounds."""
        # Labels of three passes, norms; sums in two integers, and five sets of centers: where rows
        # were assigned, where centers go, the best so far, what is packed, and one in the making.
        a_row = 12 + (8 if self.metric == "cosine" else 0)
        a_value = 2 * 8 + 5 * center_dtype(X.dtype).itemsize
        total: int = len(X) * a_row + self.n_clusters * X.shape[1] * a_value
        return total

    def _spare_bytes(self, X: NDArray[Any]) -> int | None:
        """Return what the memory limit leaves for bounds; None where there is no limit."""
        limit = parse_memory(self.memory_limit)
        if limit is None:
            return None
        grouping: int = 4 * self.n_clusters * X.shape[1] * 8  # of centers, before the first bounds
        return max(0, limit - limit // _CHUNK_SHARE - self._state_bytes(X) - grouping)

    def _backend(self, rows: Any) -> Any:
        """Return the `Backend` that serves rows where they are."""
        return get_backend(choose_device(self.device, {"X": rows}))

    def _kernels(self, rows: Any) -> KMeansKernels:
        backend = self._backend(rows)
        self.device_ = backend.name
        kernels: KMeansKernels = backend.kmeans
        return kernels

    @staticmethod
    def _give(result: Any, X: Any, rows: Any) -> Any:
        """Return a result as an array of the library and place of `X`, which became `rows`."""
        if gpu_of(rows) and gpu_of(result) is None:
            result = rows.bring(result)
        return Origin(X).give(result)

    def _threads(self) -> int:
        return resolve_threads(self.n_threads)

    def _check_size(self, n_rows: int) -> None:
        if n_rows < self.n_clusters:
            raise InvalidInputError(
                f"n_samples={n_rows} should be >= n_clusters={self.n_clusters}."
            )

    def _given_centers(self, centers: Any, n_features: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return centers somebody else chose, checked."""
        array: NDArray[Any] = check_array(
            on_host(centers), dtype=center_dtype(dtype), copy=True, order="C", input_name="init"
        )
        wanted = {"number of clusters": self.n_clusters}
        wanted["number of features of the data"] = n_features
        for size, (what, expected) in zip(array.shape, wanted.items(), strict=True):
            if size != expected:
                raise InvalidInputError(
                    f"The shape of the initial centers {array.shape} does not match the {what}"
                    f" {expected}."
                )
        return array

    def _problem(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> Problem:
        """Return rows that shall be compared with the fitted centers."""
        check_is_fitted(self)
        rows = self._check_rows(X, reset=False)
        weights = check_weights(sample_weight, rows)
        return Problem.over(
            self._blocks(rows),
            self._kernels(rows),
            self.metric,
            weights,
            n_threads=self._threads(),
        )

    def _labels_of(self, problem: Problem, watch: Watch | None = None) -> NDArray[np.int32]:
        return assign_all(problem, self.cluster_centers_, ExhaustiveAssigner(problem), None, watch)

    def _labels_and_inertia(self, problem: Problem) -> tuple[NDArray[np.int32], float]:
        """Return both, from one pass over the rows."""
        inertia = InertiaSum(problem, self.cluster_centers_)
        labels = self._labels_of(problem, inertia.add)
        return labels, float(inertia.value())

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the cluster of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of int32, shape (n_samples,)
            Index of the nearest center, the lowest among equals; an array of the library and
            place of `X`, as all results are.
        """
        problem = self._problem(X)
        labels: NDArray[np.int32] = self._give(self._labels_of(problem), X, problem.rows.X)
        return labels

    def fit_predict(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> NDArray[np.int32]:
        """Fit and return `labels_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : object
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights.

        Returns
        -------
        ndarray of int32, shape (n_samples,)
            Labels.
        """
        labels = self.fit(X, sample_weight=sample_weight).labels_
        if gpu_of(X):
            labels = self._backend(X).rows(X).bring(labels)
        given: NDArray[np.int32] = Origin(X).give(labels)
        return given

    def transform(self, X: ArrayLike) -> Any:
        """Return the distance of every row to every center.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_clusters)
            Euclidean or cosine distances, float64 for float64 rows, else float32.
        """
        problem = self._problem(X)
        metric = "euclidean" if self.metric == "sqeuclidean" else "cosine"
        rows: Any = problem.rows.X
        backend = self._backend(rows)
        shape = (len(rows), len(self.cluster_centers_))
        dtype = center_dtype(rows.dtype)
        on_gpu = gpu_of(rows) is not None and dtype == np.float32
        out = rows.empty(shape, dtype) if on_gpu else np.empty(shape, dtype)
        for part, chunk in problem.rows:
            if dtype == np.float64:
                here = np.asarray(chunk)
                out[part] = cdist(here, self.cluster_centers_, metric)  # type: ignore[call-overload]
                continue
            backend.pairwise(
                chunk.astype(np.float32, copy=False),
                self.cluster_centers_.astype(np.float32, copy=False),
                metric,
                out=out[part],
                n_threads=problem.n_threads,
            )
        return self._give(out, X, rows)

    def fit_transform(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Fit and return the distances to the centers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : object
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights.

        Returns
        -------
        ndarray of shape (n_samples, n_clusters)
            Distances.
        """
        result: NDArray[Any] = self.fit(X, sample_weight=sample_weight).transform(X)
        return result

    def score(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the negated inertia of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : object
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights.

        Returns
        -------
        float
            Minus the weighted sum of squared distances to the nearest center (of cosine distances
            for that metric).
        """
        return -self._labels_and_inertia(self._problem(X, sample_weight))[1]

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    def fit(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> BaseKMeans:
        """Find the centers."""
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
