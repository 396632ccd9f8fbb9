"""The compiled HOG search finds what dlib's own does, to the pixel."""

from __future__ import annotations

import dlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fastface
from fastface.backends.registry import get_kernels
from fastface.errors import ModelError
from fastface.faces import load_image
from fastface.faces.hog_search import HogSearch
from fastface.models import read_hog_detector

HOG = dlib.get_frontal_face_detector()
DATA = HOG.__getstate__()[0]
SEARCH = HogSearch(read_hog_detector(DATA))


def assert_same(image: np.ndarray, threshold: float) -> int:
    boxes, scores, _ = HOG.run(image, 0, threshold)
    found = SEARCH.run(image, threshold)
    expected = [(b.left(), b.top(), b.right(), b.bottom()) for b in boxes]
    assert [box for _, box in found] == expected
    np.testing.assert_allclose([score for score, _ in found], scores, atol=1e-4)
    return len(expected)


def test_boxes_are_those_of_dlib(wild_paths) -> None:
    """At a threshold that lets many mistakes through, so that there is much to compare."""
    images = [image for path in wild_paths if (image := load_image(path)).size < 2_000_000]
    assert sum(assert_same(image, -1.0) for image in images[::2]) >= 30


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.sampled_from(["noise", "ramp", "steps", "flat"]),
    st.integers(0, 2**32 - 1),
)
def test_any_size_and_content(height: int, width: int, kind: str, seed: int) -> None:
    """Also where gradients of two colors are as strong, and where nothing fits."""
    rng = np.random.default_rng(seed)
    image = {
        "noise": lambda: rng.integers(0, 256, (height, width, 3)),
        "ramp": lambda: np.add.outer(np.arange(height), np.arange(width))[..., None] * [1, 2, 1],
        "steps": lambda: rng.integers(0, 2, (height, width, 1)) * [200, 200, 200],
        "flat": lambda: np.full((height, width, 3), seed % 256),
    }[kind]()
    assert_same((image % 256).astype(np.uint8), -1.5)


def test_faces_of_odd_sizes(one_face) -> None:
    found = 0
    for side in (119, 120, 121, 127, 128, 151, 200, 255):
        found += assert_same(np.asarray(Image.fromarray(one_face).resize((side + 3, side))), -1.0)
    assert found >= 4


@pytest.mark.parametrize("isa", fastface.available_isas()[1:])
def test_every_instruction_set_gives_the_same_bits(one_face, isa: str) -> None:
    rng = np.random.default_rng(3)
    images = [one_face, one_face[:-3, 1:-5].copy(), rng.integers(0, 256, (131, 163, 3), np.uint8)]
    before = fastface.get_isa()
    try:
        found = {}
        for name in ("baseline", isa):
            fastface.set_isa(name)
            found[name] = [SEARCH.run(image, -2.0) for image in images]
    finally:
        fastface.set_isa(before)
    assert sum(map(len, found[isa])) > 10
    assert found[isa] == found["baseline"]


def test_directions() -> None:
    table = get_kernels().gradient_directions().reshape(511, 511)
    assert table[255, 255] == 0
    for x, y in [(9, 0), (7, 7), (0, 5), (-7, 7), (-9, 0), (-3, -8), (0, -1), (120, -70)]:
        angle = np.degrees(np.arctan2(y, x)) % 360
        difference = abs(angle - 20 * int(table[y + 255, x + 255]))
        assert min(difference, 360 - difference) <= 10.1


def test_what_is_no_detector_is_refused() -> None:
    for data in (b"", DATA[:1000], DATA + b"\0", b"\1\3" + DATA[2:]):
        with pytest.raises(ModelError, match="HOG detector"):
            read_hog_detector(data)
