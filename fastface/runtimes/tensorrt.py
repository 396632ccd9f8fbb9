"""Building engines with TensorRT and TensorRT-RTX: one adapter, since both have one interface.

TensorRT (data-centre GPUs) builds on the GPU that the engine is for.  TensorRT-RTX (consumer GPUs)
builds for any of them on any machine, with or without a GPU.  Networks are strongly typed: the
precision is the ONNX file's.  TensorRT times kernels while it builds, and what it measured is kept.
"""

from __future__ import annotations

import importlib
from typing import Any

from fastface.errors import (
    BackendUnavailableError,
    InvalidInputError,
    MissingDependencyError,
    ModelError,
)

__all__ = ["ENGINE_RUNTIMES", "EngineBuilder", "brief", "import_tensorrt", "make_logger"]

ENGINE_RUNTIMES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_OLDEST_BF16 = 80
_MAX_PROBLEM = 300


def import_tensorrt(runtime: str, *, purpose: str) -> Any:
    """Return the package of an engine runtime.

    Parameters
    ----------
    runtime : {"tensorrt", "tensorrt-rtx"}
    purpose : str
        What needs it; the beginning of a sentence.

    Raises
    ------
    InvalidInputError
        If it is neither.
    MissingDependencyError
        If it is not installed.
    """
    if runtime not in ENGINE_RUNTIMES:
        allowed = ", ".join(ENGINE_RUNTIMES)
        raise InvalidInputError(f"no engine runtime is called {runtime!r}; there are {allowed}")
    try:
        return importlib.import_module(ENGINE_RUNTIMES[runtime])
    except ImportError as error:
        raise MissingDependencyError.for_package(runtime, extra=runtime, purpose=purpose) from error


class EngineBuilder:
    """Builds engines with one of the two.

    Parameters
    ----------
    runtime : {"tensorrt", "tensorrt-rtx"}

    Attributes
    ----------
    runtime, version : str
    times : bool
        Whether it times kernels on the GPU that is there, and so builds for that one alone.

    Raises
    ------
    InvalidInputError
        If it is neither.
    MissingDependencyError
        If it is not installed.
    """

    def __init__(self, runtime: str) -> None:
        self._trt = import_tensorrt(runtime, purpose=f"Building engines for {runtime}")
        self.runtime = runtime
        self.version: str = self._trt.__version__
        self.times = not self._capabilities()

    def architectures(self) -> list[str]:
        """Return what can be built for without a GPU; empty for TensorRT, which needs its own."""
        return [f"sm_{number}" for number in self._capabilities()]

    def _capabilities(self) -> dict[int, Any]:
        kinds = getattr(self._trt, "ComputeCapability", None)
        names = [name for name in dir(kinds) if name.startswith("SM") and name[2:].isdigit()]
        return {
            number: getattr(kinds, f"SM{number}") for number in sorted(int(n[2:]) for n in names)
        }

    def check(self, arch: str, precision: str) -> None:
        """Refuse what cannot be built, before anything is done; see `build`."""
        self._check(arch, precision)

    def build(
        self, onnx: bytes, *, arch: str, precision: str, max_batch: int, timings: bytes = b""
    ) -> tuple[bytes, bytes]:
        """Build an engine.

        Parameters
        ----------
        onnx : bytes
            A model's file: one input of uint8 crops, any number of them.
        arch : str
            Such as ``"sm_89"``; of the GPU that is there for TensorRT.
        precision : str
            Of the file.
        max_batch : int
            Crops at once.
        timings : bytes
            What an earlier build measured; only for TensorRT.

        Returns
        -------
        engine : bytes
            For this version of the runtime and this architecture alone.
        timings : bytes
            What was known before and what was measured now; empty but for TensorRT.

        Raises
        ------
        InvalidInputError
            If the runtime cannot build for the architecture, or it lacks the precision.
        BackendUnavailableError
            If TensorRT finds no GPU.
        ModelError
            If the runtime cannot take the network.
        """
        capability = self._check(arch, precision)
        trt = self._trt
        problems: list[str] = []
        logger = make_logger(trt, problems)
        try:
            builder = trt.Builder(logger)
        except Exception as error:  # pybind11's own, where the library returns nothing
            raise BackendUnavailableError(
                f"{self.runtime} finds no GPU to build on ({brief([*problems, str(error)])}):"
                " 'tensorrt-rtx' builds without one"
            ) from error
        flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        network = builder.create_network(0 if flag is None else 1 << int(flag))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(onnx):
            found = [str(parser.get_error(i)) for i in range(parser.num_errors)] or problems
            raise ModelError(f"{self.runtime} cannot read the network: {brief(found)}")
        config = builder.create_builder_config()
        profile = builder.create_optimization_profile()
        crops = network.get_input(0)
        batch, *size = tuple(crops.shape)
        if batch > 0:
            raise ModelError(
                f"the network takes {batch} crop at a time, and an engine takes batches: export it"
                " with a dynamic batch dimension"
            )
        profile.set_shape(
            crops.name, (1, *size), (max(1, max_batch // 2), *size), (max_batch, *size)
        )
        config.add_optimization_profile(profile)
        if capability is not None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(capability, 0)
        if precision == "fp32":
            # Or else products are rounded to the ten bits of TF32, and drift is not that of fp32.
            config.clear_flag(trt.BuilderFlag.TF32)
        if self.times:
            known = config.create_timing_cache(timings)
            config.set_timing_cache(known, ignore_mismatch=False)
        if not builder.is_network_supported(network, config):
            raise ModelError(f"{self.runtime} has no kernels for {arch}: {brief(problems)}")
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise ModelError(f"{self.runtime} cannot build for {arch}: {brief(problems)}")
        measured = bytes(config.get_timing_cache().serialize()) if self.times else b""
        return bytes(engine), measured

    def _check(self, arch: str, precision: str) -> Any:
        """Return the runtime's own name for an architecture."""
        known = self._capabilities()
        if not known:
            return None
        number = int(arch[3:]) if arch.startswith("sm_") and arch[3:].isdigit() else -1
        if number not in known:
            raise InvalidInputError(
                f"{self.runtime} {self.version} cannot build for {arch!r}; it can for"
                f" {', '.join(self.architectures())}"
            )
        if precision == "bf16" and number < _OLDEST_BF16:
            raise InvalidInputError(
                f"{arch} has no bf16, which begins with sm_{_OLDEST_BF16}: use fp16"
            )
        return known[number]


def make_logger(trt: Any, problems: list[str]) -> Any:
    """Return a logger that appends errors to a list."""

    class Collector(trt.ILogger):  # type: ignore[misc]
        """Keeps errors for the message instead of printing them."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            # Without a driver every build begins with this one; nothing depends on it.
            if severity <= trt.ILogger.ERROR and "CUDA driver version" not in message:
                problems.append(message)

    return Collector()


def brief(problems: list[str]) -> str:
    """Return the first of some messages, on one line."""
    text = " ".join((problems[0] if problems else "it does not say why").split())
    return text if len(text) <= _MAX_PROBLEM else text[:_MAX_PROBLEM] + "…"
