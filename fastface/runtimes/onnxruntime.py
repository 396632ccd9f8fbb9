"""ONNX Runtime on the CPU."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import MissingDependencyError, ModelError

__all__ = ["OnnxRuntime"]

_ERRORS_ONLY = 3


class OnnxRuntime:
    """An ONNX file opened by ONNX Runtime's CPU provider, in float32.

    Parameters
    ----------
    path : Path
        The file.
    n_threads : int
        Threads to compute with.

    Raises
    ------
    MissingDependencyError
        If ONNX Runtime is not installed.
    ModelError
        If it cannot open the file.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, *, n_threads: int) -> None:
        try:
            onnxruntime = import_module("onnxruntime")
        except ImportError as error:
            raise MissingDependencyError.for_package(
                "onnxruntime", extra="faces", purpose="runtime='onnxruntime'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Threads that wait by spinning take the cores from whoever decodes the next photos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exception types are not public
            raise ModelError(f"ONNX Runtime cannot open {path}: {error}") from error
        self._input: str = self._session.get_inputs()[0].name
        self._path = path
        self.version: str = onnxruntime.__version__
        self.n_threads = n_threads

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch; see `Runtime.run`."""
        try:
            embeddings: NDArray[np.float32] = self._session.run(None, {self._input: crops})[0]
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot run {self._path} on {crops.shape}: {error}"
            ) from error
        return embeddings
