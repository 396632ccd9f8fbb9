"""Files that users bring: fed as their preset says, refused if they are not what they claim."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastface import Embedder, models
from fastface.errors import InvalidInputError, ModelError

SIZE = 112
RNG = np.random.default_rng(0)
MIX = RNG.standard_normal((3, 512)).astype(np.float32)
CROPS = RNG.integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)


def network(
    *,
    shape: list[Any] | None = None,
    element: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("embedding",),
    mix: np.ndarray = MIX,
    domain: str = "",
    opset: int = 17,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """A network that averages each channel and mixes the three means into a vector."""
    shape = shape or ["n", 3, SIZE, SIZE]
    spatial = [2, 3] if shape[1] == 3 else [1, 2]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=spatial, keepdims=0),
        *(helper.make_node("MatMul", ["means", "mix"], [name], domain=domain) for name in outputs),
    ]
    constant = numpy_helper.from_array(mix, "mix")
    inputs = [helper.make_tensor_value_info("image", element, shape)]
    if ir_version < 4:
        inputs.append(helper.make_tensor_value_info("mix", TensorProto.FLOAT, mix.shape))
    declared = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [shape[0], mix.shape[1]])
        for name in outputs
    ]
    graph = helper.make_graph(nodes, "net", inputs, declared, [constant])
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own.onnx"


def refused(model: onnx.ModelProto, path: Path, message: str, spec: Any = "arcface-112") -> None:
    onnx.save(model, path)
    with pytest.raises(ModelError, match=message):
        models.load(path, spec)


@pytest.mark.parametrize("preset", ["arcface-112", "adaface-112", "facenet-160", "sface-112"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_presets_prepare_the_input(path: Path, preset: str, layout: str, runtime: str) -> None:
    spec = models.get_spec(preset)
    shape = ["n", 3, *spec.input_size] if layout == "NCHW" else ["n", *spec.input_size, 3]
    mix = MIX[:, : spec.embedding_size]
    onnx.save(network(shape=shape, mix=mix), path)
    crops = RNG.integers(0, 256, (3, *spec.input_size, 3), dtype=np.uint8)
    crops[..., 0] //= 2  # so that the channels' order matters
    seen = crops.astype(np.float64)[..., ::-1] if preset == "adaface-112" else crops.astype(float)
    expected = ((seen - spec.mean) / spec.std).mean(axis=(1, 2)) @ mix
    found = Embedder(path, spec=preset, runtime=runtime, batch_size=2).embed(crops)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


def test_sizes_the_file_leaves_open(path: Path) -> None:
    onnx.save(network(shape=["n", 3, "h", "w"]), path)
    assert Embedder(path, spec="arcface-112").embed(CROPS).shape == (5, 512)


def test_old_files_that_list_constants_as_inputs(path: Path) -> None:
    onnx.save(network(ir_version=3, opset=9), path)
    assert Embedder(path, spec="arcface-112").embed(CROPS).shape == (5, 512)


def test_uint8_crops_are_left_to_the_network(path: Path) -> None:
    onnx.save(network(shape=["n", SIZE, SIZE, 3], element=TensorProto.UINT8), path)
    model = models.load(path, "arcface-112")
    assert model.onnx_path == path
    found = Embedder(path, spec="arcface-112").embed(CROPS)
    np.testing.assert_allclose(found, CROPS.mean(axis=(1, 2)) @ MIX, rtol=1e-4, atol=1e-2)


def test_named_output(path: Path) -> None:
    model = network(outputs=("logits", "embedding"))
    model.graph.node[-2].op_type = "Sub"
    model.graph.node[-2].input[:] = ["mix", "mix"]
    onnx.save(model, path)
    spec = dataclasses.replace(models.get_spec("arcface-112"), output_name="embedding")
    found = Embedder(path, spec=spec).embed(CROPS)
    expected = ((CROPS - 127.5) / 127.5).mean(axis=(1, 2)) @ MIX
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    refused(model, path, r"no output 'x'; it has: logits, embedding",
            dataclasses.replace(spec, output_name="x"))  # fmt: skip


def test_converted_file_carries_its_spec(path: Path) -> None:
    onnx.save(network(), path)
    spec = models.get_spec("adaface-112")
    converted = models.load(path, spec).onnx_path
    again = models.load(converted)
    assert again.spec == spec
    assert again.onnx_path == converted
    assert models.load(converted, "adaface-112") == again
    with pytest.raises(InvalidInputError, match=r"'arcface-112' contradicts it: leave spec= out"):
        models.load(converted, "arcface-112")
    np.testing.assert_array_equal(
        Embedder(converted).embed(CROPS), Embedder(path, spec=spec).embed(CROPS)
    )


def test_another_spec_is_another_file(path: Path) -> None:
    onnx.save(network(), path)
    first, second = models.load(path, "arcface-112"), models.load(path, "adaface-112")
    assert first.source_sha256 == second.source_sha256
    assert first.onnx_path != second.onnx_path


def test_a_file_needs_a_spec(path: Path) -> None:
    onnx.save(network(), path)
    with pytest.raises(InvalidInputError, match=r"give spec= one of 'arcface-112', 'adaface-112'"):
        models.load(path)
    with pytest.raises(InvalidInputError, match="no model is called 'vggface'"):
        models.load(path, "vggface")


def test_names_and_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'arcface-112' is a preset for a file of yours"):
        models.load("arcface-112")
    with pytest.raises(InvalidInputError, match="spec= is for files"):
        models.load("dlib-resnet", "arcface-112")
    with pytest.raises(ModelError, match=r"'nothing' is no file, .* models: dlib-resnet"):
        models.load("nothing")
    with pytest.raises(ModelError, match="is a folder"):
        models.load(tmp_path, "arcface-112")
    with pytest.raises(InvalidInputError, match="got int"):
        models.load(5)  # type: ignore[arg-type]


def test_wrong_interfaces(path: Path) -> None:
    for model, message in [
        (network(shape=[4, 3, SIZE, SIZE]), "batch dimension fixed at 4"),
        (network(shape=["n", 3, 160, 160]), r"takes crops of 160×160, but the spec 'arcface-112'"),
        (network(shape=["n", 4, SIZE, SIZE]), "no batch of colour images"),
        (network(shape=["n", 3, SIZE]), "no batch of colour images|not a valid ONNX"),
        (network(element=TensorProto.UINT8), "uint8 in NCHW layout"),
        (network(element=TensorProto.FLOAT16), "holds float16"),
        (network(outputs=("a", "b")), r"has 2 outputs \(a, b\)"),
        (network(mix=MIX[:, :128]), "gives vectors of 128 values, but the spec 'arcface-112' says"),
    ]:
        refused(model, path, message)


def test_two_inputs(path: Path) -> None:
    model = network()
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, [1]))
    refused(model, path, "must have one input, an image; it has 2: image, flag")


def test_output_of_the_wrong_rank(path: Path) -> None:
    model = network()
    model.graph.node[1].attribute[1].i = 1  # keepdims
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    refused(model, path, "is no batch of vectors|not a valid ONNX")


@pytest.mark.parametrize(
    "data", [b"", b"a text file, not a model\n" * 20, b"\x89PNG\r\n\x1a\n" * 9]
)
def test_other_files(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"own\.onnx"):
        models.load(path, "arcface-112")


def test_cut_anywhere(path: Path) -> None:
    data = network().SerializeToString()
    for size in [*range(1, 60), *range(60, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(ModelError, match=r"own\.onnx"):
            models.load(path, "arcface-112")


def test_custom_operators(path: Path) -> None:
    refused(network(domain="com.evil"), path, r"uses the operator com\.evil\.MatMul")


def test_custom_operator_hidden_in_a_subgraph(path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Run", [], ["r"], domain="com.evil")], "inner", [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model = network()
    model.graph.node.append(
        helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner)
    )
    refused(model, path, r"com\.evil\.Run")


def test_functions_of_its_own(path: Path) -> None:
    model = network()
    model.functions.append(
        helper.make_function("local", "F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])],
                             [helper.make_opsetid("", 17)])
    )  # fmt: skip
    refused(model, path, "defines functions of its own")


def test_opset_too_old(path: Path) -> None:
    refused(network(opset=6), path, "uses opset 6")


def external(model: onnx.ModelProto, **fields: object) -> onnx.ModelProto:
    """Say that the first constant's data lies in another file."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


def test_data_beside_the_file(path: Path) -> None:
    onnx.save(network(), path)
    inside = Embedder(path, spec="arcface-112")
    (path.parent / "weights.bin").write_bytes(b"\0" * 16 + MIX.tobytes())
    onnx.save(external(network(), location="weights.bin", offset=16, length=MIX.nbytes), path)
    beside = Embedder(path, spec="arcface-112")
    np.testing.assert_array_equal(beside.embed(CROPS), inside.embed(CROPS))
    # The data belongs to what a model is known by.
    (path.parent / "weights.bin").write_bytes(b"\0" * 16 + (MIX + 1).tobytes())
    changed = models.load(path, "arcface-112")
    assert changed.source_sha256 != beside.model.source_sha256


def test_data_elsewhere(path: Path, tmp_path: Path) -> None:
    own = tmp_path / "models"
    own.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(MIX.tobytes())
    os.symlink(secret, own / "link.bin")
    path = own / "own.onnx"
    for location in ("../secret.bin", str(secret), "link.bin", "", "a/../../secret.bin"):
        refused(external(network(), location=location), path, "outside its own folder")
    refused(external(network(), location="absent.bin"), path, "needs its data file 'absent.bin'")
    (own / "short.bin").write_bytes(MIX.tobytes()[:-4])
    refused(external(network(), location="short.bin", length=MIX.nbytes), path, "truncated")
    refused(external(network(), location="short.bin"), path, "not a valid ONNX file")
    refused(external(network(), location="short.bin", offset="-8"), path, "'-8' as the offset")
    refused(external(network(), location="short.bin", length=2**62), path, "truncated")


def test_sizes_that_cannot_be_meant(path: Path) -> None:
    model = network()
    model.graph.initializer[0].dims[0] = 2**40
    refused(model, path, "not a valid ONNX file")
    model = network()
    huge = numpy_helper.from_array(np.array([2**20, 2**20], dtype=np.int64), "huge")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["size"], value=huge))
    model.graph.node.insert(1, helper.make_node("ConstantOfShape", ["size"], ["zeros"]))
    refused(model, path, r"computes 'zeros' of shape .* too large")


def test_a_model_that_lies_is_found_out_at_once(path: Path) -> None:
    """It promises (n, 512) and folds the batch away when it runs."""
    model = network()
    shape = numpy_helper.from_array(np.array([1, -1], dtype=np.int64), "flat")
    model.graph.initializer.append(shape)
    model.graph.node[-1].output[0] = "mixed"
    model.graph.node.append(helper.make_node("Reshape", ["mixed", "flat"], ["embedding"]))
    onnx.save(model, path)
    with pytest.raises(
        ModelError, match=r"gave float32 of shape \(1, 1024\) for 2 crops|first dim"
    ):
        Embedder(path, spec="arcface-112")


def test_a_model_that_gives_no_numbers(path: Path) -> None:
    onnx.save(network(mix=np.full_like(MIX, np.nan)), path)
    with pytest.raises(ModelError, match="not finite"):
        Embedder(path, spec="arcface-112")


def test_a_real_model_with_many_outputs() -> None:
    path = Path(__file__).resolve().parents[3] / "shared" / "models" / "yunet_n_dynamic.onnx"
    if not path.is_file():
        pytest.skip("../shared/models/yunet_n_dynamic.onnx is not beside this checkout")
    with pytest.raises(ModelError, match="has 12 outputs"):
        models.load(path, "arcface-112")
