"""Three ways to one network: dlib, ONNX and PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from fastface import Embedder, models
from fastface.errors import MissingDependencyError, ModelError

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra 'torch'")


@pytest.fixture(scope="module")
def crops(shared_faces: Path) -> np.ndarray:
    from fastface.pipeline.labelled import read_labelled_crops

    return read_labelled_crops(shared_faces / "celeba", (150, 150), limit=24).crops


def test_module_gives_the_vectors_of_the_file(crops) -> None:
    module = models.torch_module()
    assert not module.training
    with torch.inference_mode():
        made = module(torch.from_numpy(crops)).numpy()
    expected = Embedder().embed(crops)
    assert np.abs(made - expected).max() < 2e-6
    assert sum(p.numel() for p in module.parameters()) > 5_000_000


def test_module_gives_the_vectors_of_dlib(crops, packaged_models: Path) -> None:
    import dlib

    model = dlib.face_recognition_model_v1(
        str(packaged_models / "dlib_face_recognition_resnet_model_v1.dat")
    )
    expected = np.array([model.compute_face_descriptor(crop) for crop in crops[:3]])
    with torch.inference_mode():
        made = models.torch_module()(torch.from_numpy(crops[:3])).numpy()
    assert np.abs(made - expected).max() < 1e-5


def test_module_can_be_trained_further(crops) -> None:
    module = models.torch_module()
    module(torch.from_numpy(crops[:2])).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


def small_module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2),
        torch.nn.BatchNorm2d(8),
        torch.nn.PReLU(8),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 512),
    )


def test_a_module_of_ones_own_becomes_a_model(tmp_path: Path) -> None:
    module = small_module().train()
    module.eval()(torch.rand(4, 3, 112, 112))
    module.train()
    written = models.export_torch(module, "adaface-112", tmp_path / "mine.onnx")
    assert module.training  # left as it was
    onnx.checker.check_model(onnx.load(tmp_path / "mine.onnx"), full_check=True)
    crops = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
    images = (crops[..., ::-1].astype(np.float32) - 127.5) / 127.5  # BGR
    with torch.inference_mode():
        expected = module.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    embedder = Embedder(tmp_path / "mine.onnx")
    assert embedder.spec.name == "adaface-112"
    np.testing.assert_allclose(embedder.embed(crops), expected, atol=1e-5)
    again = models.export_torch(module, "adaface-112", tmp_path / "again.onnx")
    assert again.sha256 == written.sha256
    half = models.export_torch(module, "adaface-112", tmp_path / "half.onnx", precision="fp16")
    assert half.precision == "fp16"


def test_modules_that_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be exported on images of"):
        models.export_torch(torch.nn.Linear(5, 512), "arcface-112", tmp_path / "a.onnx")
    short = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(ModelError, match="vectors of 3 values"):
        models.export_torch(short, "arcface-112", tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()
    with pytest.raises(ModelError, match="is a preset"):
        models.torch_module("arcface-112")


def test_without_torch(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"fastface\[torch\]"):
        models.torch_module()
