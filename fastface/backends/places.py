"""Where arrays lie, and how results become what came in."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from numpy.typing import NDArray

from fastface.backends.registry import get_backend, tell_choice
from fastface.errors import InvalidInputError
from fastface.validation import check_device, check_device_matrix, check_matrix, gpu_of

__all__ = ["Origin", "as_given", "bring_rows", "choose_device", "on_host"]


def choose_device(device: str, arrays: dict[str, object]) -> str:
    """Return the device that serves a call with such arrays.

    Parameters
    ----------
    device : str
        What the caller asked for.
    arrays : dict of str to object
        The arrays by the names of the arguments; None is no array.

    Returns
    -------
    str
        `device`, or the GPU that the arrays lie on where ``"auto"`` or ``"cuda"`` leaves it open.

    Raises
    ------
    InvalidInputError
        If they do not all lie in one place, or the device works elsewhere.
    """
    places = {name: gpu_of(array, name) for name, array in arrays.items() if array is not None}
    found = {place for place in places.values() if place is not None}
    kind, number = check_device(device, also=("reference",))
    if not found:
        return device
    if len(set(places.values())) > 1:
        where = ", ".join(f"{name} in {place or 'host memory'}" for name, place in places.items())
        raise InvalidInputError(
            f"the arrays of one call lie in different places ({where}): bring them together"
        )
    (place,) = found
    name = next(iter(places))
    if kind in ("cpu", "reference"):
        raise InvalidInputError(
            f"{name} lies on {place}, and device={device!r} computes from arrays of the host: pass"
            " a copy there (cupy.asnumpy, tensor.cpu()), or device='auto'"
        )
    if number is not None and place not in ("cuda", f"cuda:{number}"):
        raise InvalidInputError(
            f"{name} lies on {place}, and the call runs on {device}: say device={place!r}, or move"
            " the array"
        )
    if kind == "auto":
        tell_choice(f"on {place}", "the arrays are there")
    return place if number is None else device


def on_host(array: Any) -> Any:
    """Return a copy of a GPU's array in NumPy; anything else as it is."""
    place = gpu_of(array)
    return array if place is None else get_backend(place).to_host(array)


def bring_rows(X: Any, device: str) -> tuple[NDArray[Any], str]:
    """Return rows as a matrix of the host, and the device for the dense part of what follows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, on the host or on a GPU.
    device : str
        What the caller asked for.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        See `fastface.validation.check_matrix`.
    str
        See `choose_device`.

    Raises
    ------
    InvalidInputError
        If the rows cannot be used, or lie elsewhere than `device`.
    """
    chosen = choose_device(device, {"X": X})
    if gpu_of(X) is not None:
        check_device_matrix(X)
    return check_matrix(on_host(X)), chosen


def as_given(rows: Any) -> Any:
    """Return rows as code of the caller's can use them: on a GPU, an array of CuPy."""
    return rows if gpu_of(rows) is None else rows.array


class Origin:
    """The library that an array came from, to give results back as its arrays.

    Parameters
    ----------
    array : object
        An argument as the caller gave it.
    """

    def __init__(self, array: object) -> None:
        self._on_gpu = gpu_of(array) is not None
        self._library = type(array).__module__.partition(".")[0]
        self._namespace: Any = None
        if self._library not in ("numpy", "torch", "cupy") and hasattr(type(array), "__dlpack__"):
            self._namespace = getattr(array, "__array_namespace__", lambda: None)()

    def give(self, result: Any) -> Any:
        """Return a result as an array of that library, without a copy.

        Parameters
        ----------
        result : ndarray or array of CuPy
            Where the call computed it.

        Returns
        -------
        array
            Of PyTorch, JAX or any library of the array API standard, if the argument was one of
            its; else `result`.
        """
        if self._library == "torch":
            torch = sys.modules["torch"]
            return torch.from_dlpack(result)
        if self._namespace is not None:
            return self._namespace.from_dlpack(result)
        return result

    def give_sparse(self, data: Any, indices: Any, offsets: Any, shape: tuple[int, int]) -> Any:
        """Return sparse rows as the library's own kind of them.

        Parameters
        ----------
        data, indices, offsets : ndarray or array of CuPy
            As in `scipy.sparse.csr_matrix`.
        shape : (int, int)
            Of the matrix.

        Returns
        -------
        scipy.sparse.csr_matrix, cupyx.scipy.sparse.csr_matrix or a sparse CSR tensor
        """
        if self._library == "torch":
            torch = sys.modules["torch"]
            with warnings.catch_warnings():
                # PyTorch calls these tensors a beta, in a warning of the first one made.
                warnings.filterwarnings(
                    "ignore", message="Sparse CSR tensor support", category=UserWarning
                )
                starts, columns, values = map(torch.from_dlpack, (offsets, indices, data))
                return torch.sparse_csr_tensor(
                    starts, columns.to(starts.dtype), values, size=shape, check_invariants=False
                )
        if self._on_gpu:
            from cupyx.scipy.sparse import csr_matrix as gpu_csr_matrix

            return gpu_csr_matrix((data, indices, offsets), shape=shape)
        from scipy.sparse import csr_matrix

        return csr_matrix((data, indices, offsets), shape=shape)
