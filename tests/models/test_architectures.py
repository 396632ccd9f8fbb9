"""The architectures people bring, with random weights, through the whole intake."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from fastface import Embedder, models
from fastface.errors import ModelError
from fastface.pipeline.drift import measure_drift

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra 'torch'")
arch = pytest.importorskip("architectures")

WIDTH = 0.125
NAMES = ["w600k_r50", "glint360k_r100", "adaface_ir50", "facenet", "sface"]
PRESETS = dict(
    zip(NAMES, ["arcface-112", "arcface-112", "adaface-112", "facenet-160", "sface-112"],
        strict=True)
)  # fmt: skip


def spec_of(name: str) -> models.ModelSpec:
    spec = models.get_spec(PRESETS[name])
    return replace(spec, output_name="embedding") if name == "adaface_ir50" else spec


def faces(size: int, n: int = 32) -> np.ndarray:
    """Two smooth images of each of n/2 people, as unlike each other as random images are."""
    rng = np.random.default_rng(size)
    coarse = rng.integers(0, 256, (n // 2, size // 8, size // 8, 3), dtype=np.uint8)
    images = coarse.repeat(8, axis=1).repeat(8, axis=2).repeat(2, axis=0).astype(np.int16)
    return (images + rng.integers(-20, 21, images.shape)).clip(0, 255).astype(np.uint8)


def prepared(crops: np.ndarray, spec: models.ModelSpec) -> torch.Tensor:
    """What the network sees, by the preset's definition in docs/models.md."""
    images = crops[..., ::-1] if spec.color_order == "bgr" else crops
    values = (images.astype(np.float32) - np.float32(spec.mean)) / np.float32(spec.std)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Each network, settled, and its file as its authors would export it."""
    folder = tmp_path_factory.mktemp("own")
    made = {}
    torch.manual_seed(0)
    torch.set_num_threads(1)  # tiny layers: more would only wait for each other
    for name in NAMES:
        spec = spec_of(name)
        size = spec.input_size[0]
        module = {
            "w600k_r50": lambda: arch.IResNet((3, 4, 14, 3), WIDTH),
            "glint360k_r100": lambda: arch.IResNet((3, 13, 30, 3), WIDTH),
            "adaface_ir50": lambda: arch.IResNet((3, 4, 14, 3), WIDTH, with_norm=True),
            "facenet": lambda: arch.InceptionResnetV1(WIDTH),
            "sface": lambda: arch.MobileFaceNet(WIDTH * 2),
        }[name]()
        arch.settle(module, prepared(faces(size, 16), spec))
        path = folder / f"{name}.onnx"
        outputs = ("embedding", "norm") if name == "adaface_ir50" else ("embedding",)
        batch = None if name == "sface" else "batch"
        arch.write_onnx(module, path, size, names=outputs, batch=batch)
        made[name] = (module, path, spec)
    return made


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_vectors_are_the_network_s(built, name: str, runtime: str) -> None:
    module, path, spec = built[name]
    crops = faces(spec.input_size[0], 6)
    with torch.inference_mode():
        expected = module(prepared(crops, spec))
    expected = (expected[0] if isinstance(expected, tuple) else expected).numpy()
    found = Embedder(path, spec=spec, runtime=runtime, batch_size=4).embed(crops)
    assert np.abs(found - expected).max() < 2e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_simple_and_clean(built, name: str, tmp_path: Path) -> None:
    _, path, spec = built[name]
    first = models.export(path, tmp_path / "a.onnx", spec=spec)
    proto = onnx.load(first.onnx_path)
    onnx.checker.check_model(proto, full_check=True)
    kinds = [node.op_type for node in proto.graph.node]
    before = [node.op_type for node in onnx.load(path).graph.node]
    assert len(kinds) < len(before)
    assert not {"Identity", "Dropout", "Constant"}.intersection(kinds)
    followed = {node.input[0] for node in proto.graph.node if node.op_type == "BatchNormalization"}
    makers = {out: node.op_type for node in proto.graph.node for out in node.output}
    assert not {makers[name] for name in followed}.intersection({"Conv", "Gemm"})
    assert [o.version for o in proto.opset_import] == [13]
    assert len(proto.graph.output) == 1
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_the_same_bytes_in_any_process(built, tmp_path: Path) -> None:
    _, path, spec = built["facenet"]
    code = (
        "import sys; from fastface import models; "
        "models.export(sys.argv[1], sys.argv[2], spec=sys.argv[3], precision='fp16')"
    )
    digests = set()
    for seed in ("1", "2"):
        target = tmp_path / f"{seed}.onnx"
        environment = {"PYTHONHASHSEED": seed, "FASTFACE_CACHE_DIR": str(tmp_path / seed)}
        subprocess.run(
            [sys.executable, "-c", code, str(path), str(target), spec.name],
            check=True,
            env={**os.environ, **environment},
        )
        digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_precisions_and_their_drift(built, name: str, precision: str) -> None:
    _, path, spec = built[name]
    crops = faces(spec.input_size[0])
    reference = Embedder(path, spec=spec).embed(crops)
    calibration = crops if precision == "int8" else None
    changed = Embedder(path, spec=spec, precision=precision, calibration=calibration)
    people = [str(i // 2) for i in range(len(crops))]
    drift = measure_drift(reference, changed.embed(crops), people, spec)
    # Random weights magnify what trained ones forgive; the wrong network has a mean near 0.
    assert drift.mean >= {"fp16": 0.9999, "bf16": 0.995, "int8": 0.9}[precision]
    assert drift.mean < 1 - 1e-9
    assert set(drift.accept_rates) == {1e-2, 1e-3}


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if n != "sface"])
def test_engines(built, name: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    from fastface.runtimes import calibrate
    from fastface.runtimes.engine_file import read_engine
    from fastface.runtimes.engines import build_engine

    _, path, spec = built[name]
    model = models.load(path, spec)
    ranges = calibrate(model, faces(spec.input_size[0], 32), n_threads=2)
    for precision in models.PRECISIONS if name == "w600k_r50" else ("fp16", "int8"):
        engine = build_engine(
            model, runtime="tensorrt-rtx", arch="sm_89", precision=precision, max_batch=4,
            ranges=ranges if precision == "int8" else None,
        )  # fmt: skip
        assert read_engine(engine)[0].precision == precision


def test_one_image_at_a_time(built) -> None:
    _, path, spec = built["sface"]
    embedder = Embedder(path, spec=spec)
    assert embedder.batch_size == 1
    crops = faces(112, 6)
    alone = np.concatenate([embedder.embed(crops[i : i + 1]) for i in range(6)])
    np.testing.assert_array_equal(embedder.embed(crops), alone)
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    assert rtx
    from fastface.runtimes.engines import build_engine

    with pytest.raises(ModelError, match=r"takes 1 crop at a time.*dynamic batch"):
        build_engine(embedder.model, runtime="tensorrt-rtx", arch="sm_89", precision="fp32")


def test_two_outputs_are_asked_about(built) -> None:
    _, path, _ = built["adaface_ir50"]
    with pytest.raises(ModelError, match=r"has 2 outputs \(embedding, norm\)"):
        models.load(path, "adaface-112")


def test_the_size_of_another_preset(built) -> None:
    _, path, _ = built["facenet"]
    with pytest.raises(ModelError, match=r"takes crops of 160×160, but the spec 'arcface-112'"):
        models.load(path, "arcface-112")


def test_presets_that_fit_a_file_differ_in_what_they_see(built) -> None:
    _, path, _ = built["w600k_r50"]
    crops = faces(112, 4)
    rgb, bgr = (Embedder(path, spec=spec).embed(crops) for spec in ("arcface-112", "adaface-112"))
    assert np.abs(rgb - bgr).max() > 0.01
