"""A GPU that is none, and a network small enough for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cuda_stand_in import CudaStandIn
from onnx import TensorProto, helper, numpy_helper
from tensorrt_stand_in import make_tensorrt

from fastface import models


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaStandIn:
    stand_in = CudaStandIn()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", stand_in)
    return stand_in


@pytest.fixture
def trt(cuda: CudaStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module = make_tensorrt(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


SPEC = replace(models.get_spec("arcface-112"), name="tiny", input_size=(6, 5), embedding_size=3)


def write_tiny(path: Path) -> Path:
    """Every pixel counts, each with its own weight."""
    weights = np.random.default_rng(0).standard_normal((90, 3)).astype(np.float32) / 9
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["vectors"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 6, 5])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> models.Model:
    return models.load(write_tiny(tmp_path / "tiny.onnx"), SPEC)


@pytest.fixture
def tiny_crops() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (23, 6, 5, 3), dtype=np.uint8)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Engines of one test are no other test's."""
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"
