"""Crops cut by the kernels for GPUs are those of the CPU, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.nvrtc", reason="the extra 'test' brings NVRTC")

from cupy_stand_in import StandIn
from kernel_cases import same_bits
from kernel_engines import FiberEngine

from fastface import _kernels
from fastface.backends.cuda.crops import CropGrid, cut_crops, halve_photo, normalized_crops
from fastface.backends.cuda.device import open_gpu

GRIDS = [
    CropGrid(0, 3.25, 2.5, 1.3, 0.2),
    CropGrid(1, 30.0, 4.0, -0.9, 1.1, rounding=0.0),  # turned, and partly outside
    CropGrid(0, -2.0, 40.0, 0.01, -3.0),
    CropGrid(1, float("nan"), 1.0, 1.0, 0.0),
    CropGrid(0, 0.0, 0.0, 1.0, 0.0),  # on the pixels
]
SIZE = 19


def photos() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((41, 57), (38, 33))]


def on_the_cpu(images: list[np.ndarray]) -> np.ndarray:
    return np.stack(
        [
            _kernels.sample_photo(
                images[g.photo], complex(g.x, g.y), complex(g.step_x, g.step_y), SIZE, g.rounding
            )
            for g in GRIDS
        ]
    )


def test_crops_and_halves() -> None:
    gpu, images = open_gpu("cuda", StandIn()), photos()
    there = [gpu.put(image) for image in images]
    crops = on_the_cpu(images)
    assert crops[0].any()
    same_bits(gpu.get(cut_crops(gpu, there, GRIDS, SIZE)), crops)
    for image, array in zip(images, there, strict=True):
        same_bits(gpu.get(halve_photo(gpu, array)), _kernels.halve_photo(image))
    assert cut_crops(gpu, there, [], SIZE).shape == (0, SIZE, SIZE, 3)
    with pytest.raises(ValueError, match="4 x 9 pixels; 5 x 5 are needed"):
        halve_photo(gpu, gpu.put(np.zeros((4, 9, 3), np.uint8)))


def test_normalized_crops() -> None:
    gpu, images = open_gpu("cuda", StandIn()), photos()
    there = [gpu.put(image) for image in images]
    mean, std = (122.782, 117.001, 104.298), (58.395, 57.12, 57.375)
    crops = on_the_cpu(images)
    for order in ("rgb", "bgr"):
        planes = (crops if order == "rgb" else crops[..., ::-1]).transpose(0, 3, 1, 2)
        wanted = (planes.astype(np.float32) - np.float32(mean).reshape(3, 1, 1)) / np.float32(
            std
        ).reshape(3, 1, 1)
        got = normalized_crops(gpu, there, GRIDS, SIZE, mean=mean, std=std, color_order=order)
        same_bits(gpu.get(got), np.ascontiguousarray(wanted))


def test_by_another_compiler(tmp_path: Path) -> None:
    engine, image = FiberEngine(tmp_path), photos()[0]
    grid = GRIDS[0]
    pixels, out = engine.put(image), engine.empty((1, SIZE, SIZE, 3), np.uint8)
    table = engine.put(np.array([0, *image.shape[:2], image.strides[0]], np.int64))
    place = np.array([grid.x, grid.y, grid.step_x, grid.step_y, grid.rounding, 0.0])
    arguments = [pixels, table, engine.put(place), SIZE, None, None, None, out]
    engine.launch("warp", {"LAYOUT": 0}, "warp", 2, 256, arguments)
    same_bits(out.get()[0], on_the_cpu(photos())[0])
    half = _kernels.halve_photo(image)
    out = engine.empty(half.shape, np.uint8)
    arguments = [pixels, image.strides[0], *half.shape[:2], out]
    engine.launch("warp", {"LAYOUT": 0}, "halve", (1, len(half)), 256, arguments)
    same_bits(out.get(), half)
