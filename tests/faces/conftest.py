"""Real photos and dlib's own objects to compare with."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from fastface.faces import DlibHogDetector, load_image


@pytest.fixture(scope="session")
def wild_paths(shared_faces: Path) -> list[Path]:
    """Every eleventh whole photo: 61 of 662, both sources among them."""
    with (shared_faces / "wild" / "photos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [shared_faces / "wild" / row["photo"] for row in rows[::11]]


@pytest.fixture(scope="session")
def detector() -> DlibHogDetector:
    return DlibHogDetector()


@pytest.fixture(scope="session")
def portraits(wild_paths: list[Path], detector: DlibHogDetector) -> list[tuple]:
    """Photos with their detections, for tests that need a few."""
    images = [load_image(path) for path in wild_paths[::5]]
    return [(image, detector.detect(image)) for image in images]


@pytest.fixture(scope="session")
def one_face(portraits: list[tuple]) -> np.ndarray:
    """A photo of at most half a megapixel with exactly one face."""
    return next(i for i, d in portraits if len(d) == 1 and i.shape[0] * i.shape[1] < 500_000)


@pytest.fixture(scope="session")
def yunet_file(shared_faces: Path) -> Path:
    """A real detector of somebody else's."""
    return shared_faces.parent / "models" / "yunet_n_dynamic.onnx"
