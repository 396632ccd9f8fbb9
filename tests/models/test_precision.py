"""Half precision and eight bits: what is written, what it computes, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from fastface import Embedder, models
from fastface.errors import InvalidInputError, ModelError
from fastface.models.half import round_to_half, to_half
from fastface.models.quantize import expose_values, measure_ranges, quantize
from fastface.runtimes import calibrate

SPEC = models.ModelSpec(
    name="small",
    licence="test",
    licence_url="",
    input_size=(16, 12),
    color_order="rgb",
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    template="arcface-112",
    embedding_size=5,
    metric="cosine",
    same_person_distance=0.5,
)


def write_network(path: Path, *, weight: float = 1.0) -> Path:
    """Write two convolutions with a shortcut, a pool and a product with a matrix."""
    rng = np.random.default_rng(0)
    stored = {
        "w1": weight * rng.standard_normal((8, 3, 3, 3)) / 5,
        "b1": rng.standard_normal(8) / 10,
        "w2": rng.standard_normal((8, 8, 3, 3)) / 9,
        "b2": rng.standard_normal(8) / 10,
        "w3": rng.standard_normal((5, 8)),
        "b3": rng.standard_normal(5),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["vector"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 16, 12])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, path)
    return path


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (64, 16, 12, 3), dtype=np.uint8)


@pytest.fixture
def small(tmp_path: Path) -> models.Model:
    return models.load(write_network(tmp_path / "small.onnx"), SPEC)


def run(proto: onnx.ModelProto, crops: np.ndarray, *, optimize: bool = True) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: crops})[0]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_eight_bits_are_close_and_really_eight_bits(small, crops, tmp_path) -> None:
    reference = Embedder(small.onnx_path)
    changed = Embedder(small.onnx_path, precision="int8", calibration=crops[:48])
    assert changed.model.precision == "int8"
    assert changed.model.sha256 != reference.model.sha256
    found = cosines(changed.embed(crops), reference.embed(crops))
    assert 0.999 < found.min() < 1 - 1e-9
    proto = onnx.load(changed.model.onnx_path)
    kinds = {onnx.TensorProto.DataType.Name(t.data_type) for t in proto.graph.initializer}
    assert {"INT8", "INT32", "UINT8"} <= kinds
    scales = next(t for t in proto.graph.initializer if t.name == "w2_scales")
    assert list(scales.dims) == [8]  # one for each channel
    weights = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    restored = weights["w2_integers"] * weights["w2_scales"][:, None, None, None]
    original = {t.name: t for t in onnx.load(small.onnx_path).graph.initializer}["w2"]
    step = weights["w2_scales"].max()
    assert np.abs(restored - numpy_helper.to_array(original)).max() <= step / 2 + 1e-7


def test_eight_bits_follow_their_definition(small, crops) -> None:
    """The optimised graph gives what the same graph gives step by step."""
    proto = onnx.load(small.onnx_path)
    ranges = calibrate(small, crops)
    quantize(proto, ranges)
    fast, slow = run(proto, crops), run(proto, crops, optimize=False)
    assert np.abs(fast - slow).max() < 0.05 * np.abs(slow).max()
    again = onnx.load(small.onnx_path)
    quantize(again, ranges)
    assert again.SerializeToString(deterministic=True) == proto.SerializeToString(
        deterministic=True
    )


def test_symmetric_eight_bits_have_no_zero_point(small, crops) -> None:
    proto = onnx.load(small.onnx_path)
    quantize(proto, calibrate(small, crops), symmetric=True)
    zeros = [numpy_helper.to_array(t) for t in proto.graph.initializer if "_zero" in t.name]
    assert zeros
    assert all(not zero.any() for zero in zeros)
    assert {zero.dtype for zero in zeros} == {np.dtype("int8")}
    assert cosines(run(proto, crops), Embedder(small.onnx_path).embed(crops)).min() > 0.998


def test_ranges_are_those_of_the_values(small, crops) -> None:
    proto = onnx.load(small.onnx_path)
    names = expose_values(proto)
    assert {"r1", "sum", "pool"} <= set(names)
    values = {"a": np.array([[-1.0, 4.0]]), "b": np.array([[2.0, 3.0]])}
    assert measure_ranges(values, lambda _: values.values(), crops) == {"a": (-1, 4), "b": (0, 3)}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_rounding_is_that_of_half_precision(small, crops, precision: str) -> None:
    """Between two operators every value is one that half precision can hold."""
    proto = onnx.load(small.onnx_path)
    round_to_half(proto, precision)
    for output in expose_values(proto):
        assert output
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = session.run(["r1", "sum", "vector"], {session.get_inputs()[0].name: crops})
    for value in values:
        if precision == "fp16":
            np.testing.assert_array_equal(value, value.astype(np.float16).astype(np.float32))
        else:
            assert not (value.view(np.uint32) & 0xFFFF).any()
    found = cosines(values[-1], Embedder(small.onnx_path).embed(crops))
    assert (1e-9 if precision == "fp16" else 1e-7) < 1 - found.min() < 1e-2


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_emulation_really_rounds_when_it_runs(small, crops, precision: str) -> None:
    """Also after the runtime has optimised the graph, which likes to drop casts."""
    emulated = Embedder(small.onnx_path, precision=precision)
    assert emulated.model.precision == precision
    proto = onnx.load(small.onnx_path)
    round_to_half(proto, precision)
    exact = Embedder(small.onnx_path).embed(crops)
    slow = run(proto, crops, optimize=False)
    assert np.abs(slow - exact).max() > 1e-5
    difference = np.abs(emulated.embed(crops) - slow).max()
    assert difference <= 2 * np.abs(slow).max() * (2.0**-10 if precision == "fp16" else 2.0**-7)


def test_half_precision_files_are_typed_throughout(small, crops) -> None:
    for precision, kind in (("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)):
        proto = onnx.load(small.onnx_path)
        to_half(proto, precision)
        assert {t.data_type for t in proto.graph.initializer} == {kind}
        inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
        types = {v.type.tensor_type.elem_type for v in inferred.graph.value_info}
        assert types <= {kind, TensorProto.UINT8}
        (crops_in,), (vector,) = proto.graph.input, proto.graph.output
        assert crops_in.type.tensor_type.elem_type == TensorProto.UINT8
        assert vector.type.tensor_type.elem_type == TensorProto.FLOAT
        if precision == "fp16":
            found = cosines(run(proto, crops), Embedder(small.onnx_path).embed(crops))
            assert found.min() > 0.9999


def test_weights_that_half_precision_cannot_hold(tmp_path: Path) -> None:
    model = models.load(write_network(tmp_path / "large.onnx", weight=1e6), SPEC)
    with pytest.raises(ModelError, match="fp16 ends at 65504"):
        models.change_precision(model, "fp16")
    assert models.change_precision(model, "bf16").precision == "bf16"


def test_calibration_crops_that_say_nothing(small, crops) -> None:
    blank = np.full_like(crops, 90)
    cases = {
        "too few": crops[:8],
        "are blank": np.concatenate([crops[:40], blank[:10]]),
        "the same image": np.repeat(crops[:1], 40, axis=0),
        "uint8": crops.astype(np.float32),
        "16 × 16 pixels": np.zeros((40, 16, 16, 3), np.uint8) + crops[:40, :, :1],
    }
    for message, wrong in cases.items():
        with pytest.raises(InvalidInputError, match=message):
            Embedder(small.onnx_path, precision="int8", calibration=wrong)
    with pytest.raises(InvalidInputError, match="calibration=crops"):
        Embedder(small.onnx_path, precision="int8")
    with pytest.raises(InvalidInputError, match="for precision='int8'"):
        Embedder(small.onnx_path, calibration=crops)
    with pytest.raises(InvalidInputError, match="choose one of fp32, fp16, bf16, int8"):
        Embedder(small.onnx_path, precision="int4")
    with pytest.raises(InvalidInputError, match="OpenVINO would undo"):
        Embedder(small.onnx_path, precision="bf16", runtime="openvino")


def test_a_changed_model_pickles(small, crops) -> None:
    changed = Embedder(small.onnx_path, precision="int8", calibration=crops)
    copy = pickle.loads(pickle.dumps(changed))
    assert copy.model.sha256 == changed.model.sha256
    assert copy.model.precision == "int8"
    np.testing.assert_array_equal(copy.embed(crops), changed.embed(crops))
    named = pickle.loads(pickle.dumps(Embedder(precision="int8")))
    assert named.model.precision == "int8"


def test_an_exported_file_is_the_model(small, crops, tmp_path: Path) -> None:
    first = models.export(small.onnx_path, tmp_path / "a.onnx", normalize=True)
    second = models.export(small.onnx_path, tmp_path / "b.onnx", normalize=True)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert first.sha256 == second.sha256
    made = Embedder(tmp_path / "a.onnx")  # carries its spec
    expected = Embedder(small.onnx_path).embed(crops, normalize=True)
    np.testing.assert_allclose(made.embed(crops), expected, atol=1e-6)
    ranges = calibrate(small, crops)
    eight = models.export(small.onnx_path, tmp_path / "c.onnx", precision="int8", ranges=ranges)
    assert Embedder(tmp_path / "c.onnx").model.precision == "int8" == eight.precision
    with pytest.raises(InvalidInputError, match="is int8 already"):
        Embedder(tmp_path / "c.onnx", precision="fp16")


@pytest.fixture(scope="module")
def faces(shared_faces: Path) -> np.ndarray:
    """Crops that the packaged ranges were not measured on."""
    paths = sorted((shared_faces / "celeba" / "crops").iterdir())[::24]
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


@pytest.mark.parametrize(
    ("precision", "runtime", "mean", "worst"),
    [
        ("fp16", "onnxruntime", 0.9999, 0.9999),
        ("bf16", "onnxruntime", 0.9999, 0.9999),
        ("int8", "onnxruntime", 0.999, 0.998),
        ("int8", "openvino", 0.999, 0.998),
    ],
)
def test_default_model_stays_close(faces, precision, runtime, mean, worst) -> None:
    reference = Embedder().embed(faces)
    changed = Embedder(precision=precision, runtime=runtime)
    found = cosines(changed.embed(faces), reference)
    assert found.mean() >= mean
    assert found.min() >= worst
    assert found.min() < 1 - 1e-8  # and it is not the same network


def test_eight_bits_give_the_same_bits_in_any_batch(faces) -> None:
    changed = Embedder(precision="int8")
    whole = changed.embed(faces[:37])
    alone = np.concatenate([changed.embed(faces[i : i + 1]) for i in range(37)])
    np.testing.assert_array_equal(whole, alone)
