"""From what a user asks for to a model and what runs it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastface import models
from fastface.errors import InvalidInputError
from fastface.models import Model, ModelSpec
from fastface.models.quantize import Ranges
from fastface.runtimes.calibration import calibrate
from fastface.runtimes.device import CudaDevice, parse_device
from fastface.runtimes.engine_file import is_engine, read_engine
from fastface.runtimes.engines import build_engine
from fastface.runtimes.protocol import Runtime
from fastface.runtimes.registry import choose_threads, open_runtime
from fastface.runtimes.tensorrt import ENGINE_RUNTIMES, EngineBuilder
from fastface.runtimes.tensorrt_runtime import TensorRtRuntime

__all__ = ["open_model"]


def open_model(
    name_or_path: str | os.PathLike[str],
    *,
    spec: ModelSpec | str | None = None,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "fp32",
    calibration: NDArray[np.uint8] | None = None,
    max_batch: int = 32,
    n_threads: int | None = None,
) -> tuple[Model, Runtime]:
    """Load a model, change its precision, build its engine where one is needed, and open it.

    Parameters
    ----------
    name_or_path, spec
        See `fastface.models.load`; or the file of an engine.
    runtime : {"auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"}
        ``"auto"`` is ONNX Runtime on the CPU; on a CUDA device TensorRT-RTX where it serves the
        architecture, else TensorRT.  It never depends on what happens to be installed.
    device : {"auto", "cpu", "cuda", "cuda:1", …}
        ``"auto"`` is the first CUDA device for an engine, else the CPU.
    precision, calibration
        See `fastface.Embedder`.
    max_batch : int
        Crops at once, for an engine that has to be built.
    n_threads : int, optional
        For the CPU; see `open_runtime`.

    Returns
    -------
    model : Model
        What runs.  For the file of an engine its path, and the SHA-256 of the ONNX file it was
        made from.
    runtime : Runtime

    Raises
    ------
    FastfaceError
        See `fastface.Embedder`.
    """
    if calibration is not None and precision != "int8":
        raise InvalidInputError(f"calibration is for precision='int8', not {precision!r}")
    ordinal = parse_device(device)
    path = Path(os.fspath(name_or_path)).expanduser()
    if is_engine(path):
        if calibration is not None:
            raise InvalidInputError(f"{path} is an engine: its precision was decided when built")
        return _open_engine_file(path, spec, runtime, device, precision)
    on_gpu = ordinal is not None or runtime in ENGINE_RUNTIMES
    if not on_gpu:
        return _open_on_cpu(name_or_path, spec, runtime, precision, calibration, n_threads)
    cuda, runtime = _choose_engine_runtime(runtime, device)
    loaded = models.load(name_or_path, spec)
    if precision == "fp32":
        precision = loaded.precision  # a file that is typed already stays what it is
    ranges = _measure(loaded, calibration, n_threads)
    engine = build_engine(
        loaded, runtime=runtime, arch="native", precision=precision, max_batch=max_batch,
        ranges=ranges, device=cuda,
    )  # fmt: skip
    model = loaded
    if loaded.precision != precision:
        model = models.change_precision(loaded, precision, ranges=ranges, symmetric=True)
    return model, TensorRtRuntime(engine, device=cuda)


def _open_on_cpu(
    name_or_path: str | os.PathLike[str],
    spec: ModelSpec | str | None,
    runtime: str,
    precision: str,
    calibration: NDArray[np.uint8] | None,
    n_threads: int | None,
) -> tuple[Model, Runtime]:
    loaded = models.load(name_or_path, spec)
    ranges = _measure(loaded, calibration, n_threads)
    model = models.change_precision(loaded, precision, ranges=ranges, emulate=True)
    return model, open_runtime(model, runtime=runtime, n_threads=n_threads)


def _measure(
    model: Model, calibration: NDArray[np.uint8] | None, n_threads: int | None
) -> Ranges | None:
    if calibration is None:
        return None
    return calibrate(model, calibration, n_threads=choose_threads(n_threads))


def _choose_engine_runtime(runtime: str, device: str) -> tuple[CudaDevice, str]:
    if runtime not in ("auto", *ENGINE_RUNTIMES):
        raise InvalidInputError(
            f"runtime {runtime!r} does not run on device {device!r}: use 'tensorrt-rtx' or"
            " 'tensorrt', or device='cpu'"
        )
    if runtime in ENGINE_RUNTIMES:
        if device == "cpu":
            raise InvalidInputError(
                f"runtime {runtime!r} runs on GPUs: use device='cuda', or runtime='onnxruntime'"
            )
        EngineBuilder(runtime)  # what is not installed is said before what is not there
        return CudaDevice(parse_device(device) or 0), runtime
    cuda = CudaDevice(parse_device(device) or 0)
    served = EngineBuilder("tensorrt-rtx").architectures()
    return cuda, "tensorrt-rtx" if cuda.arch in served else "tensorrt"


def _open_engine_file(
    path: Path, spec: ModelSpec | str | None, runtime: str, device: str, precision: str
) -> tuple[Model, Runtime]:
    info, _ = read_engine(path)
    carried = ModelSpec.from_json(info.spec)
    given = models.get_spec(spec) if isinstance(spec, str) else spec
    if given is not None and given.to_json() != carried.to_json():
        raise InvalidInputError(
            f"{path} is an engine for {carried.name!r}; {given.name!r} contradicts it: leave spec="
            " out"
        )
    if runtime not in ("auto", info.runtime):
        raise InvalidInputError(f"{path} is an engine for {info.runtime}, not for {runtime!r}")
    if precision not in ("fp32", info.precision):
        raise InvalidInputError(f"{path} computes in {info.precision}, not in {precision!r}")
    cuda, _ = _choose_engine_runtime(info.runtime, device)
    model = Model(carried, path.absolute(), info.model_sha256, info.model_sha256, info.precision)
    return model, TensorRtRuntime(path, device=cuda)
