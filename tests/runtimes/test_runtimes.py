"""Every runtime keeps the same promises, and an explicit request is served or refused."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fastface import models
from fastface.errors import (
    InvalidInputError,
    MissingDependencyError,
    ModelError,
)
from fastface.models import Model
from fastface.runtimes import list_runtimes, open_runtime

RUNTIMES = ["onnxruntime", "openvino"]


@pytest.fixture
def model() -> Model:
    return models.load("dlib-resnet")


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Smooth random images: unlike faces, but far from constant."""
    coarse = np.random.default_rng(0).integers(0, 256, (16, 15, 15, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=1).repeat(10, axis=2)


def test_all_are_listed() -> None:
    assert list_runtimes() == [*RUNTIMES, "tensorrt", "tensorrt-rtx"]


@pytest.mark.parametrize("name", RUNTIMES)
def test_promises_of_the_protocol(model: Model, crops: np.ndarray, name: str) -> None:
    runtime = open_runtime(model, runtime=name, n_threads=1)
    assert runtime.name == name
    assert runtime.n_threads == 1
    assert runtime.version[0].isdigit()
    first = runtime.run(crops[:3])
    kept = first.copy()
    assert first.shape == (3, 128)
    assert first.dtype == np.float32
    assert first.flags.writeable
    second = runtime.run(crops[3:6])
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", RUNTIMES)
def test_bits_depend_on_the_crop_alone(model: Model, crops: np.ndarray, name: str) -> None:
    """Not on the batch it is in, its place there, or the number of threads."""
    one, two = (open_runtime(model, runtime=name, n_threads=n) for n in (1, 2))
    expected = one.run(crops)
    for size in (1, 2, 3, 5, 7, 8, 13, 16):
        parts = [two.run(crops[i : i + size]) for i in range(0, len(crops), size)]
        np.testing.assert_array_equal(np.concatenate(parts), expected)
    order = np.random.default_rng(1).permutation(len(crops))
    np.testing.assert_array_equal(two.run(crops[order]), expected[order])


def test_runtimes_agree(model: Model, crops: np.ndarray) -> None:
    a, b = (open_runtime(model, runtime=name).run(crops) for name in RUNTIMES)
    assert np.abs(a - b).max() <= 1e-5


@pytest.mark.parametrize("name", RUNTIMES)
def test_shared_between_threads(model: Model, crops: np.ndarray, name: str) -> None:
    runtime = open_runtime(model, runtime=name)
    expected = [runtime.run(crops[i : i + 4]) for i in range(0, 16, 4)]

    def work(i: int) -> bool:
        found = (runtime.run(crops[4 * i : 4 * i + 4]) for _ in range(5))
        return all(np.array_equal(rows, expected[i]) for rows in found)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_auto_is_onnxruntime_whatever_is_installed(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_runtime(model).name == "onnxruntime"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fastface\[faces\]'"):
        open_runtime(model)


def test_a_missing_runtime_is_named(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fastface\[openvino\]'"):
        open_runtime(model, runtime="openvino")


def test_requests_that_cannot_be_served(model: Model) -> None:
    with pytest.raises(InvalidInputError, match=r"'trt'; choose one of auto, onnxruntime, o"):
        open_runtime(model, runtime="trt")
    for wrong in (0, -1, 10**6, 1.5, True):
        with pytest.raises(InvalidInputError, match="n_threads"):
            open_runtime(model, n_threads=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_file_it_cannot_open(model: Model, tmp_path: Path, name: str) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(model.onnx_path.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"cannot open .*broken\.onnx"):
        open_runtime(Model(model.spec, path, "", ""), runtime=name)


@pytest.mark.parametrize("name", RUNTIMES)
def test_crops_it_cannot_run(model: Model, name: str) -> None:
    runtime = open_runtime(model, runtime=name)
    with pytest.raises(ModelError, match=r"cannot run .* on \(1, 9, 9, 3\)"):
        runtime.run(np.zeros((1, 9, 9, 3), dtype=np.uint8))
