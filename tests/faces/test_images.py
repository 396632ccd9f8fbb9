"""Decoding: every format and pixel mode, every way a file can be bad, and nothing else leaks."""

from __future__ import annotations

import os
import struct
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from drawn_images import BLUE, GREEN, RED, WHITE, encode, png_bomb, png_chunk, quadrants, reason_of
from PIL import Image

from fastface.errors import ImageError
from fastface.faces import load_image


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("GIF", {}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 4),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 4),
    ],
)
@pytest.mark.parametrize("name", ["photo.jpg", "no extension", "wrong.gif"])
def test_every_format_is_told_by_content(tmp_path, kind, options, tolerance, name):
    path = tmp_path / name
    path.write_bytes(encode(Image.fromarray(quadrants()), kind, **options))
    pixels = load_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert np.abs(pixels.astype(int) - quadrants()).max() <= tolerance


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (20, 10), color) for color in (RED, BLUE)]
    for kind in ("GIF", "WEBP", "TIFF"):
        path = tmp_path / kind
        path.write_bytes(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert np.abs(load_image(path)[5, 10].astype(int) - RED).max() <= 4


def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(quadrants(64))).save(path, quality=95)
    pixels = load_image(path)
    assert pixels.shape == (64, 128, 3)
    assert np.abs(pixels[16, 32].astype(int) - RED).max() < 12


def test_heic_without_the_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100))
    with pytest.raises(ImageError, match=r"fastface\[heic\]") as caught:
        load_image(path)
    assert caught.value.reason == "unsupported_format"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(tmp_path, kind, orientation):
    upright = quadrants()
    stored = {  # what a camera writes so that the tag turns it upright (Exif 2.32, 4.6.4)
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    quality |= {"lossless": True} if kind == "WEBP" else {}
    path = tmp_path / "a"
    image = Image.fromarray(np.ascontiguousarray(stored))
    path.write_bytes(encode(image, kind, exif=exif, **quality))
    assert np.abs(load_image(path).astype(int) - upright).max() <= 4


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_nonsense_orientation_counts_as_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.fromarray(quadrants()), "PNG", exif=exif))
    assert np.array_equal(load_image(path), quadrants())


@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00garbage", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00MM"]
)
def test_damaged_exif_leaves_the_photo_usable(tmp_path, exif):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(Image.fromarray(quadrants()), "JPEG", exif=exif, quality=95))
    assert load_image(path).shape == (32, 64, 3)


def _ramp() -> np.ndarray:
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


def grey_cases() -> dict[str, tuple[Image.Image, str, np.ndarray]]:
    ramp = _ramp()
    deep = ramp.astype(np.uint16) * 257
    return {
        "L": (Image.fromarray(ramp), "PNG", ramp),
        "1": (Image.fromarray(ramp > 99), "PNG", (ramp > 99) * 255),
        "L jpeg": (Image.fromarray(ramp), "JPEG", ramp),
        "16-bit png": (Image.fromarray(deep), "PNG", ramp),
        "16-bit tiff": (Image.fromarray(deep), "TIFF", ramp),
        "32-bit integer": (Image.fromarray(ramp.astype(np.int32) * 257), "TIFF", ramp),
        "float to 1": (Image.fromarray(ramp.astype(np.float32) / 255), "TIFF", ramp),
        "float to 255": (Image.fromarray(ramp.astype(np.float32)), "TIFF", ramp),
        "float to 65535": (Image.fromarray(ramp.astype(np.float32) * 257), "TIFF", ramp),
        "float beyond": (Image.fromarray(ramp.astype(np.float32) * 1e6), "TIFF", ramp),
    }


@pytest.mark.parametrize("case", grey_cases())
def test_grey_of_every_depth(tmp_path, case):
    image, kind, expected = grey_cases()[case]
    path = tmp_path / "a"
    path.write_bytes(encode(image, kind, **({"quality": 100} if kind == "JPEG" else {})))
    pixels = load_image(path).astype(int)
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels - np.asarray(expected, int)[:, :, None]).max() <= (kind == "JPEG") * 3


def test_big_endian_16_bit_tiff(tmp_path):
    deep = _ramp().astype(">u2") * 257
    entries = [(256, 3, 16), (257, 3, 16), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 3, 16), (279, 4, 512)]
    directory = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        packed = struct.pack(">HH" if kind == 3 else ">I", *((value, 0) if kind == 3 else (value,)))
        directory += struct.pack(">HHI", tag, kind, 1) + packed
    path = tmp_path / "a.tif"
    head = b"MM\x00*" + struct.pack(">I", 8 + 512)
    path.write_bytes(head + deep.astype(">u2").tobytes() + directory + bytes(4))
    assert np.array_equal(load_image(path)[..., 0], _ramp())


def test_float_with_undefined_and_negative_values(tmp_path):
    values = np.array([[np.nan, np.inf, -np.inf, -5.0], [0.0, 0.5, 1.0, 0.25]], np.float32)
    path = tmp_path / "a.tif"
    path.write_bytes(encode(Image.fromarray(values), "TIFF"))
    assert load_image(path)[..., 0].tolist() == [[0, 0, 0, 0], [0, 128, 255, 64]]


def test_16_bit_color_keeps_its_high_byte(tmp_path):
    deep = np.zeros((4, 4, 3), ">u2")
    deep[..., 0], deep[..., 1] = 0xFFFF, 0x8000
    rows = b"".join(b"\x00" + row.tobytes() for row in deep)
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )
    assert load_image(path)[0, 0].tolist() == [255, 128, 0]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(tmp_path, kind):
    """Adobe's JPEGs hold inverted inks: a slip there gives a negative."""
    path = tmp_path / "a"
    image = Image.fromarray(quadrants()).convert("CMYK")
    path.write_bytes(encode(image, kind, **({"quality": 95} if kind == "JPEG" else {})))
    if kind == "JPEG":
        assert b"Adobe" in path.read_bytes()
    pixels = load_image(path).astype(int)
    for row, column, color in [(8, 16, RED), (8, 48, GREEN), (24, 16, BLUE), (24, 48, WHITE)]:
        assert np.abs(pixels[row, column] - color).max() <= 6


def transparent_cases() -> dict[str, tuple[Image.Image, str, dict]]:
    """Left half opaque, right half clear; what shows on the right must be white."""
    rgba = Image.new("RGBA", (8, 4), (*RED, 255))
    rgba.paste((0, 0, 0, 0), (4, 0, 8, 4))
    la = Image.new("LA", (8, 4), (10, 255))
    la.paste((0, 0), (4, 0, 8, 4))
    palette = Image.new("P", (8, 4), 0)
    palette.putpalette([*RED, 0, 0, 0])
    palette.paste(1, (4, 0, 8, 4))
    rgb = Image.new("RGB", (8, 4), RED)
    rgb.paste((0, 0, 0), (4, 0, 8, 4))
    grey = Image.new("L", (8, 4), 10)
    grey.paste(0, (4, 0, 8, 4))
    return {
        "RGBA png": (rgba, "PNG", {}),
        "RGBA webp": (rgba, "WEBP", {"lossless": True}),
        "RGBA tiff": (rgba, "TIFF", {}),
        "LA": (la, "PNG", {}),
        "palette png": (palette, "PNG", {"transparency": 1}),
        "palette alpha bytes": (palette, "PNG", {"transparency": b"\xff\x00"}),
        "palette gif": (palette, "GIF", {"transparency": 1}),
        "color key": (rgb, "PNG", {"transparency": (0, 0, 0)}),
        "grey key": (grey, "PNG", {"transparency": 0}),
    }


@pytest.mark.parametrize("case", transparent_cases())
def test_transparency_lies_over_white(tmp_path, case):
    image, kind, options = transparent_cases()[case]
    path = tmp_path / "a"
    path.write_bytes(encode(image, kind, **options))
    pixels = load_image(path)
    assert pixels[1, 6].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == ([10, 10, 10] if case in ("LA", "grey key") else [255, 0, 0])


def test_half_transparent_is_blended(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"))
    assert load_image(path)[0, 0].tolist() == [127, 127, 127]


def test_opaque_palette(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.fromarray(quadrants()).quantize(4), "PNG"))
    assert np.array_equal(load_image(path), quadrants())


def test_one_pixel(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.new("RGB", (1, 1), RED), "PNG"))
    assert load_image(path).tolist() == [[[255, 0, 0]]]


# --- manners --------------------------------------------------------------------------------


def test_pillow_warnings_stay_inside(tmp_path):
    """A photo above Pillow's warning size: no warning, and the filters are as they were."""
    path = tmp_path / "large.png"
    path.write_bytes(png_bomb(9_900, 9_900))
    before = list(warnings.filters)
    assert reason_of(path) == "truncated"
    assert warnings.filters == before


def test_warning_filters_survive_threads(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.fromarray(quadrants()), "PNG"))
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [load_image(path) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_no_file_is_left_open(tmp_path):
    good, bad = tmp_path / "a.png", tmp_path / "b.png"
    good.write_bytes(encode(Image.fromarray(quadrants()), "PNG"))
    bad.write_bytes(good.read_bytes()[:60])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        load_image(good)
        reason_of(bad)
    assert len(os.listdir("/proc/self/fd")) == before
