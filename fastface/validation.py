"""The one place where arrays are cast, copied or refused.

A matrix that leaves this module is float16, float32 or float64, and, unless the caller wants it in
any layout, C-contiguous, finite, and within the range for which the kernels' guarantees hold.
Arrays on a GPU are looked at from outside: nothing here copies or reads them.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastface.errors import InvalidInputError

__all__ = [
    "METRICS",
    "check_bytes",
    "check_column",
    "check_device",
    "check_device_matrix",
    "check_integer",
    "check_matrix",
    "check_metric",
    "check_same_width",
    "gpu_of",
    "refuse_gpu",
    "refuse_values",
]

METRICS: Final = ("sqeuclidean", "euclidean", "cosine", "inner_product")

_STORAGE: Final = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
_BLOCK_BYTES: Final = 1 << 24
# Beyond it the square of a float64 norm overflows, below its inverse it vanishes.
_LARGEST: Final = 1e150
# DLDeviceType of dlpack.h: memory of the host (plain, pinned by CUDA, by ROCm), memory of CUDA.
_HOST_MEMORY: Final = (1, 3, 11)
_CUDA_MEMORY: Final = (2, 13)


def check_matrix(
    X: ArrayLike, *, name: str = "X", min_rows: int = 1, any_layout: bool = False
) -> NDArray[Any]:
    """Return `X` as a matrix the kernels accept, without a copy where it already is one.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Numbers.  float16, float32 and float64 are kept; integers and booleans become float32
        where that is exact for their type (up to 16 bits) and float64 otherwise.
    name : str
        What to call it in messages.
    min_rows : int
        Fewest rows allowed.
    any_layout : bool
        Leave slices and Fortran order as they are, and do not look at the values: for kernels that
        read any strides and find bad values while they read (then `refuse_values` says which).

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        C-contiguous, unless `any_layout`.  A copy is made only of input that is not.

    Raises
    ------
    InvalidInputError
        If it is not such a matrix, or holds NaN or infinity.
    """
    refuse_gpu(X, name)
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise InvalidInputError(f"{name} is not a rectangular array: {error}") from None
    except TypeError as error:
        if not hasattr(X, "dtype"):
            raise
        raise InvalidInputError(
            f"{name} has dtype {X.dtype}; allowed are float16, float32, float64 and integers"
            f" ({error})"
        ) from None
    if array.ndim != 2:
        raise InvalidInputError(
            f"{name} must be a matrix of shape (n_samples, n_features), got shape {array.shape}"
            + ("; reshape a single row with reshape(1, -1)" if array.ndim == 1 else "")
        )
    if array.dtype.kind in "iub":
        array = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
    if array.dtype not in _STORAGE and array.dtype.newbyteorder("=") not in _STORAGE:
        raise InvalidInputError(
            f"{name} has dtype {array.dtype}; allowed are float16, float32, float64 and integers"
        )
    if array.shape[0] < min_rows:
        raise InvalidInputError(f"{name} has {array.shape[0]} rows, needs at least {min_rows}")
    if array.shape[1] == 0:
        raise InvalidInputError(f"{name} has no features: shape {array.shape}")
    if any_layout:
        if array.dtype.isnative and array.flags.aligned:
            return array
        return np.array(array, dtype=array.dtype.newbyteorder("="))
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    refuse_values(array, name)
    return array


def check_column(values: ArrayLike, n: int, name: str) -> NDArray[Any]:
    """Return one value for each of `n` rows, or refuse them."""
    column: NDArray[Any] = np.asarray(values)
    if column.shape != (n,):
        raise InvalidInputError(
            f"{name} must have one value for each of the {n} rows, got shape {column.shape}"
        )
    return column


def gpu_of(array: object, name: str = "the array") -> str | None:
    """Return where an array lies: such as ``"cuda:1"``, or None in the memory of the host.

    Parameters
    ----------
    array : object
        Anything.  ``"cuda"`` is an array on a GPU that does not say on which.
    name : str
        What to call it in messages.

    Raises
    ------
    InvalidInputError
        If it lies on a device of another kind, or is part of a computation of gradients.
    """
    kind = type(array)
    if kind is np.ndarray or not (
        hasattr(kind, "__dlpack_device__") or hasattr(kind, "__cuda_array_interface__")
    ):
        return None
    if getattr(array, "requires_grad", False):
        raise InvalidInputError(f"{name} asks for gradients, and there are none: pass its detach()")
    if not hasattr(kind, "__dlpack_device__"):
        return "cuda" if hasattr(array, "__cuda_array_interface__") else None
    speaker: Any = array
    try:
        code, number = speaker.__dlpack_device__()
    except (BufferError, RuntimeError, ValueError) as error:
        raise InvalidInputError(f"{name} cannot be read: {error}") from None
    if int(code) in _HOST_MEMORY:
        return None
    if int(code) in _CUDA_MEMORY:
        return f"cuda:{int(number)}"
    raise InvalidInputError(
        f"{name} lies on a device that is neither a CPU nor an NVIDIA GPU (kind {int(code)} of"
        " DLPack): copy it to the host"
    )


def refuse_gpu(array: object, name: str) -> None:
    """Refuse an array on a GPU, where only the host computes."""
    if place := gpu_of(array, name):
        raise InvalidInputError(
            f"{name} lies on {place}, and this is computed from arrays of the host: pass a copy"
            " there (cupy.asnumpy, tensor.cpu())"
        )


def check_device_matrix(X: Any, *, name: str = "X", min_rows: int = 1) -> None:
    """Refuse an array on a GPU that the kernels cannot read where it is.

    Parameters
    ----------
    X : array on a GPU
        Of any library with ``__cuda_array_interface__``.
    name : str
        What to call it in messages.
    min_rows : int
        Fewest rows allowed.

    Raises
    ------
    InvalidInputError
        Saying what to do about it.
    """
    try:
        facts = X.__cuda_array_interface__
        dtype = np.dtype(facts["typestr"])
    except (AttributeError, KeyError, TypeError):  # bfloat16 and its like
        facts, dtype = None, None
    if facts is None or dtype not in _STORAGE:
        raise InvalidInputError(
            f"{name} has dtype {getattr(X, 'dtype', dtype)}; on a GPU float16, float32 and float64"
            " are allowed: cast it there"
        )
    shape = tuple(facts["shape"])
    if len(shape) != 2:
        raise InvalidInputError(
            f"{name} must be a matrix of shape (n_samples, n_features), got shape {shape}"
        )
    if shape[0] < min_rows:
        raise InvalidInputError(f"{name} has {shape[0]} rows, needs at least {min_rows}")
    if shape[1] == 0:
        raise InvalidInputError(f"{name} has no features: shape {shape}")
    strides = facts.get("strides")
    if strides is not None and tuple(strides) != (shape[1] * dtype.itemsize, dtype.itemsize):
        raise InvalidInputError(
            f"{name} is not contiguous on the GPU (strides {tuple(strides)} of shape {shape}):"
            " copy it there first (cupy.ascontiguousarray, tensor.contiguous())"
        )


def check_device(device: object, *, also: tuple[str, ...] = ()) -> tuple[str, int | None]:
    """Return the kind of a device and its number.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
    also : tuple of str
        More kinds that are allowed.

    Returns
    -------
    kind : str
        ``"cuda"`` for all GPUs.
    number : int or None
        Of the GPU, where it was given.

    Raises
    ------
    InvalidInputError
        If it is none of these.
    """
    if isinstance(device, str):
        if device in ("auto", "cpu", "cuda", *also):
            return device, None
        if match := re.fullmatch(r"cuda:(\d{1,3})", device, re.ASCII):
            return "cuda", int(match[1])
    allowed = ", ".join(map(repr, ("auto", "cpu", "cuda", "cuda:1", *also)))
    raise InvalidInputError(f"unknown device {device!r}; choose one of {allowed}")


def refuse_values(array: Any, name: str) -> None:
    """Refuse NaN, infinity and float64 values whose squares overflow, naming the first row."""
    rows = max(1, _BLOCK_BYTES // max(1, array.shape[1] * array.itemsize))
    for start in range(0, array.shape[0], rows):
        block: NDArray[Any] = np.asarray(array[start : start + rows])
        # NaN and infinity both survive into these two numbers; no temporary of the block's size.
        low, high = float(block.min()), float(block.max())
        if np.isfinite(low) and np.isfinite(high) and max(-low, high) <= _LARGEST:
            continue
        bad = ~(np.abs(block.astype(np.float64)) <= _LARGEST)
        row, column = (int(i[0]) for i in np.nonzero(bad))
        raise InvalidInputError(
            f"{name}[{start + row}, {column}] is {block[row, column]}; values must be finite"
            f" and at most {_LARGEST:g} in magnitude: drop or repair such rows"
        )


def check_same_width(X: NDArray[Any], Y: NDArray[Any], *, names: tuple[str, str]) -> None:
    """Refuse two matrices with different numbers of features."""
    if X.shape[1] != Y.shape[1]:
        raise InvalidInputError(
            f"{names[0]} has {X.shape[1]} features and {names[1]} has {Y.shape[1]}; they must agree"
        )


def check_metric(metric: str) -> str:
    """Return `metric` if the kernels know it."""
    if metric not in METRICS:
        raise InvalidInputError(f"unknown metric {metric!r}; choose one of {', '.join(METRICS)}")
    return metric


def check_integer(value: object, *, name: str, low: int, high: int | None = None) -> int:
    """Return `value` as an int within [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidInputError(f"{name} must be an integer, got {value!r}")
    number = int(value)
    if number < low or (high is not None and number > high):
        allowed = f"at least {low}" if high is None else f"between {low} and {high}"
        raise InvalidInputError(f"{name} must be {allowed}, got {number}")
    return number


_UNITS: Final = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_UNITS_OF_1024: Final = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_BYTES: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", re.IGNORECASE)


def check_bytes(value: object, *, name: str) -> int:
    """Return an amount of memory in bytes.

    Parameters
    ----------
    value : int or str
        Bytes, or text such as ``"512MiB"`` or ``"2 GB"``.
    name : str
        What to call it in messages.

    Raises
    ------
    InvalidInputError
        If it is no such amount, or not positive.
    """
    if isinstance(value, str) and (match := _BYTES.fullmatch(value)):
        unit = match[2].upper()
        factor = _UNITS.get(unit) or _UNITS_OF_1024.get(unit)
        if factor is not None:
            value = int(float(match[1]) * factor)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value <= 0:
        raise InvalidInputError(
            f"{name} must be a number of bytes, or text such as '512MiB', got {value!r}"
        )
    return int(value)
