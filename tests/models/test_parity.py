"""The converted network is dlib's network: on real crops, the same vectors."""

from __future__ import annotations

from pathlib import Path

import dlib
import numpy as np
import onnx
import pytest
from PIL import Image

from fastface import Embedder, models

LOWEST_COSINE, LARGEST_DIFFERENCE = 0.999999, 1e-5
SETS = ("celeba", "lfw", "utk", "yale", "orl", "cmu")
N_CROPS = 60
# The stored vectors were made before the crops became JPEG.  Euclidean distance that this moves
# them: measured 0.052 at most and 0.021 in the middle of the worst set, and dlib's own vectors of
# the crops that moved furthest are as far from the stored ones.
LARGEST_JPEG_DRIFT, MEDIAN_JPEG_DRIFT = 0.06, 0.025


def read(paths: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def disagreement(found: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Lowest cosine and largest absolute difference over all rows."""
    a, b = found.astype(np.float64), reference.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / norms).min()), float(np.abs(a - b).max())


def agree(found: np.ndarray, reference: np.ndarray) -> bool:
    cosine, difference = disagreement(found, reference)
    return cosine >= LOWEST_COSINE and difference <= LARGEST_DIFFERENCE


@pytest.fixture(scope="module")
def crops(shared_faces: Path) -> np.ndarray:
    """Ten crops of each set, drawn once and for all."""
    rng = np.random.default_rng(2024)
    chosen = [
        path
        for name in SETS
        for path in rng.choice(
            np.array(sorted((shared_faces / name / "crops").glob("*.jpg"))),
            N_CROPS // len(SETS),
            replace=False,
        )
    ]
    return read(chosen)


@pytest.fixture(scope="module")
def reference(crops: np.ndarray, packaged_models: Path) -> np.ndarray:
    """What dlib itself computes from them."""
    path = packaged_models / "dlib_face_recognition_resnet_model_v1.dat"
    network = dlib.face_recognition_model_v1(str(path))
    return np.array(network.compute_face_descriptor(list(crops)), dtype=np.float64)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_same_vectors_as_dlib(crops: np.ndarray, reference: np.ndarray, runtime: str) -> None:
    found = Embedder(runtime=runtime).embed(crops)
    assert len(found) == N_CROPS
    assert agree(found, reference), disagreement(found, reference)


def test_a_tiny_error_would_be_seen(crops: np.ndarray, reference: np.ndarray) -> None:
    """The bound is tight: mixed-up colours, or pixels off by one in 255, fall outside it."""
    embedder = Embedder()
    assert not agree(embedder.embed(crops[..., ::-1]), reference)
    assert not agree(embedder.embed(crops - (crops == crops.max(axis=(1, 2, 3), keepdims=True))),
                     reference)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_whole_set_against_stored_vectors(shared_faces: Path, name: str) -> None:
    """All there are, against vectors that dlib made: no crop or row is mixed up.

    ``python -m benchmarks embedding --parity-all`` computes dlib's own for every crop instead.
    """
    import csv

    with (shared_faces / name / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    stored = np.load(shared_faces / name / "embeddings.npz")["emb"]
    found = Embedder().embed(read([shared_faces / name / row["path"] for row in rows]))
    assert found.shape == stored.shape
    drift = np.linalg.norm(found - stored, axis=1)
    assert drift.max() <= LARGEST_JPEG_DRIFT
    assert np.median(drift) <= MEDIAN_JPEG_DRIFT


def test_file_is_clean(packaged_models: Path) -> None:
    model = onnx.load(models.load("dlib-resnet").onnx_path)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    # Nothing of the normalisation is left to compute but what is inside the convolutions.
    assert {node.op_type for node in model.graph.node} == {
        "Add", "AveragePool", "Cast", "Conv", "Flatten", "GlobalAveragePool", "MaxPool", "Pad",
        "Relu", "Transpose",
    }  # fmt: skip
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 30


def test_spec_repeats_what_the_file_says(packaged_models: Path) -> None:
    from fastface.models.dlib import read_network

    data = (packaged_models / "dlib_face_recognition_resnet_model_v1.dat").read_bytes()
    network, spec = read_network(data), models.get_spec("dlib-resnet")
    assert network.input.mean == spec.mean
    assert network.input.size == spec.input_size
    assert network.loss.options["distance_threshold"] == pytest.approx(spec.same_person_distance)
