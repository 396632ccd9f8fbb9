"""What every runtime does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Runtime", "fixed_batch"]


def fixed_batch(shape: Sequence[int | str | None]) -> int | None:
    """Return the only batch size that an input takes; None if it takes any."""
    return shape[0] if shape and isinstance(shape[0], int) else None


class Runtime(Protocol):
    """A model opened for execution.

    Attributes
    ----------
    name : str
        Such as ``"onnxruntime"``.
    version : str
        Of the library behind it.
    n_threads : int
        How many threads it computes with.
    max_batch : int or None
        The largest batch it takes; None if it takes any.
    """

    name: str
    version: str
    n_threads: int
    max_batch: int | None = None

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch.

        Parameters
        ----------
        crops : uint8 ndarray of shape (n, height, width, 3)
            RGB, C-contiguous, n at least 1.

        Returns
        -------
        float32 ndarray of shape (n, d)
            Owned by the caller.
        """
        ...

    def run_batches(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Embed batches one after the other; where that helps, several are under way at once.

        Parameters
        ----------
        batches : iterable of uint8 ndarray of shape (n, height, width, 3)
            Taken as they are needed; at most a few are in memory.

        Yields
        ------
        float32 ndarray of shape (n, d)
            In the order of `batches`; owned by the caller.
        """
        return map(self.run, batches)
