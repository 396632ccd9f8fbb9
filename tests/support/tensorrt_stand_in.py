"""TensorRT without a GPU: engines are ONNX files, run by ONNX Runtime on the stand-in's memory.

Only what is documented for the real classes is here; a test compares the names.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from cuda_stand_in import CudaStandIn


class _Logger:
    ERROR = 2

    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError


def make_tensorrt(cuda: CudaStandIn, *, version: str = "10.9.0") -> Any:
    """Return a module like ``tensorrt`` whose kernels run on `cuda`."""
    module = SimpleNamespace(
        __version__=version,
        ILogger=_Logger,
        TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
        DataType=SimpleNamespace(UINT8="UINT8", FLOAT="FLOAT"),
        BuilderFlag=SimpleNamespace(TF32="TF32"),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        built=0,
        can_capture=True,
        contexts=[],
    )

    class Context:
        def __init__(self, engine: Engine) -> None:
            self._engine = engine
            self._addresses: dict[str, int] = {}
            self._shape: tuple[int, ...] | None = None
            self._prepared = False
            module.contexts.append(self)

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return True

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            if shape[0] > self._engine.max_batch:
                return False
            self._shape, self._prepared = shape, False
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            if self._shape is None:
                return False
            recording = stream_handle in cuda.capturing
            if recording and not (self._prepared and module.can_capture):
                self._engine.logger.log(2, "operation not permitted when stream is capturing")
                return False
            self._prepared = True
            cuda.log.append(("enqueue", stream_handle, self._shape[0]))
            names, shape = self._engine.names, self._shape
            source, target = (self._addresses[name] for name in names)

            def compute() -> None:
                crops = np.frombuffer(cuda.blocks[source], np.uint8)[: int(np.prod(shape))]
                (rows,) = self._engine.session.run(None, {names[0]: crops.reshape(shape)})
                cuda.blocks[target][: rows.nbytes] = rows.tobytes()

            cuda.begin(stream_handle, compute)
            return True

    class Engine:
        num_io_tensors = 2

        def __init__(self, data: bytes, logger: Any) -> None:
            head, _, body = data.partition(b"\n")
            self.max_batch: int = json.loads(head)["max_batch"]
            self.logger = logger
            self.session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
            self._values = [self.session.get_inputs()[0], self.session.get_outputs()[0]]
            self.names = [value.name for value in self._values]

        def _value(self, name: str) -> Any:
            return self._values[self.names.index(name)]

        def get_tensor_name(self, index: int) -> str:
            return self.names[index]

        def get_tensor_mode(self, name: str) -> str:
            return "INPUT" if name == self.names[0] else "OUTPUT"

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(-1 if isinstance(d, str) else d for d in self._value(name).shape)

        def get_tensor_dtype(self, name: str) -> str:
            return {"tensor(uint8)": "UINT8", "tensor(float)": "FLOAT"}[self._value(name).type]

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
            rest = self.get_tensor_shape(name)[1:]
            return [(n, *rest) for n in (1, self.max_batch, self.max_batch)]

        def create_execution_context(self) -> Context | None:
            return Context(self)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            if not serialized_engine.startswith(b"{"):
                self._logger.log(2, "magic tag does not match")
                return None
            return Engine(serialized_engine, self._logger)

    class TimingCache:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def serialize(self) -> bytes:
            return self.data

    class Config:
        def __init__(self) -> None:
            self.cleared: list[str] = []
            self.most = 0

        def add_optimization_profile(self, profile: Any) -> int:
            self.most = profile.most
            return 0

        def clear_flag(self, flag: str) -> None:
            self.cleared.append(flag)

        def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
            return TimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
            self._cache = cache
            return True

        def get_timing_cache(self) -> TimingCache:
            return self._cache

    class Profile:
        most = 0

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
            self.most = max[0]

    class Network:
        onnx = b""

        def get_input(self, index: int) -> Any:
            value = onnx.load_model_from_string(self.onnx).graph.input[index]
            dims = value.type.tensor_type.shape.dim
            return SimpleNamespace(name=value.name, shape=[-1, *(d.dim_value for d in dims[1:])])

    class Parser:
        num_errors = 0

        def __init__(self, network: Network, logger: Any) -> None:
            self._network = network

        def parse(self, model: bytes) -> bool:
            self._network.onnx = model
            return True

    class Builder:
        def __init__(self, logger: Any) -> None:
            pass

        def create_network(self, flags: int) -> Network:
            assert flags == 1 << module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def is_network_supported(self, network: Network, config: Config) -> bool:
            return True

        def build_serialized_network(self, network: Network, config: Config) -> bytes:
            module.built += 1
            module.config = config
            config.get_timing_cache().data += b"timed;"
            return json.dumps({"max_batch": config.most}).encode() + b"\n" + network.onnx

    module.Runtime, module.Builder, module.OnnxParser = Runtime, Builder, Parser
    module.real_names = {
        "Runtime": Runtime, "ICudaEngine": Engine, "IExecutionContext": Context, "Builder": Builder,
        "IBuilderConfig": Config, "IOptimizationProfile": Profile, "ITimingCache": TimingCache,
        "OnnxParser": Parser, "INetworkDefinition": Network,
    }  # fmt: skip
    return module
