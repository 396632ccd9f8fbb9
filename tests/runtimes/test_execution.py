"""Running engines: everything the host does, on a GPU that is none but as late as one may be."""

from __future__ import annotations

import gc
import importlib
import inspect
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import CudaError, CudaStandIn

from fastface import Embedder, models
from fastface.errors import (
    BackendUnavailableError,
    CorruptFileError,
    FastfaceError,
    InvalidInputError,
    MissingDependencyError,
    ModelError,
)
from fastface.runtimes.device import CudaDevice
from fastface.runtimes.engine_file import pack_engine, read_engine
from fastface.runtimes.engines import build_engine
from fastface.runtimes.lanes import round_up
from fastface.runtimes.tensorrt_runtime import TensorRtRuntime

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def engine(tiny: models.Model, trt: Any) -> Path:
    return build_engine(tiny, runtime="tensorrt", arch="native", precision="fp32", max_batch=8)


@pytest.fixture
def runtime(engine: Path) -> TensorRtRuntime:
    return TensorRtRuntime(engine, device=CudaDevice())


@pytest.fixture
def expected(tiny: models.Model, tiny_crops: np.ndarray) -> np.ndarray:
    return Embedder(tiny.onnx_path).embed(tiny_crops)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and bool(np.allclose(found, expected, atol=1e-5))


def test_vectors_are_those_of_the_cpu(runtime, tiny_crops, expected) -> None:
    for n in (1, 2, 3, 5, 7, 8, 9, 16, 23):
        assert same(runtime.run(tiny_crops[:n]), expected[:n])
    assert not np.shares_memory(runtime.run(tiny_crops[:2]), runtime.run(tiny_crops[:2]))


def test_batches_of_every_size_come_back_in_order(runtime, tiny_crops, expected) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        cuts = np.sort(rng.choice(np.arange(1, 23), 6, replace=False))
        pieces = [p for p in np.split(np.arange(23), cuts) if len(p) <= 8]
        found = list(runtime.run_batches(tiny_crops[p] for p in pieces))
        assert len(found) == len(pieces)
        assert all(same(rows, expected[p]) for rows, p in zip(found, pieces, strict=True))


def test_batches_overlap_and_few_are_in_memory(runtime, cuda, tiny_crops) -> None:
    cuda.log.clear()
    taken = []

    def batches() -> Any:
        for i in range(7):
            taken.append(i)
            yield tiny_crops[:8]

    rows = runtime.run_batches(batches())
    next(rows)
    assert len(taken) == 4  # three under way, and the one that waits for a lane
    kinds = [event[0] for event in cuda.log]
    assert kinds[:9] == ["in", "enqueue", "out"] * 3  # on three streams, before anybody waits
    assert len({event[1] for event in cuda.log[:9]}) == 3
    assert kinds[9] == "wait"
    assert len(list(rows)) == 6


def test_a_caller_may_stop_in_the_middle(runtime, tiny_crops, expected) -> None:
    rows = runtime.run_batches(tiny_crops[i : i + 2] for i in range(0, 20, 2))
    next(rows)
    rows.close()
    assert same(runtime.run(tiny_crops), expected)


def test_a_source_that_fails_leaves_the_lanes_free(runtime, tiny_crops, expected) -> None:
    def batches() -> Any:
        yield tiny_crops[:4]
        raise OSError("the disk is gone")

    for _ in range(5):
        with pytest.raises(OSError, match="the disk"):
            list(runtime.run_batches(batches()))
    assert same(runtime.run(tiny_crops), expected)


def test_sizes_are_rounded_so_that_they_come_again() -> None:
    assert [round_up(n, 24) for n in (1, 2, 3, 5, 8, 9, 17, 24)] == [1, 2, 4, 8, 8, 16, 24, 24]


def test_what_comes_again_is_recorded_once(engine, cuda, trt, tiny_crops, expected) -> None:
    runtime = TensorRtRuntime(engine, device=CudaDevice(), n_lanes=1)
    cuda.log.clear()
    for n in (8, 7, 8, 5):  # all computed as 8
        assert same(runtime.run(tiny_crops[:n]), expected[:n])
    kinds = [event[0] for event in cuda.log]
    assert kinds.count("enqueue") == 2  # once to prepare, once to record
    assert kinds.count("launch") == 3
    assert len(cuda.graphs) == 1
    assert [event[2] for event in cuda.log if event[0] == "in"] == [n * 90 for n in (8, 7, 8, 5)]
    cuda.log.clear()
    assert same(runtime.run(tiny_crops[:3]), expected[:3])  # another size: the graph is void
    assert not cuda.graphs
    assert [event[0] for event in cuda.log] == ["in", "enqueue", "out", "wait"]


@pytest.mark.parametrize("how", ["enqueue", "end"])
def test_what_cannot_be_recorded_still_runs(
    runtime, cuda, trt, tiny_crops, expected, how: str
) -> None:
    if how == "enqueue":
        trt.can_capture = False
    else:
        cuda.fail["cudaStreamEndCapture"] = CudaError.cudaErrorStreamCaptureInvalidated
    for _ in range(8):
        assert same(runtime.run(tiny_crops), expected)
    assert not cuda.graphs
    assert not cuda.capturing


def test_threads_share_the_lanes(runtime, tiny_crops, expected) -> None:
    start = threading.Barrier(6)

    def work(i: int) -> bool:
        start.wait()
        return all(same(runtime.run(tiny_crops[i:]), expected[i:]) for _ in range(10))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6), timeout=60))


def test_everything_is_given_back(engine, cuda, tiny_crops) -> None:
    runtime = TensorRtRuntime(engine, device=CudaDevice())
    for _ in range(4):
        runtime.run(tiny_crops)
    assert cuda.left()["blocks"] == 6
    runtime.close()
    runtime.close()
    assert not cuda.left()
    with pytest.raises(InvalidInputError, match="was closed"):
        runtime.run(tiny_crops)
    TensorRtRuntime(engine, device=CudaDevice()).run(tiny_crops)
    gc.collect()
    assert not cuda.left()


def test_memory_that_does_not_suffice(engine, cuda) -> None:
    for lanes in range(3):  # for none, one or two of three
        cuda.total = lanes * 8 * (90 + 12) + 8 * 90 + 7
        with pytest.raises(
            BackendUnavailableError, match=r"Stand-in\) has no 0\.0 MiB left .* smaller batch_size"
        ):
            TensorRtRuntime(engine, device=CudaDevice())
        assert not cuda.left()


def test_a_device_that_fails_says_how(runtime, cuda, tiny_crops) -> None:
    cuda.fail["cudaStreamSynchronize"] = CudaError.cudaErrorIllegalAddress
    with pytest.raises(BackendUnavailableError, match=r"cudaErrorIllegalAddress: what .* process"):
        runtime.run(tiny_crops)
    cuda.fail.clear()
    assert runtime.run(tiny_crops).shape == (23, 3)  # no lane was lost


def test_an_engine_that_refuses_to_run(runtime, cuda, tiny_crops, monkeypatch, trt) -> None:
    monkeypatch.setattr(trt.real_names["IExecutionContext"], "execute_async_v3", lambda *_: False)
    for _ in range(4):  # one more than there are lanes
        with pytest.raises(ModelError, match=r"\.engine: the engine cannot be run on 8 crops"):
            runtime.run(tiny_crops)
    monkeypatch.undo()
    with pytest.raises(InvalidInputError, match=r"a batch of 9 crops: .* takes 1 to 8"):
        list(runtime.run_batches([tiny_crops[:9]]))


def repack(engine: Path, target: Path, payload: bytes | None = None, **changes: Any) -> Path:
    info, data = read_engine(engine)
    target.write_bytes(pack_engine(replace(info, **changes), payload or data))
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": "sm_80"}, r"built for sm_80, and Stand-in is sm_89: build one for it, `fastface"),
        ({"runtime_version": "9.1"}, r"built by tensorrt 9\.1, and 10\.9\.0 is installed"),
        ({"device": "NVIDIA A10"}, r"tuned on NVIDIA A10, and this is Stand-in"),
        ({"payload": b"not TensorRT's"}, r"cannot load .*: magic tag does not match"),
    ],
)
def test_engines_made_elsewhere(engine, tmp_path: Path, cuda, changes, message: str) -> None:
    path = repack(engine, tmp_path / "other.engine", **changes)
    with pytest.raises(ModelError, match=message):
        Embedder(path)
    assert not cuda.left()


def test_a_damaged_engine_never_reaches_the_runtime(engine, tmp_path: Path, trt) -> None:
    path = tmp_path / "cut.engine"
    path.write_bytes(engine.read_bytes()[:-1])
    trt.Runtime = None
    with pytest.raises(CorruptFileError):
        Embedder(path)


def test_an_embedder_on_the_gpu(tiny, trt, cuda, tiny_crops, expected) -> None:
    embedder = Embedder(tiny.onnx_path, runtime="tensorrt", device="cuda", batch_size=8)
    assert (embedder.runtime_, embedder.runtime_version_) == ("tensorrt", "10.9.0")
    assert embedder.model.sha256 == tiny.sha256
    assert same(embedder.embed(tiny_crops), expected)
    assert embedder.embed(tiny_crops[:0]).shape == (0, 3)
    assert trt.built == 1
    copy = pickle.loads(pickle.dumps(embedder))
    assert copy.runtime_ == "tensorrt"
    assert same(copy.embed(list(tiny_crops)), expected)
    assert trt.built == 1  # found in the cache


def test_a_file_of_an_engine_is_a_model(engine, tiny, tiny_crops, expected, tmp_path) -> None:
    path = tmp_path / "mine.engine"
    path.write_bytes(engine.read_bytes())
    embedder = Embedder(path)  # batches of 32 for an engine that takes 8
    assert embedder.spec == tiny.spec
    assert embedder.model.sha256 == tiny.sha256
    assert same(embedder.embed(tiny_crops), expected)
    assert same(pickle.loads(pickle.dumps(embedder)).embed(tiny_crops), expected)
    for options, message in [
        ({"spec": "arcface-112"}, "'arcface-112' contradicts"),
        ({"runtime": "onnxruntime"}, "an engine for tensorrt, not for 'onnxruntime'"),
        ({"precision": "int8", "calibration": tiny_crops}, "precision was decided"),
        ({"precision": "fp16"}, "computes in fp32, not in 'fp16'"),
        ({"device": "cpu"}, "runs on GPUs"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            Embedder(path, **options)


def test_where_a_gpu_is_asked_for(tiny, cuda, trt, monkeypatch) -> None:
    def refused(kind: type[FastfaceError], message: str, **options: Any) -> None:
        with pytest.raises(kind, match=message):
            Embedder(tiny.onnx_path, **options)

    refused(InvalidInputError, "choose one of 'auto', 'cpu', 'cuda'", device="gpu")
    refused(InvalidInputError, "'openvino' does not run on device 'cuda'", runtime="openvino",
            device="cuda")  # fmt: skip
    refused(InvalidInputError, "runs on GPUs", runtime="tensorrt", device="cpu")
    refused(BackendUnavailableError, r"'cuda:3': this process sees 1", device="cuda:3")
    cuda.devices = 0
    refused(BackendUnavailableError, "no CUDA device can be used .cudaErrorNoDevice", device="cuda")
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    refused(MissingDependencyError, r"needs cuda-bindings: pip install", device="cuda")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    refused(MissingDependencyError, r"fastface\[tensorrt\]", runtime="tensorrt")


def test_without_a_gpu_the_real_bindings_say_so() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    try:
        device = CudaDevice()
    except BackendUnavailableError as error:
        assert "no CUDA device can be used (cudaError" in str(error)  # noqa: PT017
    else:
        assert device.arch.startswith("sm_")


def test_only_a_gpu_that_is_there_is_built_for(tiny, trt) -> None:
    with pytest.raises(InvalidInputError, match=r"Stand-in \(sm_89\), not for 'sm_90'"):
        build_engine(tiny, runtime="tensorrt", arch="sm_90", precision="fp32")
    assert build_engine(tiny, runtime="tensorrt", arch="sm_89", precision="fp32") == build_engine(
        tiny, runtime="tensorrt", arch="native", precision="fp32"
    )


def test_timings_are_kept_for_the_next_build(tiny, trt, own_cache: Path) -> None:
    for batch in (1, 2):
        build_engine(tiny, runtime="tensorrt", arch="native", precision="fp32", max_batch=batch)
    (path,) = own_cache.glob("*.timings")
    assert path.name == "tensorrt-10.9.0-Stand-in.timings"
    assert path.read_bytes().endswith(b"\ntimed;timed;")
    assert trt.config.cleared == ["TF32"]
    path.write_bytes(path.read_bytes()[:-1])  # damaged: none of it is believed
    build_engine(tiny, runtime="tensorrt", arch="native", precision="fp16", max_batch=4)
    assert path.read_bytes().endswith(b"\ntimed;")
    assert b"timed;timed" not in path.read_bytes()
    assert trt.config.cleared == []


def test_the_stand_in_has_only_what_the_real_ones_have(cuda: CudaStandIn, trt: Any) -> None:
    real = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    for name, kind in trt.real_names.items():
        own = {n for n in vars(kind) if not n.startswith("_")}
        own -= {"most", "onnx"}  # of the stand-in alone
        assert own, name
        assert own <= set(dir(getattr(real, name))), name
    sys.modules.pop("cuda.bindings.runtime")
    bindings = pytest.importorskip("cuda.bindings.runtime", reason="no cuda-bindings")
    for name in dir(cuda):
        if name.startswith("cuda"):
            assert hasattr(bindings, name)
        if name.startswith("cuda") and callable(getattr(cuda, name)):
            n_wanted = len(inspect.signature(getattr(cuda, name)).parameters)
            text = getattr(bindings, name).__doc__.splitlines()[0].partition("(")[2].rstrip(")")
            assert len([part for part in text.split(",") if part.strip()]) == n_wanted, name
    sys.modules["cuda.bindings.runtime"] = cuda
    for kind in ("cudaMemcpyKind", "cudaStreamCaptureMode"):
        for member in vars(getattr(cuda, kind)):
            assert hasattr(getattr(bindings, kind), member)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_real_gpu_gives_the_vectors_of_the_cpu(precision: str) -> None:
    """Engine, copies, streams and graphs together, where there is a GPU."""
    try:
        device = CudaDevice()
    except FastfaceError as error:
        pytest.skip(f"no GPU to run engines on: {error}")
    importlib.import_module("fastface.runtimes")
    coarse = np.random.default_rng(0).integers(0, 256, (150, 15, 15, 3), dtype=np.uint8)
    crops = coarse.repeat(10, axis=1).repeat(10, axis=2)
    embedder = Embedder(device=f"cuda:{device.ordinal}", precision=precision)
    reference = Embedder().embed(crops, normalize=True)
    for _ in range(3):
        found = (embedder.embed(crops, normalize=True) * reference).sum(axis=1)
        assert found.mean() > {"fp32": 0.999999, "fp16": 0.9999, "int8": 0.99}[precision]
