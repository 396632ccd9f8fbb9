"""Detectors of one's own: what each family's numbers mean, and files that are refused."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastface.errors import InvalidInputError, ModelError
from fastface.faces import Detection, FaceExtractor, OnnxDetector, create_detector, load_image

SIDE = 128
STRIDES = (8, 16, 32)


def write_network(path: Path, outputs: dict[str, np.ndarray], size: object = SIDE) -> Path:
    """Write a network that gives the same outputs whatever it sees."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["nothing"]),
    ]
    nodes += [helper.make_node("Add", [f"{name}_value", "nothing"], [name]) for name in outputs]
    graph = helper.make_graph(
        nodes,
        "planted",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in outputs.items()],
        [numpy_helper.from_array(v, f"{name}_value") for name, v in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, path)
    return path


FACE = (24.0, 16.0, 60.0, 72.0)
POINTS = np.array([(32, 36), (50, 37), (41, 48), (34, 58), (49, 59)], dtype=np.float64)


def cell(stride: int) -> tuple[int, int, int]:
    """Return row, column and index of the cell in the middle of the face."""
    x, y = (FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2
    row, column = int(y // stride), int(x // stride)
    return row, column, row * (SIDE // stride) + column


def yunet() -> dict[str, np.ndarray]:
    outputs = {}
    for stride in STRIDES:
        n = (SIDE // stride) ** 2
        for part, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs[f"{part}_{stride}"] = np.zeros((1, n, width), np.float32)
    row, column, index = cell(16)
    left, top, right, bottom = FACE
    outputs["cls_16"][0, index] = 0.9
    outputs["obj_16"][0, index] = 0.9
    outputs["bbox_16"][0, index] = (
        (left + right) / 2 / 16 - column,
        (top + bottom) / 2 / 16 - row,
        math.log((right - left) / 16),
        math.log((bottom - top) / 16),
    )
    outputs["kps_16"][0, index] = (POINTS / 16 - (column, row)).ravel()
    return outputs


def scrfd() -> dict[str, np.ndarray]:
    """As InsightFace exports them: no batch dimension, numbers for names, any order."""
    outputs = {}
    for number, stride in enumerate(STRIDES):
        n = 2 * (SIDE // stride) ** 2
        for shift, width in ((448, 1), (451, 4), (454, 10)):
            outputs[str(shift + number)] = np.zeros((n, width), np.float32)
    row, column, index = cell(16)
    anchor = np.array([column * 16, row * 16])
    left, top, right, bottom = FACE
    outputs["449"][2 * index + 1] = 0.9
    box = (anchor[0] - left, anchor[1] - top, right - anchor[0], bottom - anchor[1])
    outputs["452"][2 * index + 1] = np.array(box) / 16
    outputs["455"][2 * index + 1] = ((POINTS - anchor) / 16).ravel()
    return dict(reversed(outputs.items()))


def retinaface() -> dict[str, np.ndarray]:
    n = 2 * sum((SIDE // stride) ** 2 for stride in STRIDES)
    box, score = np.zeros((1, n, 4), np.float32), np.zeros((1, n, 2), np.float32)
    points = np.zeros((1, n, 10), np.float32)
    score[..., 0] = 1
    row, column, index = cell(16)
    place = 2 * (SIDE // 8) ** 2 + 2 * index  # the smaller of the two anchors, 64 pixels wide
    center = np.array([column + 0.5, row + 0.5]) * 16
    left, top, right, bottom = FACE
    middle = np.array([left + right, top + bottom]) / 2
    size = np.array([right - left, bottom - top])
    score[0, place] = (0.1, 0.9)
    box[0, place] = [*((middle - center) / 6.4), *(np.log(size / 64) / 0.2)]
    points[0, place] = ((POINTS - center) / 6.4).ravel()
    return {"loc": box, "conf": score, "landms": points}


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("family", [yunet, scrfd, retinaface])
def test_a_planted_face_comes_out(tmp_path: Path, photo: np.ndarray, family) -> None:
    detector = create_detector(write_network(tmp_path / "mine.onnx", family()))
    assert detector.family == family.__name__
    assert detector.name == f"{family.__name__} (mine.onnx)"
    (found,) = detector.detect(photo)
    assert isinstance(found, Detection)
    assert found.box == tuple(map(int, FACE))
    assert found.score == pytest.approx(0.9, abs=1e-6)
    np.testing.assert_allclose(found.landmarks, POINTS, atol=1e-3)
    assert create_detector(str(tmp_path / "mine.onnx"), threshold=0.95).detect(photo) == []


def test_a_photo_is_fitted_into_a_fixed_size(tmp_path: Path) -> None:
    """The planted face keeps its place in what the network sees: half as large as the photo."""
    detector = OnnxDetector(write_network(tmp_path / "mine.onnx", yunet()))
    (found,) = detector.detect(np.zeros((200, 256, 3), np.uint8))
    assert found.box == tuple(2 * int(side) for side in FACE)
    np.testing.assert_allclose(found.landmarks, 2 * POINTS, atol=1e-2)
    with pytest.raises(InvalidInputError, match="128 × 128 pixels only"):
        OnnxDetector(tmp_path / "mine.onnx", upsample=1)


def test_of_boxes_that_overlap_the_best_is_kept(tmp_path: Path, photo: np.ndarray) -> None:
    outputs = scrfd()
    _, _, index = cell(16)
    for name in ("449", "452", "455"):
        outputs[name][2 * index] = outputs[name][2 * index + 1]
    outputs["449"][2 * index] = 0.95
    (found,) = OnnxDetector(write_network(tmp_path / "mine.onnx", outputs)).detect(photo)
    assert found.score == pytest.approx(0.95)


def test_a_face_half_outside_is_clipped(tmp_path: Path, photo: np.ndarray) -> None:
    detector = OnnxDetector(write_network(tmp_path / "mine.onnx", yunet()))
    (found,) = detector.detect(photo[:64, :40])  # smaller than the input: not enlarged
    assert found.box == (24, 16, 40, 64)
    assert detector.detect(photo[:12, :12]) == []


def test_files_that_are_no_detector(tmp_path: Path) -> None:
    without_landmarks = {k: v for k, v in scrfd().items() if v.shape[1] != 10}
    wrong_cells = retinaface()
    wrong_cells["loc"] = wrong_cells["loc"][:, :-1]
    not_finite = yunet()
    not_finite["bbox_8"][:] = np.nan
    cases = {
        "five landmarks": write_network(tmp_path / "a.onnx", without_landmarks),
        "is no retinaface": write_network(tmp_path / "b.onnx", wrong_cells),
        "not finite": write_network(tmp_path / "c.onnx", not_finite),
        "multiples of 32": write_network(tmp_path / "d.onnx", yunet(), size=100),
        "is no file": tmp_path / "missing.onnx",
    }
    (tmp_path / "text.onnx").write_text("no network")
    cases["not an ONNX file"] = tmp_path / "text.onnx"
    for message, path in cases.items():
        with pytest.raises(ModelError, match=message):
            create_detector(path)
    with pytest.raises(InvalidInputError, match="probability"):
        OnnxDetector(tmp_path / "a.onnx", threshold=1.5)
    with pytest.raises(InvalidInputError, match="colour"):
        create_detector(write_network(tmp_path / "mine.onnx", yunet()), colour=True)


def test_real_yunet(wild_paths, yunet_file: Path) -> None:
    detector = create_detector(yunet_file)
    images = [load_image(path) for path in wild_paths[::3]]
    found = [detector.detect(image) for image in images]
    assert all(found)
    assert sum(map(len, found)) <= len(found) + 3
    hog = create_detector("dlib-hog")
    near = 0
    for image, faces in zip(images, found, strict=True):
        for face in hog.detect(image):
            width = face.box[2] - face.box[0]
            middles = [np.mean(other.landmarks[:2], axis=0) for other in faces]
            eyes = face.landmarks[:4].mean(axis=0)
            near += min(np.linalg.norm(middle - eyes) for middle in middles) < width / 8
    assert near >= len(images) - 1


def test_real_yunet_in_the_extractor(one_face, yunet_file: Path) -> None:
    """The crops are those of the other detector, but for what the landmarks differ by."""
    copy = pickle.loads(pickle.dumps(FaceExtractor("arcface-112", str(yunet_file))))
    (face,) = copy.extract_from(one_face)
    (other,) = FaceExtractor("arcface-112").extract_from(one_face)
    assert face.crop.shape == (112, 112, 3)
    assert np.corrcoef(face.crop.ravel(), other.crop.ravel())[0, 1] > 0.8
    doubled = create_detector(yunet_file, upsample=1)
    (large,) = doubled.detect(one_face)
    assert np.abs(np.subtract(large.box, face.detection.box)).max() < 12
