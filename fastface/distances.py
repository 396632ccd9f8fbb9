"""Nearest centers, nearest neighbours, radius neighbours and distance matrices.

Every answer equals the definition in `fastface.backends.reference` to the bit, on every instruction
set and with any number of threads; ties go to the lowest index.

Arrays of NumPy, PyTorch, CuPy, and others that speak DLPack or the array interfaces, are read where
they lie, on a GPU too, and results are arrays of the library and place that `X` came from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.backends.places import Origin, choose_device
from fastface.backends.registry import get_backend, resolve_threads
from fastface.errors import InvalidInputError
from fastface.prepared import Prepared
from fastface.validation import (
    check_bytes,
    check_device_matrix,
    check_integer,
    check_matrix,
    check_metric,
    check_same_width,
    gpu_of,
    refuse_values,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["assign", "nearest_neighbors", "pairwise_distances", "radius_neighbors"]

Result = TypeVar("Result")


class _Call:
    """The arguments that all functions share, checked, and what to do when a kernel refuses."""

    def __init__(
        self,
        X: ArrayLike,
        Y: ArrayLike | Prepared | None,
        *,
        y_name: str,
        metric: str,
        device: str,
        n_threads: int | None,
        memory_limit: int | str | None = None,
    ) -> None:
        self.names = ("X", y_name)
        self.metric = check_metric(metric)
        self.n_threads = resolve_threads(n_threads)
        self.memory_limit = (
            0 if memory_limit is None else check_bytes(memory_limit, name="memory_limit")
        )
        prepared = Y if isinstance(Y, Prepared) else None
        others = None if prepared is not None or Y is X else Y
        device = choose_device(device, {"X": X, y_name: others})
        self.x: Any
        self.y: Any
        self.x, self.y = self._checked(X, "X"), None
        if prepared is None and others is not None:
            self.y = self._checked(others, y_name)
        self.backend: Any  # a Backend, or Prepared in its place
        self.origin = Origin(X)
        if prepared is not None:
            prepared.check_use(metric=metric, device=device)
            self.y, self.backend = prepared.rows, prepared
        else:
            self.backend = get_backend(device)
            if gpu_of(X):
                self.x = self.backend.rows(X)
                self.y = None if self.y is None else self.backend.rows(others)
            if self.y is None:
                self.y = self.x
        check_same_width(self.x, self.y, names=self.names)
        if not self.backend.checks_values:
            refuse_values(self.x, "X")
            refuse_values(self.y, y_name)

    @staticmethod
    def _checked(array: Any, name: str) -> Any:
        """Return an array of the host as a matrix; look at one on a GPU, and leave it there."""
        if gpu_of(array) is None:
            return check_matrix(array, name=name, any_layout=True)
        check_device_matrix(array, name=name)
        return array

    def run(self, kernel: Callable[[], Result]) -> Result:
        """Call a kernel, naming the argument that it refuses."""
        try:
            return kernel()
        except FloatingPointError as error:
            in_y = str(error) == "candidates"
            refuse_values(self.y if in_y else self.x, self.names[in_y])
            raise
        except MemoryError as error:
            if not str(error).isdigit():
                raise
            raise InvalidInputError(
                f"memory_limit is too small: this call needs at least {error} bytes"
                f" with {self.n_threads} threads"
            ) from None


def assign(
    X: ArrayLike,
    centers: ArrayLike | Prepared,
    *,
    metric: str = "sqeuclidean",
    device: str = "auto",
    n_threads: int | None = None,
    memory_limit: int | str | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Find the nearest center of every row.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        float16, float32 or float64, of any strides; memory-mapped arrays are read in place.
    centers : array-like of shape (n_centers, n_features), or Prepared
        Centers, or what `fastface.prepare` made of them.
    metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
        Distance.  The inner product counts as a distance with its sign turned.
    device : {"auto", "cpu", "cuda", "cuda:1", "reference"}
        Where to compute; ``"auto"`` is the GPU that the arrays lie on, else the CPU.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.
    memory_limit : int or str, optional
        Most bytes to allocate beside inputs and outputs, such as ``"256MiB"``; by default 64 MiB
        a thread.

    Returns
    -------
    labels : ndarray of int32, shape (n_samples,)
        Index of the nearest center, the lowest among equals.
    distances : ndarray of float32, shape (n_samples,)
        Distance to it.

    Raises
    ------
    InvalidInputError
        If an array or a name cannot be used, or `memory_limit` is too small to work in.
    """
    call = _Call(
        X,
        centers,
        y_name="centers",
        metric=metric,
        device=device,
        n_threads=n_threads,
        memory_limit=memory_limit,
    )
    found = call.run(
        lambda: call.backend.assign(
            call.x,
            call.y,
            call.metric,
            n_threads=call.n_threads,
            memory_limit=call.memory_limit,
        )
    )
    give = call.origin.give
    return give(found.indices.reshape(-1)), give(found.distances.reshape(-1))


def nearest_neighbors(
    X: ArrayLike,
    Y: ArrayLike | Prepared | None = None,
    *,
    n_neighbors: int,
    metric: str = "cosine",
    exclude_self: bool = False,
    device: str = "auto",
    n_threads: int | None = None,
    memory_limit: int | str | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Find the nearest rows of `Y` for every row of `X`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Queries.
    Y : array-like of shape (n_candidates, n_features), or Prepared, optional
        Candidates, or what `fastface.prepare` made of them; by default `X` itself.
    n_neighbors : int
        How many, at most the number of candidates.
    metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
        Distance.
    exclude_self : bool
        Never return row i of `Y` for row i of `X`; duplicates of it in other rows are returned.
    device : {"auto", "cpu", "cuda", "cuda:1", "reference"}
        Where to compute; ``"auto"`` is the GPU that the arrays lie on, else the CPU.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.
    memory_limit : int or str, optional
        Most bytes to allocate beside inputs and outputs; by default 64 MiB a thread.

    Returns
    -------
    distances : ndarray of float32, shape (n_samples, n_neighbors)
        Increasing along a row.
    indices : ndarray of int32, shape (n_samples, n_neighbors)
        Rows of `Y`; equals are in order of index.

    Raises
    ------
    InvalidInputError
        If an array, a name or `n_neighbors` cannot be used, or `memory_limit` is too small.
    """
    call = _Call(
        X,
        Y,
        y_name="Y",
        metric=metric,
        device=device,
        n_threads=n_threads,
        memory_limit=memory_limit,
    )
    most = len(call.y) - (1 if exclude_self else 0)
    if most < 1:
        raise InvalidInputError("exclude_self leaves no candidate: Y has a single row")
    k = check_integer(n_neighbors, name="n_neighbors", low=1, high=most)
    found = call.run(
        lambda: call.backend.topk(
            call.x,
            call.y,
            k,
            call.metric,
            exclude_self=bool(exclude_self),
            n_threads=call.n_threads,
            memory_limit=call.memory_limit,
        )
    )
    return call.origin.give(found.distances), call.origin.give(found.indices)


def radius_neighbors(
    X: ArrayLike,
    Y: ArrayLike | Prepared | None = None,
    *,
    radius: float,
    metric: str = "cosine",
    exclude_self: bool = False,
    device: str = "auto",
    n_threads: int | None = None,
    memory_limit: int | str | None = None,
) -> csr_matrix:
    """Find all rows of `Y` within a distance of every row of `X`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Queries.
    Y : array-like of shape (n_candidates, n_features), or Prepared, optional
        Candidates, or what `fastface.prepare` made of them; by default `X` itself.
    radius : float
        Largest distance, inclusive.
    metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
        Distance.
    exclude_self : bool
        Never return row i of `Y` for row i of `X`.
    device : {"auto", "cpu", "cuda", "cuda:1", "reference"}
        Where to compute; ``"auto"`` is the GPU that the arrays lie on, else the CPU.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.
    memory_limit : int or str, optional
        Most bytes to allocate beside inputs and outputs; by default 64 MiB a thread.

    Returns
    -------
    scipy.sparse.csr_matrix of float32, shape (n_samples, n_candidates)
        Distances, with zero distances stored; columns increase along a row.

    Raises
    ------
    InvalidInputError
        If an array, a name or `radius` cannot be used, or `memory_limit` is too small.
    """
    call = _Call(
        X,
        Y,
        y_name="Y",
        metric=metric,
        device=device,
        n_threads=n_threads,
        memory_limit=memory_limit,
    )
    try:
        limit = float(radius)
    except (TypeError, ValueError):
        raise InvalidInputError(f"radius must be a number, got {radius!r}") from None
    if not np.isfinite(limit):
        raise InvalidInputError(f"radius must be finite, got {radius!r}")
    offsets, indices, distances = call.run(
        lambda: call.backend.radius(
            call.x,
            call.y,
            limit,
            call.metric,
            exclude_self=bool(exclude_self),
            n_threads=call.n_threads,
            memory_limit=call.memory_limit,
        )
    )
    shape = len(call.x), len(call.y)
    found: csr_matrix = call.origin.give_sparse(distances, indices, offsets, shape)
    return found


def pairwise_distances(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    metric: str = "euclidean",
    out: Any = None,
    device: str = "auto",
    n_threads: int | None = None,
) -> NDArray[np.float32]:
    """Compute the whole matrix of distances.

    Distances are computed in float32, in a fixed order, and in float64 where cancellation would
    cost digits, so that a row is at distance exactly zero from itself.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows.
    Y : array-like of shape (n_candidates, n_features), optional
        Columns; by default `X` itself.
    metric : {"sqeuclidean", "euclidean", "cosine", "inner_product"}
        Distance.
    out : ndarray of float32, shape (n_samples, n_candidates), optional
        C-contiguous array to write into, a memory map for instance.
    device : {"auto", "cpu", "cuda", "cuda:1", "reference"}
        Where to compute; ``"auto"`` is the GPU that the arrays lie on, else the CPU.
    n_threads : int, optional
        Threads; by default `fastface.get_num_threads`.

    Returns
    -------
    ndarray of float32, shape (n_samples, n_candidates)
        `out`, or a new array.

    Raises
    ------
    InvalidInputError
        If an array or a name cannot be used.
    """
    call = _Call(X, Y, y_name="Y", metric=metric, device=device, n_threads=n_threads)
    target = _target(out, call.x, (len(call.x), len(call.y)))
    call.run(
        lambda: call.backend.pairwise(
            call.x, call.y, call.metric, out=target, n_threads=call.n_threads
        )
    )
    result: NDArray[np.float32] = call.origin.give(target) if out is None else out
    return result


def _target(out: Any, rows: Any, shape: tuple[int, int]) -> Any:
    """Return what a matrix of distances is written to: it has to lie where the rows do."""
    on_gpu = gpu_of(rows) is not None
    if out is None:
        return rows.empty(shape, np.float32) if on_gpu else np.empty(shape, dtype=np.float32)
    if on_gpu and gpu_of(out, "out"):
        check_device_matrix(out, name="out")
        facts = out.__cuda_array_interface__
        if tuple(facts["shape"]) == shape and np.dtype(facts["typestr"]) == np.float32:
            return out
    elif not on_gpu and hasattr(out, "__dlpack__") and not gpu_of(out, "out"):
        target = np.asarray(out)
        wanted = target.flags.c_contiguous and target.flags.writeable
        if target.shape == shape and target.dtype == np.float32 and wanted:
            return target
    where = " on the GPU of the rows" if on_gpu else ""
    raise InvalidInputError(
        f"out must be a writeable C-contiguous float32 array of shape {shape}{where}"
    )
