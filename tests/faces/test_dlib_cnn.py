"""The converted network finds what dlib's own does, to the pixel."""

from __future__ import annotations

import pickle
from pathlib import Path

import dlib
import numpy as np
import pytest
from PIL import Image

from fastface.backends.registry import get_kernels
from fastface.errors import ModelError
from fastface.faces import DlibCnnDetector, create_detector, load_image
from fastface.faces.max_margin import place_tiles, tile_pyramid
from fastface.models import load_dlib_cnn
from fastface.models.dlib import read_network
from fastface.models.dlib.graph import scores_graph

PADDING = (10, 11)


@pytest.fixture(scope="module")
def reference(packaged_models: Path):
    return dlib.cnn_face_detection_model_v1(str(packaged_models / "mmod_human_face_detector.dat"))


@pytest.fixture(scope="module")
def plain() -> DlibCnnDetector:
    """Looks once, at the photo as it is, as dlib does."""
    return DlibCnnDetector(max_side=None, second_look=False)


def by_dlib(reference, image: np.ndarray, upsample: int = 0) -> list[tuple]:
    found = reference(image, upsample)
    return [
        ((d.rect.left(), d.rect.top(), d.rect.right(), d.rect.bottom()), d.confidence)
        for d in found
    ]


def assert_same(plain: DlibCnnDetector, reference, image: np.ndarray, upsample: int = 0) -> int:
    expected = by_dlib(reference, image, upsample)
    found = plain._look(image, upsample)
    assert [box for _, box in found] == [box for box, _ in expected]
    scores = [score for score, _ in found]
    np.testing.assert_allclose(scores, [score for _, score in expected], atol=4e-5)
    return len(expected)


@pytest.mark.slow
def test_boxes_are_those_of_dlib(wild_paths, plain, reference) -> None:
    images = [image for path in wild_paths if (image := load_image(path)).size < 600_000]
    assert sum(assert_same(plain, reference, image) for image in images[::4]) >= 6


def test_boxes_of_a_doubled_photo(one_face, plain, reference) -> None:
    small = np.asarray(Image.fromarray(one_face).resize((130, 151)))
    assert assert_same(plain, reference, small, upsample=1) >= 1


@pytest.mark.parametrize("shape", [(90, 331), (333, 97), (101, 100), (96, 640)])
def test_boxes_in_photos_of_odd_shapes(one_face, plain, reference, shape) -> None:
    """Strips, whose pyramids are tiled otherwise, with a face at their end."""
    side = min(shape)
    face = np.asarray(Image.fromarray(one_face).resize((side, side)))
    strip = np.full((*shape, 3), 90, np.uint8)
    strip[-side:, -side:] = face
    assert_same(plain, reference, strip)


def test_tiles_hold_the_pyramid_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for height, width in [(250, 250), (90, 331), (333, 97), (480, 641), (7, 300), (5, 5)]:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        canvas, tiling = tile_pyramid(image, (0.0, 0.0, 0.0), PADDING)
        assert canvas.shape == (3, tiling.rows, tiling.columns)
        painted = np.zeros(canvas.shape[1:], dtype=int)
        for tile in tiling.tiles:
            painted[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
        assert painted.sum() == sum(tile.width * tile.height for tile in tiling.tiles)
        assert painted.max() == 1
        assert not canvas[:, painted == 0].any()
        first = tiling.tiles[0]
        assert (first.left, first.top, first.width, first.height) == (11, 11, width, height)
        np.testing.assert_array_equal(
            canvas[:, 11 : 11 + height, 11 : 11 + width],
            image.transpose(2, 0, 1) / np.float32(256),
        )


def test_a_window_leads_back_to_its_level() -> None:
    tiling = place_tiles(300, 400, PADDING)
    for level, tile in enumerate(tiling.tiles):
        if min(tile.width, tile.height) < 80:
            continue
        center = tile.left + tile.width // 2, tile.top + tile.height // 2
        left, top, right, bottom = tiling.box_around(center, (80, 80))
        assert right - left == pytest.approx(79 * 1.2**level, abs=1)
        assert (left + right) / 2 == pytest.approx(200, abs=4 * 1.2**level)
        assert (top + bottom) / 2 == pytest.approx(150, abs=4 * 1.2**level)


@pytest.mark.parametrize(
    ("source", "target"), [(20, 16), (97, 80), (5, 4), (3, 2), (2, 1), (7, 15)]
)
def test_resampling_is_bilinear_corner_to_corner(source: int, target: int) -> None:
    rng = np.random.default_rng(1)
    plane = rng.standard_normal((source, source + 1)).astype(np.float32)
    made = np.empty((target, target + 1), np.float32)
    get_kernels().resample_plane(plane, made)
    rows = np.linspace(0, source - 1, target) if target > 1 else np.zeros(1)
    columns = np.linspace(0, source, target + 1)
    by_columns = [np.interp(columns, np.arange(source + 1), row) for row in plane]
    expected = [np.interp(rows, np.arange(source), column) for column in np.transpose(by_columns)]
    np.testing.assert_allclose(made, np.transpose(expected), atol=1e-3)


def test_landmarks_and_crops_as_for_the_other_detector(one_face) -> None:
    (hog,) = create_detector("dlib-hog").detect(one_face)
    (cnn,) = create_detector("dlib-cnn").detect(one_face)
    side = hog.box[2] - hog.box[0]
    assert np.abs(cnn.landmarks - hog.landmarks).max() < 0.1 * side
    assert cnn.landmarks.dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (3, 7, 3), (60, 60, 3)])
def test_photos_too_small_for_the_network(shape) -> None:
    assert DlibCnnDetector().detect(np.full(shape, 128, np.uint8)) == []


def test_pickles_even_after_use(one_face) -> None:
    used = DlibCnnDetector(threshold=0.25, n_threads=2)
    before = used.detect(one_face)
    copy = pickle.loads(pickle.dumps(used))
    assert (copy.search, copy.n_threads) == (used.search, 2)
    assert [d.box for d in copy.detect(one_face)] == [d.box for d in before]


def test_the_model_says_what_its_scores_mean(packaged_models: Path) -> None:
    model = load_dlib_cnn()
    assert (model.stride, model.offset, model.window, model.padding) == (8, 14, (80, 80), PADDING)
    network = read_network(
        (packaged_models / "dlib_face_recognition_resnet_model_v1.dat").read_bytes()
    )
    with pytest.raises(ModelError, match="is no detector"):
        scores_graph(network, name="x", metadata={})
