"""A file from which an unfinished fit goes on, to the same bits.

It holds centers, not labels: those follow from the centers.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastface.errors import CorruptFileError, RunMismatchError
from fastface.storage import read_arrays, write_arrays

__all__ = [
    "BatchProgress",
    "Checkpoint",
    "Progress",
    "describe_init",
    "fingerprint",
    "fingerprint_of",
]

_FORMAT = 2
_SAMPLED_ROWS = 256


@dataclass(frozen=True)
class Progress:
    """How far a fit of `KMeans` has come.

    Attributes
    ----------
    init : int
        Number of the initialisation being worked on; earlier ones are done.
    iteration : int
        Iterations of it that were done; zero before the first.
    assigned : ndarray or None
        Centers that the last iteration assigned rows to.
    centers : ndarray or None
        Centers that it moved to.
    best : ndarray or None
        Centers of the best initialisation that is done.
    best_inertia : float
        Its inertia.
    best_n_iter : int
        Its number of iterations.
    """

    init: int = 0
    iteration: int = 0
    assigned: NDArray[Any] | None = None
    centers: NDArray[Any] | None = None
    best: NDArray[Any] | None = None
    best_inertia: float = np.inf
    best_n_iter: int = 0


@dataclass(frozen=True)
class BatchProgress:
    """How far a fit of `MiniBatchKMeans` has come.

    Attributes
    ----------
    step : int
        Batches that were done.
    since_reassignment : int
        Rows seen since starved centers were looked for.
    waited : int
        Batches in a row without a better smoothed inertia.
    finished : bool
        Whether no batch is to follow.
    centers : ndarray
        Centers.
    counts : ndarray
        Weight that each of them has seen.
    best : float or None
        The best smoothed inertia.
    smoothed : float or None
        The smoothed inertia now.
    """

    step: int
    since_reassignment: int
    waited: int
    finished: bool
    centers: NDArray[Any]
    counts: NDArray[np.float64]
    best: float | None = None
    smoothed: float | None = None


def describe_init(init: Any) -> Any:
    """Return what tells one `init` from another, as JSON can hold it."""
    if isinstance(init, str):
        return init
    if callable(init):
        return getattr(init, "__qualname__", type(init).__qualname__)
    return fingerprint(np.asarray(init), None)


def fingerprint(X: NDArray[Any], weights: NDArray[np.float64] | None) -> int:
    """Return a number that other rows would hardly share, from a few of them."""
    return fingerprint_of(lambda rows: X[rows], len(X), weights)


def fingerprint_of(
    take: Callable[[NDArray[np.int64]], NDArray[Any]],
    n_rows: int,
    weights: NDArray[np.float64] | None,
) -> int:
    """Return the `fingerprint` of rows that somebody else holds; `take` returns some of them."""
    sampled = np.arange(0, n_rows, max(1, n_rows // _SAMPLED_ROWS), dtype=np.int64)
    value = zlib.crc32(np.ascontiguousarray(take(sampled)).tobytes())
    value = zlib.crc32(np.ascontiguousarray(take(np.array([n_rows - 1]))).tobytes(), value)
    if weights is not None:
        value = zlib.crc32(weights.tobytes(), value)
    return value


_P = TypeVar("_P", Progress, BatchProgress)


class Checkpoint(Generic[_P]):
    """One file, replaced whole whenever it is brought up to date.

    Parameters
    ----------
    path : str or path
        The file.
    kind : type
        Of what it holds.
    job : dict
        What the fit is: a file of another job is refused.
    """

    def __init__(self, path: str | os.PathLike[str], kind: type[_P], job: dict[str, Any]) -> None:
        self.path = Path(path)
        self._kind: type[_P] = kind
        self._job = {"format": _FORMAT, **job}

    def load(self) -> _P | None:
        """Return how far the job had come; None where there is no file.

        Raises
        ------
        RunMismatchError
            If the file belongs to other data or parameters.
        CorruptFileError
            If it is no checkpoint.
        """
        if not self.path.exists():
            return None
        try:
            header, arrays = read_arrays(self.path, mmap=False)
            stored, state = header["job"], header["state"]
            values: dict[str, Any] = {**state, **arrays}
            progress = self._kind(**values) if stored == self._job else None
        except (CorruptFileError, KeyError, TypeError) as error:
            raise CorruptFileError(
                f"{self.path} is not a whole checkpoint ({error}); delete it to start anew"
            ) from error
        if progress is None:
            different = sorted(
                key
                for key in stored.keys() | self._job.keys()
                if stored.get(key) != self._job.get(key)
            )
            raise RunMismatchError(
                f"checkpoint {self.path} belongs to another fit: it differs in"
                f" {', '.join(different)}; name another file, or delete this one"
            )
        return progress

    def save(self, progress: _P) -> None:
        """Replace the file."""
        values = {field.name: getattr(progress, field.name) for field in fields(progress)}
        arrays: dict[str, Any] = {
            name: v for name, v in values.items() if isinstance(v, np.ndarray)
        }
        state = {name: v for name, v in values.items() if name not in arrays and v is not None}
        write_arrays(self.path, {"job": self._job, "state": state}, arrays)
