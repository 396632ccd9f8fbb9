"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import MissingDependencyError, ModelError
from fastface.runtimes.protocol import Runtime, fixed_batch

__all__ = ["OnnxRuntime", "Session"]

_ERRORS_ONLY = 3
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"


class Session:
    """An ONNX file with one input, opened by ONNX Runtime's CPU provider.

    Parameters
    ----------
    path : Path
        The file.
    n_threads : int
        Threads to compute with.

    Attributes
    ----------
    input_shape : list of int or str or None
        As the file declares it; a dimension that varies is no integer.
    output_shapes : list of such lists
    output_names : list of str
    version : str
        Of ONNX Runtime.

    Raises
    ------
    MissingDependencyError
        If ONNX Runtime is not installed.
    ModelError
        If it cannot open the file.
    """

    def __init__(self, path: Path, *, n_threads: int) -> None:
        onnxruntime = _import_quietly()
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
        self._path = path
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._input: str = inputs[0].name
        self.input_shape: list[int | str | None] = list(inputs[0].shape)
        self.output_names: list[str] = [output.name for output in outputs]
        self.output_shapes: list[list[int | str | None]] = [list(o.shape) for o in outputs]
        self.version: str = onnxruntime.__version__

    def run(self, values: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Return every output for one input.

        Raises
        ------
        ModelError
            If the network cannot be run on it.
        """
        try:
            outputs: Sequence[NDArray[Any]] = self._session.run(None, {self._input: values})
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot run {self._path} on {values.shape}: {error}"
            ) from error
        return outputs


def _import_quietly() -> Any:
    """Import ONNX Runtime without its telemetry.

    Since 1.29 its wheels, unless told otherwise before they are loaded, keep a database in the
    user's cache and send events about models and sessions to their maker.  A user who set the
    variable, to whatever, has decided already.
    """
    os.environ.setdefault(_NO_TELEMETRY, "1")
    try:
        onnxruntime = import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "onnxruntime", extra="faces", purpose="runtime='onnxruntime'"
        ) from error
    if os.environ[_NO_TELEMETRY] != "0":
        # Another part of the program may have loaded it before: this ends what it has begun.
        onnxruntime.disable_telemetry_events()
    return onnxruntime


class OnnxRuntime(Runtime):
    """An embedding model opened by ONNX Runtime's CPU provider.

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
        self._session = Session(path, n_threads=n_threads)
        self.version = self._session.version
        self.n_threads = n_threads
        self.max_batch = fixed_batch(self._session.input_shape)

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch; see `Runtime.run`."""
        embeddings: NDArray[np.float32] = self._session.run(crops)[0]
        return embeddings
