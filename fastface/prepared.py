"""Candidates packed once, for many searches against them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.backends.protocol import Neighbors
from fastface.backends.registry import get_backend, resolve_threads
from fastface.errors import InvalidInputError
from fastface.validation import check_matrix, check_metric, refuse_values

__all__ = ["Prepared", "prepare"]

Matrix = NDArray[Any]


class Prepared:
    """Rows that `fastface.prepare` has packed for the kernels.

    Give it to `assign`, `nearest_neighbors` or `radius_neighbors` in place of the rows.  It holds
    the rows, which must not change, and about 1.25 float32 copies of them; threads may share it.
    It keeps the instruction set that was in use when it was made.

    Attributes
    ----------
    rows : ndarray of shape (n_candidates, n_features)
        The rows it was made of.
    metric : str
        The distance it was made for.
    """

    checks_values = True

    def __init__(self, rows: Matrix, metric: str, packed: Any) -> None:
        self.rows = rows
        self.metric = metric
        self._packed = packed

    def __repr__(self) -> str:
        n, dim = self.rows.shape
        return f"Prepared({n} x {dim} {self.rows.dtype}, metric={self.metric!r})"

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return _prepare_again, (self.rows, self.metric)

    def check_use(self, *, metric: str, device: str) -> None:
        """Refuse a call that it was not made for.

        Parameters
        ----------
        metric, device : str
            Of the call.

        Raises
        ------
        InvalidInputError
            If they do not fit.
        """
        if metric != self.metric:
            raise InvalidInputError(
                f"these rows were prepared for metric={self.metric!r}, the call has"
                f" metric={metric!r}: prepare them for that one too"
            )
        if device not in ("auto", "cpu"):
            raise InvalidInputError(f"rows are prepared for the CPU, got device={device!r}")

    def topk(
        self,
        X: Matrix,
        Y: Matrix,
        k: int,
        metric: str,
        *,
        exclude_self: bool = False,
        n_threads: int = 1,
        memory_limit: int = 0,
    ) -> Neighbors:
        """Serve `nearest_neighbors`, as a backend does.

        Parameters
        ----------
        X, Y, k, metric, exclude_self, n_threads, memory_limit
            See `fastface.backends.Backend`; `Y` are the rows.
        """
        return Neighbors(*self._packed.nearest(X, k, exclude_self, n_threads, memory_limit))

    def assign(
        self,
        X: Matrix,
        centers: Matrix,
        metric: str,
        *,
        n_threads: int = 1,
        memory_limit: int = 0,
    ) -> Neighbors:
        """Serve `assign`, as a backend does.

        Parameters
        ----------
        X, centers, metric, n_threads, memory_limit
            See `fastface.backends.Backend`; `centers` are the rows.
        """
        return Neighbors(*self._packed.nearest(X, 1, False, n_threads, memory_limit))

    def radius(
        self,
        X: Matrix,
        Y: Matrix,
        radius: float,
        metric: str,
        *,
        exclude_self: bool = False,
        n_threads: int = 1,
        memory_limit: int = 0,
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Serve `radius_neighbors`, as a backend does.

        Parameters
        ----------
        X, Y, radius, metric, exclude_self, n_threads, memory_limit
            See `fastface.backends.Backend`; `Y` are the rows.
        """
        found: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
        found = self._packed.radius(X, radius, exclude_self, n_threads, memory_limit)
        return found


def _prepare_again(rows: Matrix, metric: str) -> Prepared:
    return prepare(rows, metric=metric)


def prepare(Y: ArrayLike, *, metric: str = "sqeuclidean", n_threads: int | None = None) -> Prepared:
    """Pack candidates once, so that many calls, small ones above all, need not do it again.

    Parameters
    ----------
    Y : array-like of shape (n_candidates, n_features)
        Centers or candidates; float16, float32 or float64.
    metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
        Distance of the calls to come.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.

    Returns
    -------
    Prepared
        To be given to `assign`, `nearest_neighbors` or `radius_neighbors` in place of `Y`.

    Raises
    ------
    InvalidInputError
        If the array or the name cannot be used.
    """
    rows = check_matrix(Y, name="Y", any_layout=True)
    get_backend("cpu")
    from fastface import _kernels

    try:
        packed = _kernels.PreparedCandidates(rows, check_metric(metric), resolve_threads(n_threads))
    except FloatingPointError:
        refuse_values(rows, "Y")
        raise
    return Prepared(rows, metric, packed)
