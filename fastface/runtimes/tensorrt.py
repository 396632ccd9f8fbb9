"""Building engines with TensorRT and TensorRT-RTX: one adapter, since both have one interface.

TensorRT (data-centre GPUs) builds on the GPU that the engine is for.  TensorRT-RTX (consumer GPUs)
builds for any of them on any machine, with or without a GPU.  Networks are strongly typed: the
precision is the ONNX file's.
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

__all__ = ["ENGINE_RUNTIMES", "EngineBuilder"]

ENGINE_RUNTIMES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_OLDEST_BF16 = 80
_MAX_PROBLEM = 300


class EngineBuilder:
    """Builds engines with one of the two.

    Parameters
    ----------
    runtime : {"tensorrt", "tensorrt-rtx"}

    Attributes
    ----------
    runtime, version : str

    Raises
    ------
    InvalidInputError
        If it is neither.
    MissingDependencyError
        If it is not installed.
    """

    def __init__(self, runtime: str) -> None:
        if runtime not in ENGINE_RUNTIMES:
            allowed = ", ".join(ENGINE_RUNTIMES)
            raise InvalidInputError(f"no engine runtime is called {runtime!r}; there are {allowed}")
        try:
            self._trt: Any = importlib.import_module(ENGINE_RUNTIMES[runtime])
        except ImportError as error:
            raise MissingDependencyError.for_package(
                runtime, extra=runtime, purpose=f"Building engines for {runtime}"
            ) from error
        self.runtime = runtime
        self.version: str = self._trt.__version__

    def architectures(self) -> list[str]:
        """Return what can be built for without a GPU; empty for TensorRT, which needs its own."""
        return [f"sm_{number}" for number in self._capabilities()]

    def _capabilities(self) -> dict[int, Any]:
        kinds = getattr(self._trt, "ComputeCapability", None)
        names = [name for name in dir(kinds) if name.startswith("SM") and name[2:].isdigit()]
        return {
            number: getattr(kinds, f"SM{number}") for number in sorted(int(n[2:]) for n in names)
        }

    def build(self, onnx: bytes, *, arch: str, precision: str, max_batch: int) -> bytes:
        """Build an engine.

        Parameters
        ----------
        onnx : bytes
            A model's file: one input of uint8 crops, any number of them.
        arch : str
            Such as ``"sm_89"``; ``"native"`` for TensorRT: the GPU that is there.
        precision : str
            Of the file.
        max_batch : int
            Crops at once.

        Returns
        -------
        bytes
            For this version of the runtime and this architecture alone.

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
        logger = _make_logger(trt, problems)
        try:
            builder = trt.Builder(logger)
        except Exception as error:  # pybind11's own, where the library returns nothing
            raise BackendUnavailableError(
                f"{self.runtime} finds no GPU to build on ({_brief([*problems, str(error)])}):"
                " 'tensorrt-rtx' builds without one"
            ) from error
        flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        network = builder.create_network(0 if flag is None else 1 << int(flag))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(onnx):
            found = [str(parser.get_error(i)) for i in range(parser.num_errors)] or problems
            raise ModelError(f"{self.runtime} cannot read the network: {_brief(found)}")
        config = builder.create_builder_config()
        profile = builder.create_optimization_profile()
        crops = network.get_input(0)
        size = tuple(crops.shape)[1:]
        profile.set_shape(
            crops.name, (1, *size), (max(1, max_batch // 2), *size), (max_batch, *size)
        )
        config.add_optimization_profile(profile)
        if capability is not None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(capability, 0)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise ModelError(f"{self.runtime} cannot build for {arch}: {_brief(problems)}")
        return bytes(engine)

    def _check(self, arch: str, precision: str) -> Any:
        """Return the runtime's own name for an architecture."""
        known = self._capabilities()
        if not known:
            if arch != "native":
                raise InvalidInputError(
                    f"{self.runtime} builds only for the GPU that is there: arch='native', not"
                    f" {arch!r}; 'tensorrt-rtx' builds for others"
                )
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


def _make_logger(trt: Any, problems: list[str]) -> Any:
    class Collector(trt.ILogger):  # type: ignore[misc]
        """Keeps errors for the message instead of printing them."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            # Without a driver every build begins with this one; nothing depends on it.
            if severity <= trt.ILogger.ERROR and "CUDA driver version" not in message:
                problems.append(message)

    return Collector()


def _brief(problems: list[str]) -> str:
    text = " ".join((problems[0] if problems else "it does not say why").split())
    return text if len(text) <= _MAX_PROBLEM else text[:_MAX_PROBLEM] + "…"
