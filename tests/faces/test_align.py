"""One warp for every template, equal to dlib's chips to the bit."""

from __future__ import annotations

import pickle

import dlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fastface.errors import InvalidInputError
from fastface.faces import align_face, get_template, list_templates


def dlib_chip(image: np.ndarray, landmarks: np.ndarray, size: int = 150) -> np.ndarray:
    points = [dlib.point(int(x), int(y)) for x, y in landmarks]
    box = dlib.rectangle(0, 0, 10, 10)
    shape = dlib.full_object_detection(box, points)
    return dlib.get_face_chip(np.ascontiguousarray(image), shape, size, 0.25)


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("factor", [1, 3, 6])
def test_equal_to_dlib_at_every_scale(portraits, factor):
    compared = 0
    for image, detections in portraits:
        if max(image.shape) * factor > 4000:
            continue
        large = enlarge(image, factor)
        for detection in detections:
            landmarks = detection.landmarks * factor
            assert np.array_equal(align_face(large, landmarks), dlib_chip(large, landmarks))
            compared += 1
    assert compared >= 10


@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(0.1, 12),
    angle=st.floats(-3.1, 3.1),
    x=st.floats(-150, 450),
    y=st.floats(-150, 450),
)
def test_equal_to_dlib_anywhere_even_beyond_the_edge(seed, scale, angle, x, y):
    """Faces of any size and turn, in and half out of a photo of noise: zeros outside as dlib's."""
    image = np.random.default_rng(seed).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    unit = get_template("dlib-150").points_for("eye-corners-nose") @ [1, 1j] / 150
    points = unit * 150 * scale * np.exp(1j * angle)
    points = points - points.mean() + x + 1j * y
    landmarks = np.rint(np.stack([points.real, points.imag], 1)).astype(np.float32)
    ours, theirs = align_face(image, landmarks), dlib_chip(image, landmarks)
    # Sums in another order may round a coordinate across a pixel boundary: rarely, by one level
    # inside the photo, and by one sample on its edge.
    different = (ours != theirs).any(axis=2)
    assert different.mean() < 1e-3


@pytest.mark.parametrize("name", ["arcface-112", "facenet-160"])
@pytest.mark.parametrize("scheme", ["eye-corners-nose", "eyes-nose-mouth"])
def test_landmarks_at_the_template_points_give_the_photo_back(name, scheme):
    template = get_template(name)
    image = np.random.default_rng(0).integers(0, 256, (template.size + 9,) * 2 + (3,), np.uint8)
    landmarks = template.points_for(scheme) + 4
    crop = align_face(image, landmarks, template, scheme=scheme)
    inner = image[4:-5, 4:-5]
    assert np.abs(crop.astype(int) - inner).max() <= 1


@pytest.mark.parametrize("name", list_templates())
@pytest.mark.parametrize("scheme", ["eye-corners-nose", "eyes-nose-mouth"])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0, 6.0])
def test_landmarks_land_on_the_template(name, scheme, scale):
    """White dots at the landmarks of a turned face must reappear at the template's points."""
    template = get_template(name)
    goal = template.points_for(scheme)
    side = int(template.size * scale * 2)
    turn = scale * np.exp(0.3j)
    points = (goal @ [1, 1j] - template.size * (0.5 + 0.5j)) * turn + side * (0.5 + 0.5j)
    rows, columns = np.mgrid[:side, :side]
    blobs = np.zeros((side, side))
    for point in points:
        distance = (columns - point.real) ** 2 + (rows - point.imag) ** 2
        blobs = np.maximum(blobs, np.exp(-distance / (2 * (2 * scale) ** 2)))
    image = np.repeat((blobs * 255).astype(np.uint8)[..., None], 3, axis=2)
    landmarks = np.stack([points.real, points.imag], 1).astype(np.float32)
    crop = align_face(image, landmarks, template, scheme=scheme)[..., 0].astype(float)
    for x, y in goal:
        window = crop[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5]
        yy, xx = np.mgrid[-4:5, -4:5]
        found = np.array([(window * xx).sum(), (window * yy).sum()]) / window.sum()
        # dlib's own grid is off by up to a pixel: it is followed on purpose.
        assert np.abs(found + np.array([round(x), round(y)]) - [x, y]).max() < (
            1.1 if template.sampling == "dlib" else 0.35
        )


def test_large_faces_do_not_alias():
    """Fine stripes, far finer than the crop can show, must melt to grey."""
    image = np.zeros((1500, 1500, 3), np.uint8)
    image[::2] = 255
    for name in list_templates():
        template = get_template(name)
        landmarks = template.points_for("eye-corners-nose") * 1200 / template.size + 100
        crop = align_face(image, landmarks, template).astype(int)
        assert np.abs(crop - 127).max() <= 8


def test_the_two_landmark_schemes_agree():
    """Templates' second sets of points were measured; both must frame a face alike."""
    for name in list_templates():
        template = get_template(name)
        corners = template.points_for("eye-corners-nose")
        eyes = template.points_for("eyes-nose-mouth")
        left, right = corners[2:4].mean(axis=0), corners[0:2].mean(axis=0)
        assert np.abs(np.stack([left, right]) - eyes[:2]).max() < 0.013 * template.size


def test_a_face_outside_the_photo_is_black():
    image = np.full((50, 50, 3), 255, np.uint8)
    landmarks = get_template("dlib-150").points_for("eye-corners-nose") + 5000
    assert not align_face(image, landmarks).any()
    for scale in (5, 40):
        assert not align_face(image, landmarks * scale).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 3), (2, 2, 3), (9, 9, 3)])
@pytest.mark.parametrize("scale", [0.05, 1, 20])
def test_tiny_photos(shape, scale):
    landmarks = get_template("dlib-150").points_for("eye-corners-nose") * scale
    assert align_face(np.zeros(shape, np.uint8), landmarks).shape == (150, 150, 3)


def test_bad_landmarks():
    image = np.zeros((50, 50, 3), np.uint8)
    with pytest.raises(InvalidInputError, match="one spot"):
        align_face(image, np.ones((5, 2), np.float32))
    with pytest.raises(InvalidInputError, match="five finite points"):
        align_face(image, np.ones((68, 2), np.float32))
    with pytest.raises(InvalidInputError, match="five finite points"):
        align_face(image, np.full((5, 2), np.nan, np.float32))


@pytest.mark.parametrize(
    "image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)]
)
def test_bad_photo(image):
    with pytest.raises(InvalidInputError, match="RGB uint8"):
        align_face(image, np.ones((5, 2), np.float32))


def test_unknown_names_list_the_known():
    with pytest.raises(InvalidInputError, match="'dlib-150', 'arcface-112', 'facenet-160'"):
        get_template("arcface-113")
    with pytest.raises(InvalidInputError, match="eyes-nose-mouth"):
        get_template("dlib-150").points_for("ears")


def test_templates_can_be_pickled():
    for name in list_templates():
        assert pickle.loads(pickle.dumps(get_template(name))) == get_template(name)
