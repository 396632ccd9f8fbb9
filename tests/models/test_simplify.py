"""A simplified graph computes what the graph computed, with less."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fastface.models.simplify import simplify


def make(nodes: list, stored: dict, *, outputs: tuple = ("y",), opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 6, 6])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    onnx.checker.check_model(inferred)
    return inferred


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})


def simplified(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Simplify a copy; check that it computes the same."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    simplify(made)
    onnx.checker.check_model(made)
    x = np.random.default_rng(5).standard_normal((3, 4, 6, 6)).astype(np.float32)
    for before, after in zip(run(model, x), run(made, x), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    return made, [node.op_type for node in made.graph.node]


def normalisation(n: int, rng: np.random.Generator, tag: str = "") -> dict[str, np.ndarray]:
    values = {
        "gamma": rng.uniform(0.5, 2, n),
        "beta": rng.normal(size=n),
        "mean": rng.normal(size=n),
        "variance": rng.uniform(0.1, 3, n),
    }
    return {key + tag: value.astype(np.float32) for key, value in values.items()}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(["Conv", "Gemm", "GemmT"]))
def test_normalisation_joins_what_is_before_it(seed: int, bias: bool, kind: str) -> None:
    rng = np.random.default_rng(seed)
    stored = normalisation(5, rng)
    names = list(stored)
    if kind == "Conv":
        stored["w"] = rng.normal(size=(5, 4, 3, 3)).astype(np.float32)
        nodes, source = [], "x"
        options = {"pads": [1, 1, 1, 1]}
    else:
        stored["w"] = rng.normal(size=(144, 5)).astype(np.float32) / 12
        nodes, source = [helper.make_node("Flatten", ["x"], ["f"])], "f"
        options = {}
        if kind == "GemmT":
            stored["w"], options = np.ascontiguousarray(stored["w"].T), {"transB": 1}
    inputs = [source, "w"]
    if bias:
        stored["b"] = rng.normal(size=5).astype(np.float32)
        inputs.append("b")
    nodes += [
        helper.make_node(kind[:4], inputs, ["c"], **options),
        helper.make_node("BatchNormalization", ["c", *names], ["y"], epsilon=0.01),
    ]
    made, kinds = simplified(make(nodes, stored))
    assert "BatchNormalization" not in kinds
    assert {t.name for t in made.graph.initializer} == {"y_weights", "y_biases"}


def test_two_in_a_row_and_a_result_used_after_it() -> None:
    rng = np.random.default_rng(0)
    stored = normalisation(4, rng) | normalisation(4, rng, "2")
    stored["w"] = rng.normal(size=(4, 4, 3, 3)).astype(np.float32)
    first, second = list(stored)[:4], list(stored)[4:8]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *first], ["b"]),
        helper.make_node("BatchNormalization", ["b", *second], ["y"]),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    _, kinds = simplified(make(nodes, stored, outputs=("y", "z")))
    assert kinds == ["Conv", "Relu"]


@pytest.mark.parametrize("why", ["another reads it", "it is an output", "nothing before it"])
def test_normalisation_that_must_stay(why: str) -> None:
    rng = np.random.default_rng(0)
    stored = normalisation(4, rng)
    names = list(stored)
    stored["w"] = rng.normal(size=(4, 4, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *names], ["y"]),
    ]
    outputs = ("y",)
    if why == "another reads it":
        nodes.append(helper.make_node("Add", ["c", "y"], ["z"]))
        outputs = ("z",)
    elif why == "it is an output":
        outputs = ("y", "c")
    else:
        nodes = [helper.make_node("BatchNormalization", ["x", *names], ["y"])]
    _, kinds = simplified(make(nodes, stored, outputs=outputs))
    assert "BatchNormalization" in kinds


def test_what_is_constant_idle_or_unused_goes() -> None:
    nodes = [
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Add", ["two", "three"], ["five"]),
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Dropout", ["same"], ["kept"]),
        helper.make_node("Mul", ["kept", "five"], ["y"]),
        helper.make_node("Neg", ["kept"], ["nobody"]),
    ]
    made, kinds = simplified(make(nodes, {"three": np.float32(3), "idle": np.float32(9)}))
    assert kinds == ["Mul"]
    assert [t.name for t in made.graph.initializer] == ["five"]


def test_a_constant_too_large_to_keep_stays_an_operator() -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["none"], keepdims=0),
        helper.make_node("Add", ["x", "none"], ["y"]),
    ]
    _, kinds = simplified(make(nodes, {"size": np.array([2048, 1024])}))
    assert kinds == ["ConstantOfShape", "ReduceSum", "Add"]


def test_values_that_a_branch_reads_keep_their_names() -> None:
    inner = helper.make_graph(
        [helper.make_node("Neg", ["same"], ["r"])], "inner", [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
    ]
    _, kinds = simplified(make(nodes, {"yes": np.array(True)}))
    assert kinds == ["Identity", "If"]


def test_what_is_drawn_at_random_is_not_constant() -> None:
    nodes = [
        helper.make_node("RandomNormal", [], ["noise"], shape=[1]),
        helper.make_node("Mul", ["noise", "zero"], ["none"]),
        helper.make_node("Add", ["x", "none"], ["y"]),
    ]
    _, kinds = simplified(make(nodes, {"zero": np.float32(0)}))
    assert kinds == ["RandomNormal", "Mul", "Add"]
