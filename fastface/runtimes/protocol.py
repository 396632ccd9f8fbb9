"""What every runtime does."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Runtime"]


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
    """

    name: str
    version: str
    n_threads: int

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
