"""Embedding on the workers of a Dask cluster, the model loaded once a worker."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.distributed.inputs import is_dask
from fastface.embedder import Embedder
from fastface.errors import InvalidInputError

__all__ = ["embed"]

_loaded: dict[str, Embedder] = {}
_lock = threading.Lock()


def embed(
    crops: Any,
    model: str = "dlib-resnet",
    *,
    normalize: bool = False,
    n_threads: int = 1,
    **options: Any,
) -> Any:
    """Turn aligned crops into vectors, where the crops are.

    Parameters
    ----------
    crops : dask.array.Array of uint8, shape (n, height, width, 3)
        RGB crops, divided along the first axis.
    model : str
        Name of a model, or an ONNX file that every worker can open.
    normalize : bool
        Scale vectors to unit length.
    n_threads : int
        Threads of one chunk; a worker works on as many chunks at a time as it has threads.
    **options
        Further parameters of `fastface.Embedder`, such as ``precision="int8"``.

    Returns
    -------
    dask.array.Array of float32, shape (n, n_features)
        Vectors, not yet computed.  Every worker loads the model once.

    Raises
    ------
    InvalidInputError
        If `crops` is not such an array.
    ModelError, MissingDependencyError, BackendUnavailableError
        If the model does not open in this process: it is tried here first, so that a mistake does
        not show in the middle of a long run.
    """
    if not is_dask(crops):
        raise InvalidInputError(
            f"crops must be a Dask array, got {type(crops).__name__}; use fastface.Embedder for"
            " crops in memory"
        )
    if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
        raise InvalidInputError(
            "crops must be uint8 of shape (n, height, width, 3), got"
            f" {crops.dtype} of shape {crops.shape}"
        )
    settings = {"model": model, "n_threads": n_threads, **options}
    size = _embedder(settings).spec.embedding_size
    return crops.rechunk({1: -1, 2: -1, 3: -1}).map_blocks(
        _embed_chunk,
        settings,
        normalize,
        dtype=np.float32,
        drop_axis=(2, 3),
        chunks=(crops.chunks[0], (size,)),
        meta=np.empty((0, size), np.float32),
    )


def _embed_chunk(
    crops: NDArray[np.uint8], settings: dict[str, Any], normalize: bool
) -> NDArray[np.float32]:
    return _embedder(settings).embed(np.ascontiguousarray(crops), normalize=normalize)


def _embedder(settings: dict[str, Any]) -> Embedder:
    """Return the embedder of this process with these settings."""
    name = repr(sorted(settings.items()))
    with _lock:
        if name not in _loaded:
            _loaded[name] = Embedder(**settings)
        return _loaded[name]
