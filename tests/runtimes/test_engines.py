"""Engines built ahead of time, without any GPU, and files that must not be loaded."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fastface import models
from fastface.cli.main import main
from fastface.errors import (
    BackendUnavailableError,
    CorruptFileError,
    InvalidInputError,
    MissingDependencyError,
    ModelError,
    StorageError,
)
from fastface.runtimes.engine_file import EngineInfo, pack_engine, read_engine
from fastface.runtimes.engines import build_engine, clean_engines, list_engines
from fastface.runtimes.tensorrt import EngineBuilder

needs_rtx = pytest.mark.skipif(
    "tensorrt_rtx" not in sys.modules
    and not __import__("importlib.util").util.find_spec("tensorrt_rtx"),
    reason="TensorRT-RTX is not installed: the extra 'tensorrt-rtx'",
)
INFO = EngineInfo("toy", "ab" * 32, "fp16", "tensorrt-rtx", "0.0.1", "sm_89", 64, "{}")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch) -> Path:
    """Engines of one test are no other test's."""
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@needs_rtx
@pytest.mark.parametrize("arch", ["sm_80", "sm_86", "sm_89", "sm_120"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_default_model_builds_for_every_architecture(arch: str, precision: str) -> None:
    model = models.load("dlib-resnet")
    path = build_engine(model, runtime="tensorrt-rtx", arch=arch, precision=precision)
    info, engine = read_engine(path)
    assert (info.arch, info.precision, info.max_batch) == (arch, precision, 64)
    assert info.model == "dlib-resnet"
    assert models.ModelSpec.from_json(info.spec).embedding_size == 128
    # What is computed in half the bits, or a quarter, takes as much less room.
    megabytes = len(engine) / 1e6
    assert megabytes < {"fp32": 30, "fp16": 16, "bf16": 16, "int8": 16}[precision]
    assert megabytes > {"fp32": 20, "fp16": 10, "bf16": 10, "int8": 5}[precision]


@needs_rtx
def test_an_engine_is_built_once_and_a_damaged_one_again(own_cache: Path) -> None:
    model = models.load("dlib-resnet")

    def build(**changes) -> Path:
        options = {"runtime": "tensorrt-rtx", "arch": "sm_89", "precision": "fp16", **changes}
        return build_engine(model, **options)

    first = build()
    made = first.stat().st_mtime_ns
    assert build() == first
    assert first.stat().st_mtime_ns == made
    assert len({first, build(arch="sm_86"), build(max_batch=8), build(precision="bf16")}) == 4
    first.write_bytes(first.read_bytes()[:-1])
    assert read_engine(build())[0].arch == "sm_89"
    assert not [engine for engine in list_engines() if engine.problem]


@needs_rtx
def test_what_cannot_be_built(tmp_path: Path) -> None:
    model = models.load("dlib-resnet")
    for arch in ("sm_90", "sm_1", "rtx4090"):
        with pytest.raises(InvalidInputError, match="it can for sm_75, sm_80"):
            build_engine(model, runtime="tensorrt-rtx", arch=arch)
    with pytest.raises(BackendUnavailableError, match="no CUDA device can be used"):
        build_engine(model, runtime="tensorrt-rtx", arch="native")
    with pytest.raises(InvalidInputError, match="sm_75 has no bf16"):
        build_engine(model, runtime="tensorrt-rtx", arch="sm_75", precision="bf16")
    with pytest.raises(InvalidInputError, match="max_batch"):
        build_engine(model, runtime="tensorrt-rtx", arch="sm_89", max_batch=0)
    node = helper.make_node("NonZero", ["crops"], ["out"])
    graph = helper.make_graph(
        [node],
        "no network",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", 4, 4, 3])],
        [helper.make_tensor_value_info("out", TensorProto.INT64, [4, "k"])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelError, match="tensorrt-rtx cannot"):
        EngineBuilder("tensorrt-rtx").build(
            proto.SerializeToString(), arch="sm_89", precision="fp32", max_batch=2
        )


def test_runtimes_that_are_not_there(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"fastface\[tensorrt\]"):
        EngineBuilder("tensorrt")
    with pytest.raises(InvalidInputError, match="there are tensorrt, tensorrt-rtx"):
        EngineBuilder("cudnn")


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.engine"
    payload = np.random.default_rng(0).bytes(5000) + b"\n"
    path.write_bytes(pack_engine(INFO, payload))
    assert read_engine(path) == (INFO, payload)


def test_no_damaged_engine_is_read(tmp_path: Path) -> None:
    """Every cut, and a flip in every part of the file."""
    path = tmp_path / "a.engine"
    data = pack_engine(INFO, bytes(range(256)))
    for cut in range(18, len(data), 7):
        path.write_bytes(data[:cut])
        with pytest.raises(CorruptFileError, match="truncated or damaged"):
            read_engine(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(CorruptFileError):
        read_engine(path)
    for place in range(len(data) - 256, len(data), 5):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(CorruptFileError):
            read_engine(path)
    for other in (b"", b"no engine", onnx.ModelProto().SerializeToString()):
        path.write_bytes(other)
        with pytest.raises(ModelError, match="no engine that fastface wrote"):
            read_engine(path)
    with pytest.raises(StorageError):
        read_engine(tmp_path / "missing.engine")


def test_list_verify_and_clean(own_cache: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(
        "fastface.runtimes.engines._installed_versions", lambda: {"tensorrt-rtx": "0.0.2"}
    )
    assert main(["engines", "list"]) == 0
    assert "no engines" in capsys.readouterr().out
    own_cache.mkdir()
    (own_cache / "good.engine").write_bytes(
        pack_engine(replace(INFO, runtime_version="0.0.2"), b"x")
    )
    (own_cache / "stale.engine").write_bytes(pack_engine(INFO, b"x"))
    (own_cache / "cut.engine").write_bytes(pack_engine(INFO, b"xyz")[:-1])
    assert main(["engines", "list", "--json"]) == 0
    found = {Path(e["file"]).stem: e for e in json.loads(capsys.readouterr().out)}
    assert found["good"]["problem"] == ""
    assert "built by tensorrt-rtx 0.0.1, and 0.0.2 is installed" in found["stale"]["problem"]
    assert "damaged" in found["cut"]["problem"]
    assert main(["engines", "verify"]) == 1
    assert main(["engines", "verify", str(own_cache / "good.engine")]) == 0
    assert "toy fp16 for sm_89, 1 to 64 crops" in capsys.readouterr().out
    assert {path.stem for path in clean_engines()} == {"stale", "cut"}
    assert main(["engines", "verify"]) == 0
    assert main(["engines", "clean", "--all"]) == 0
    assert list_engines() == []


@needs_rtx
def test_build_from_the_command_line(tmp_path: Path, capsys) -> None:
    target = tmp_path / "dlib.engine"
    command = ["engines", "build", "dlib-resnet", "--arch", "sm_86", "-o", str(target)]
    assert main([*command, "--precision", "int8", "--max-batch", "16", "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert (made["precision"], made["arch"], made["max_batch"]) == ("int8", "sm_86", 16)
    assert made["problem"] == ""
    assert main(command) == 1
    assert "is there already" in capsys.readouterr().err


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_builds_again_to_as_many_bytes(precision: str) -> None:
    """TensorRT-RTX 1.7 leaves some bytes to chance, most often a few and now and then a tenth.

    What is ours is the same: the network that goes in, and all that the file says of it.
    """
    builder = EngineBuilder("tensorrt-rtx")
    made = [
        models.change_precision(models.load("dlib-resnet"), precision, symmetric=True)
        for _ in range(2)
    ]
    assert made[0].sha256 == made[1].sha256
    onnx_bytes = made[0].onnx_path.read_bytes()
    first, second = (
        np.frombuffer(builder.build(onnx_bytes, arch="sm_86", precision=precision, max_batch=64)[0],
                      dtype=np.uint8)
        for _ in range(2)
    )  # fmt: skip
    assert first.size == second.size
    assert (first != second).mean() < 0.5


@needs_rtx
def test_no_kernels_for_bf16_before_sm_80_whatever_else_is_right() -> None:
    """Our own refusal is the runtime's: it has no such kernels, and says so if it is asked."""
    typed = models.change_precision(models.load("dlib-resnet"), "bf16")
    with pytest.raises(ModelError, match=r"tensorrt-rtx (has no kernels|cannot build) for sm_75"):
        EngineBuilder("tensorrt-rtx").build(
            typed.onnx_path.read_bytes(), arch="sm_75", precision="typed", max_batch=2
        )
