"""Grades move the right way."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fastface.faces import Detection, align_face, grade_face, measure_sharpness

LANDMARKS = np.zeros((5, 2), np.float32)


@pytest.fixture(scope="module")
def crops(portraits) -> list[np.ndarray]:
    return [align_face(image, found[0].landmarks) for image, found in portraits if found]


def blurred(crop: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(crop).filter(ImageFilter.GaussianBlur(radius)))


def test_blur_lowers_sharpness_step_by_step(crops):
    for crop in crops:
        steps = [measure_sharpness(blurred(crop, radius)) for radius in (0, 0.7, 1.5, 3, 6)]
        assert steps == sorted(steps, reverse=True)
        assert steps[-1] < 0.1


def test_sharpness_ignores_light_and_contrast(crops):
    for crop in crops:
        dim = (crop * 0.5 + 60).astype(np.uint8)
        assert measure_sharpness(dim) == pytest.approx(measure_sharpness(crop), abs=0.03)


def test_sharpness_ignores_the_surroundings(crops):
    for crop in crops:
        framed = crop.copy()
        framed[:30] = 0
        framed[:, -30:] = np.random.default_rng(0).integers(0, 256, (150, 30, 3))
        assert measure_sharpness(framed) == measure_sharpness(crop)


def test_range(crops):
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    assert measure_sharpness(np.full((150, 150, 3), 77, np.uint8)) == 0.0
    assert 0.95 < measure_sharpness(noise) < 1
    assert 0.3 < np.median([measure_sharpness(crop) for crop in crops]) < 0.8


def test_size_is_the_side_of_the_box(crops):
    assert grade_face(Detection((10, 20, 110, 120), 1.0, LANDMARKS), crops[0]).size == 100
    assert grade_face(Detection((0, 0, 50, 200), 1.0, LANDMARKS), crops[0]).size == 100


def test_overall_rises_with_each_part(crops):
    crop = crops[0]

    def overall(side: int = 100, score: float = 1.0, blur: float = 0) -> float:
        detection = Detection((0, 0, side, side), score, LANDMARKS)
        return grade_face(detection, blurred(crop, blur)).overall

    assert 0 < overall(side=30) < overall(side=100) < overall(side=500) < 1
    assert overall(score=0.1) < overall(score=1) < overall(score=3)
    assert overall(blur=5) < overall(blur=1) < overall()


@pytest.mark.parametrize("score", [-1e9, -3.0, 0.0, 3.0, 1e9])
def test_overall_stays_in_range_for_any_score(crops, score):
    assert 0 <= grade_face(Detection((0, 0, 9, 9), score, LANDMARKS), crops[0]).overall <= 1
