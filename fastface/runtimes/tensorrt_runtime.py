"""Running engines: one adapter for TensorRT and TensorRT-RTX, since both have one interface.

Where they differ: TensorRT-RTX finishes an engine on the GPU it runs on, keeps what it compiled
there in a cache of its own, and records CUDA graphs by itself.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import FastfaceError, InvalidInputError, ModelError
from fastface.runtimes.device import CudaDevice
from fastface.runtimes.engine_file import EngineInfo, read_engine
from fastface.runtimes.lanes import Interface, Lane
from fastface.runtimes.protocol import Runtime
from fastface.runtimes.tensorrt import brief, import_tensorrt, make_logger

__all__ = ["TensorRtRuntime"]

# One computes, one is fed, one is read.
_LANES = 3


class TensorRtRuntime(Runtime):
    """An engine on a CUDA device.

    Threads may share it: each takes a lane that is free, or waits for one.

    Parameters
    ----------
    path : Path
        What `fastface.runtimes.engines.build_engine` made.
    device : CudaDevice
    n_lanes : int
        Batches under way at once.

    Attributes
    ----------
    info : EngineInfo
        What the engine was built from and for.

    Raises
    ------
    MissingDependencyError
        If its runtime is not installed.
    ModelError
        If it was built by another version, for another GPU, or is no network for crops.
    CorruptFileError, StorageError
        If the file is damaged or cannot be read.
    BackendUnavailableError
        If the device has not enough memory.
    """

    n_threads = 1

    def __init__(self, path: Path, *, device: CudaDevice, n_lanes: int = _LANES) -> None:
        self.info, data = read_engine(path)
        self._path = path
        self.name = self.info.runtime
        trt = import_tensorrt(self.info.runtime, purpose=f"Running {path}")
        self.version: str = trt.__version__
        _check_fits(path, self.info, self.version, device)
        self._device = device
        device.activate()
        self._problems: list[str] = []
        logger = make_logger(trt, self._problems)
        runtime = trt.Runtime(logger)
        _check_validity(path, trt, runtime, data)
        engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise ModelError(f"{self.name} cannot load {path}: {brief(self._problems)}")
        interface = _find_interface(path, trt, engine)
        self.max_batch: int = interface.max_batch
        config, records = _configure(trt, engine)
        lanes: list[Lane] = []
        self._close = weakref.finalize(self, _close, device, lanes, [engine, runtime, logger])
        try:
            for _ in range(n_lanes):
                context = engine.create_execution_context(*config)
                if context is None:
                    raise ModelError(
                        f"{path} cannot be run on {device.name}: {brief(self._problems)}; if its"
                        " memory is full, use a smaller batch_size"
                    )
                lanes.append(Lane(device, context, interface, records=records))
        except BaseException:
            self._close()
            raise
        # The lane that was used last has the shapes, and the graph, of the last batch.
        self._free: LifoQueue[Lane] = LifoQueue()
        for lane in lanes:
            self._free.put(lane)

    def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch of any size; see `Runtime.run`."""
        pieces = (
            crops[start : start + self.max_batch] for start in range(0, len(crops), self.max_batch)
        )
        return np.concatenate(list(self.run_batches(pieces)))

    def run_batches(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Embed batches, several under way at once; see `Runtime.run_batches`."""
        self._check_open()
        self._device.activate()
        under_way: deque[Lane] = deque()
        try:
            for batch in batches:
                if len(batch) > self.max_batch:
                    raise InvalidInputError(
                        f"a batch of {len(batch)} crops: {self._path} takes 1 to {self.max_batch}"
                    )
                lane = self._next_lane(under_way)
                if lane is None:
                    yield self._finish(under_way)
                    lane = self._free.get()
                try:
                    lane.start(batch)
                except BaseException:
                    self._free.put(lane)
                    raise
                under_way.append(lane)
            while under_way:
                yield self._finish(under_way)
        except ModelError as error:
            raise ModelError(f"{self._path}: {error}: {brief(self._problems)}") from error
        finally:
            for lane in under_way:
                with suppress(FastfaceError):
                    lane.finish()
                self._free.put(lane)

    def close(self) -> None:
        """Give back the device's memory; the runtime cannot be used after that."""
        self._close()

    def _next_lane(self, under_way: deque[Lane]) -> Lane | None:
        """Return a free lane; None where this caller has to finish one of its own first.

        Only who holds none waits: two callers that hold some could wait for each other for ever.
        """
        if not under_way:
            return self._free.get()
        with suppress(Empty):
            return self._free.get_nowait()
        return None

    def _finish(self, under_way: deque[Lane]) -> NDArray[np.float32]:
        lane = under_way.popleft()
        try:
            return lane.finish()
        finally:
            self._free.put(lane)

    def _check_open(self) -> None:
        if not self._close.alive:
            raise InvalidInputError(f"the runtime of {self._path} was closed: make a new one")


def _close(device: CudaDevice, lanes: list[Lane], owned: list[Any]) -> None:
    with suppress(FastfaceError):  # at exit the driver may have gone already
        device.activate()
    while lanes:
        with suppress(FastfaceError):
            lanes.pop().close()
    # Contexts before their engine, the engine before its runtime.
    while owned:
        owned.pop(0)


def _check_fits(path: Path, info: EngineInfo, version: str, device: CudaDevice) -> None:
    again = f"`fastface engines build {info.model} --runtime {info.runtime} --arch {device.arch}`"
    if info.runtime_version != version:
        raise ModelError(
            f"{path} was built by {info.runtime} {info.runtime_version}, and {version} is"
            f" installed: build it again, {again}"
        )
    if info.arch != device.arch:
        raise ModelError(
            f"{path} was built for {info.arch}, and {device.name} is {device.arch}: build one for"
            f" it, {again}"
        )
    if info.device not in ("", device.name):
        raise ModelError(
            f"{path} was tuned on {info.device}, and this is {device.name}: build one here, {again}"
        )


def _check_validity(path: Path, trt: Any, runtime: Any, data: bytes) -> None:
    """Ask TensorRT-RTX, before it loads an engine, whether it can."""
    ask = getattr(runtime, "get_engine_validity", None)
    if ask is None:
        return
    validity, found = ask(data)
    if validity == trt.EngineValidity.INVALID:
        kinds = trt.EngineInvalidityDiagnostics.__members__
        reasons = [
            name.lower().replace("_", " ") for name, kind in kinds.items() if int(found) & int(kind)
        ]
        raise ModelError(
            f"{path} cannot be run here ({', '.join(reasons) or 'no reason given'}): build it again"
        )


def _find_interface(path: Path, trt: Any, engine: Any) -> Interface:
    """Check that an engine takes uint8 crops and gives float32 vectors."""
    names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
    inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
    outputs = [n for n in names if n not in inputs]
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, not 1 and 1")
    crops, vectors = (
        tuple(engine.get_tensor_shape(inputs[0])),
        tuple(engine.get_tensor_shape(outputs[0])),
    )
    types = engine.get_tensor_dtype(inputs[0]), engine.get_tensor_dtype(outputs[0])
    if types != (trt.DataType.UINT8, trt.DataType.FLOAT) or len(crops) != 4 or len(vectors) != 2:
        raise ModelError(
            f"{path} takes {types[0]} of shape {crops} and gives {types[1]} of shape {vectors}:"
            " uint8 (n, h, w, 3) and float32 (n, d) are wanted"
        )
    largest = engine.get_tensor_profile_shape(inputs[0], 0)[2]
    return Interface(inputs[0], outputs[0], crops[1:], vectors[1], int(largest[0]))


def _configure(trt: Any, engine: Any) -> tuple[tuple[Any, ...], bool]:
    """Return how contexts are made, and whether graphs are ours to record."""
    strategy = getattr(trt, "CudaGraphStrategy", None)
    if strategy is None:
        return (), True
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = strategy.WHOLE_GRAPH_CAPTURE
    # Compiled for a shape before it first runs: when they wait in the background for a moment to
    # take over, the same crop's bits may change in the middle of a job.
    config.dynamic_shapes_kernel_specialization_strategy = (
        trt.DynamicShapesKernelSpecializationStrategy.EAGER
    )
    return (config,), False
