"""The only place where a runtime is chosen."""

from __future__ import annotations

import os
from collections.abc import Callable

from fastface.errors import InvalidInputError
from fastface.models import Model
from fastface.runtimes.onnxruntime import OnnxRuntime
from fastface.runtimes.openvino import OpenVinoRuntime
from fastface.runtimes.protocol import Runtime
from fastface.runtimes.tensorrt import ENGINE_RUNTIMES
from fastface.validation import check_integer

__all__ = ["choose_threads", "list_runtimes", "open_runtime"]

_RUNTIMES: dict[str, Callable[..., Runtime]] = {
    OnnxRuntime.name: OnnxRuntime,
    OpenVinoRuntime.name: OpenVinoRuntime,
}
# Fixed, so that what happens to be installed does not change the bits of an embedding.
_AUTO = OnnxRuntime.name
_MAX_THREADS = 1024


def list_runtimes() -> list[str]:
    """Return the names of all runtimes beside ``"auto"``, installed or not."""
    return [*_RUNTIMES, *ENGINE_RUNTIMES]


def open_runtime(
    model: Model,
    *,
    runtime: str = "auto",
    n_threads: int | None = None,
) -> Runtime:
    """Open a model for execution on the CPU.

    Parameters
    ----------
    model : Model
        From `fastface.models.load`.
    runtime : {"auto", "onnxruntime", "openvino"}
        ``"auto"`` is ONNX Runtime, wherever it runs: another runtime gives other last bits, so it
        is never chosen because it happens to be installed.
    n_threads : int, optional
        Threads to compute with; as many as this process has cores if None.

    Returns
    -------
    Runtime

    Raises
    ------
    InvalidInputError
        If a name is not one of those above or the number of threads makes no sense.
    MissingDependencyError
        If the runtime is not installed.
    ModelError
        If it cannot open the file.
    """
    if runtime != "auto" and runtime not in _RUNTIMES:
        allowed = ", ".join(["auto", *list_runtimes()])
        raise InvalidInputError(f"no runtime is called {runtime!r}; choose one of {allowed}")
    if runtime == OpenVinoRuntime.name and model.precision in ("fp16", "bf16"):
        raise InvalidInputError(
            f"OpenVINO would undo the rounding of an emulated {model.precision} model: use "
            "runtime='onnxruntime', or precision='fp32' or 'int8'"
        )
    n_threads = choose_threads(n_threads)
    return _RUNTIMES[_AUTO if runtime == "auto" else runtime](model.onnx_path, n_threads=n_threads)


def choose_threads(n_threads: int | None) -> int:
    """Return a number of threads, checked: as many as this process has cores if None."""
    if n_threads is None:
        n_threads = _usable_cores()
    return check_integer(n_threads, name="n_threads", low=1, high=_MAX_THREADS)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
