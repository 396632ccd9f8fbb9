"""OpenVINO on the CPU."""

from __future__ import annotations

import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import MissingDependencyError, ModelError
from fastface.runtimes.protocol import Runtime

__all__ = ["OpenVinoRuntime"]


class OpenVinoRuntime(Runtime):
    """An ONNX file compiled by OpenVINO for the CPU, in float32.

    Parameters
    ----------
    path : Path
        The file.
    n_threads : int
        Threads to compute with.

    Raises
    ------
    MissingDependencyError
        If OpenVINO is not installed.
    ModelError
        If it cannot compile the file.
    """

    name = "openvino"

    def __init__(self, path: Path, *, n_threads: int) -> None:
        try:
            openvino = import_module("openvino")
        except ImportError as error:
            raise MissingDependencyError.for_package(
                "openvino", extra="openvino", purpose="runtime='openvino'"
            ) from error
        settings = {
            # Left to itself it computes in bfloat16 wherever the processor can.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": n_threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        core = openvino.Core()
        try:
            self._compiled: Any = core.compile_model(core.read_model(path), "CPU", settings)
        except Exception as error:
            raise ModelError(f"OpenVINO cannot open {path}: {error}") from error
        self._path = path
        # One request is kept, and its output buffer is used again: callers take turns.
        self._lock = threading.Lock()
        self.version: str = openvino.__version__
        self.n_threads = n_threads
        batch = self._compiled.input(0).get_partial_shape()[0]
        self.max_batch = None if batch.is_dynamic else batch.get_length()

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch; see `Runtime.run`."""
        try:
            with self._lock:
                embeddings: NDArray[np.float32] = self._compiled(crops, share_outputs=False)[0]
        except Exception as error:
            raise ModelError(
                f"OpenVINO cannot run {self._path} on {crops.shape}: {error}"
            ) from error
        return embeddings
