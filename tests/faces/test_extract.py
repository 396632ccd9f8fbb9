"""A path in, faces out, in any thread or process."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fastface.errors import ImageError, InvalidInputError, MissingDependencyError
from fastface.faces import AlignmentTemplate, Detection, FaceExtractor, detect, get_template


def fingerprint(faces) -> list[tuple]:
    return [(f.detection.box, f.detection.score, f.crop.tobytes(), f.quality) for f in faces]


def test_faces_of_a_photo(wild_paths):
    faces = FaceExtractor().extract(wild_paths[0])
    assert len(faces) >= 1
    for face in faces:
        assert face.crop.shape == (150, 150, 3)
        assert face.crop.dtype == np.uint8
        assert face.crop.flags.c_contiguous
        assert face.quality.size > 20
        assert 0 <= face.quality.overall <= 1


def test_all_parameters(wild_paths):
    extractor = FaceExtractor(
        get_template("arcface-112"), "dlib-hog", 1, 10**7, threshold=-0.1, max_side=500
    )
    assert isinstance(extractor.template, AlignmentTemplate)
    assert extractor.detector.search.upsample == 1
    assert extractor.extract(wild_paths[0])[0].crop.shape == (112, 112, 3)
    with pytest.raises(ImageError) as caught:
        FaceExtractor(max_pixels=10).extract(wild_paths[0])
    assert caught.value.reason == "too_large"


def test_photo_without_a_face(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("RGB", (300, 200), (90, 90, 90)).save(path)
    assert FaceExtractor().extract(path) == []


def test_turned_photo_gives_the_same_face(tmp_path, one_face):
    """EXIF orientation is honored before faces are looked for."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(one_face).save(tmp_path / "up.png")
    Image.fromarray(np.rot90(one_face, 1).copy()).save(tmp_path / "side.png", exif=exif)
    extractor = FaceExtractor()
    upright = fingerprint(extractor.extract(tmp_path / "up.png"))
    assert len(upright) == 1
    assert fingerprint(extractor.extract(tmp_path / "side.png")) == upright


def test_same_bits_from_threads_and_processes(wild_paths):
    paths = wild_paths[:6]
    extractor = FaceExtractor()
    expected = [fingerprint(extractor.extract(path)) for path in paths]
    with ThreadPoolExecutor(2) as pool:
        assert [fingerprint(faces) for faces in pool.map(extractor.extract, paths)] == expected
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert [fingerprint(faces) for faces in pool.map(extractor.extract, paths)] == expected


def test_pickle(wild_paths):
    extractor = FaceExtractor("arcface-112", threshold=0.1)
    faces = extractor.extract(wild_paths[0])
    copy = pickle.loads(pickle.dumps(extractor))
    assert fingerprint(copy.extract(wild_paths[0])) == fingerprint(faces)
    assert fingerprint(pickle.loads(pickle.dumps(faces))) == fingerprint(faces)


def test_unknown_names():
    with pytest.raises(InvalidInputError, match="'dlib-hog'"):
        FaceExtractor(detector="haar")
    with pytest.raises(InvalidInputError, match="'dlib-150'"):
        FaceExtractor("dlib-151")


def test_import_needs_no_optional_package():
    """Making an extractor loads neither dlib nor Pillow: work is left to the first photo."""
    script = (
        "import sys; from fastface.faces import FaceExtractor; FaceExtractor();"
        "print(sorted({'dlib', 'PIL', 'pillow_heif'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_detector_with_other_landmarks(monkeypatch, one_face):
    """The registry takes a new detector, and its own landmarks are aligned as such."""
    template = get_template("arcface-112")
    points = template.points_for("eyes-nose-mouth") + np.array([30, 20])
    landmarks = points.astype(np.float32)

    class Fixed:
        name = "fixed"
        landmark_scheme = "eyes-nose-mouth"

        def __init__(self, *, upsample: int) -> None:
            self.upsample = upsample

        def detect(self, image: np.ndarray) -> list[Detection]:
            return [Detection((30, 20, 142, 132), 0.9, landmarks)]

    monkeypatch.setitem(detect._DETECTORS, "fixed", Fixed)
    (face,) = FaceExtractor(template, "fixed").extract_from(one_face)
    assert np.abs(face.crop.astype(int) - one_face[20:132, 30:142]).max() <= 1


def test_it_says_how_long_each_part_took(wild_paths):
    extractor = FaceExtractor()
    extractor.prepare()  # what is compiled at first use is compiled now
    extractor.extract(wild_paths[0])
    assert set(extractor.stage_seconds) == {"decode", "detect", "align"}
    assert all(0 < seconds < 60 for seconds in extractor.stage_seconds.values())


def test_prepare_says_early_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingDependencyError, match=r"fastface\[faces\]"):
        FaceExtractor().prepare()
