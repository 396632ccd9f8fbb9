"""Files that give no photo: each ends in one clear reason."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from drawn_images import encode, png_bomb, quadrants, reason_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fastface.errors import ImageError, InvalidInputError
from fastface.faces import load_image


def test_zero_bytes(tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    assert reason_of(path) == "empty"


@pytest.mark.parametrize(
    "content", [b"hello, I am a text\n" * 9, b"BMW is a maker of cars, and of motorcycles", b"\x00"]
)
def test_text_named_jpg(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert reason_of(path) == "not_an_image"


@pytest.mark.parametrize(
    "head",
    [
        b"\x00\x00\x00\x1cftypavif",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n",
        b"\xff\x0a",
        b"8BPS\x00\x01",
        b"%PDF-1.7",
    ],
)
def test_known_but_unread_formats(tmp_path, head):
    path = tmp_path / "a.jpg"
    path.write_bytes(head + bytes(100))
    assert reason_of(path) == "unsupported_format"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("share", [0.5, 0.02])
def test_truncated(tmp_path, kind, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), kind)
    path = tmp_path / "a.jpg"
    path.write_bytes(content[: max(20, int(len(content) * share))])
    assert reason_of(path) == "truncated"


@pytest.mark.parametrize("head", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\x00"])
def test_signature_followed_by_garbage(tmp_path, head):
    path = tmp_path / "a.jpg"
    path.write_bytes(head + bytes(range(256)) * 4)
    assert reason_of(path) == "truncated"


SEEDS = [
    encode(Image.fromarray(quadrants(8)), kind)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
]


OUTCOMES = {"photo", "not_an_image", "truncated", "too_large", "unsupported_format"}


@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=12),
    cut=st.integers(1, 3000),
)
def test_any_damage_is_a_photo_or_an_image_error(tmp_path_factory, seed, edits, cut):
    content = bytearray(seed)
    for position, value in edits:
        content[position % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    path.write_bytes(content[:cut])
    outcome = "photo"
    try:
        pixels = load_image(path, max_pixels=1_000_000)
    except ImageError as error:
        outcome = error.reason
    assert outcome in OUTCOMES
    if outcome == "photo":
        assert pixels.ndim == 3
        assert 0 < pixels.size <= 3_000_000


@pytest.mark.parametrize("side", [60_000, 13_000, 10_001])
def test_decompression_bomb_costs_no_memory(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(side, side))
    load_error = reason_of(path)  # warms Pillow's plugins up
    tracemalloc.start()
    assert reason_of(path) == load_error == "too_large"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_bomb_in_real_memory(tmp_path):
    """Measured from outside, since decoders allocate behind Python's back."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(60_000, 60_000))
    script = """
import resource, sys
import PIL.PngImagePlugin
from fastface.errors import ImageError
from fastface.faces import load_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_image(sys.argv[1])
except ImageError as error:
    assert error.reason == "too_large"
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 20_000  # KiB
    assert done.stderr == ""


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF"])
def test_pixel_limit_in_every_format(tmp_path, kind):
    path = tmp_path / "a"
    path.write_bytes(encode(Image.new("RGB", (100, 100)), kind))
    assert load_image(path, max_pixels=10_000).shape == (100, 100, 3)
    assert reason_of(path, max_pixels=9_999) == "too_large"


def test_file_size_limit(tmp_path):
    path = tmp_path / "a.png"
    content = encode(Image.fromarray(quadrants()), "PNG")
    path.write_bytes(content)
    assert load_image(path, max_file_bytes=len(content)).shape == (32, 64, 3)
    assert reason_of(path, max_file_bytes=len(content) - 1) == "too_large"


def test_folder_named_jpg(tmp_path):
    path = tmp_path / "a.jpg"
    path.mkdir()
    assert reason_of(path) == "not_a_file"


@pytest.mark.timeout(20)
def test_pipe_never_blocks(tmp_path):
    path = tmp_path / "a.jpg"
    os.mkfifo(path)
    assert reason_of(path) == "not_a_file"


def test_socket_and_device(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # socket paths are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a.jpg")
        assert reason_of(Path("a.jpg")) == "not_a_file"
    assert reason_of(Path("/dev/zero")) == "not_a_file"


def test_missing_file_broken_link_and_link_loop(tmp_path):
    assert reason_of(tmp_path / "gone.jpg") == "unreadable"
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    assert reason_of(loop) == "unreadable"
    with pytest.raises(ImageError, match="null") as caught:
        load_image("a\0b.jpg")
    assert caught.value.reason == "unreadable"


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.fromarray(quadrants()), "PNG"))

    def refuse(*_: object) -> int:  # tests may run as root, whom no mode bits stop
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    assert reason_of(path) == "unreadable"


def test_failing_disk(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.fromarray(quadrants()), "PNG"))

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Image, "open", fail)
    assert reason_of(path) == "unreadable"


def test_name_that_becomes_a_pipe_or_folder_meanwhile(tmp_path, monkeypatch):
    """The check before opening may be outrun: what was opened counts."""
    regular = os.stat(__file__)
    monkeypatch.setattr(os, "stat", lambda *_: regular)
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason_of(tmp_path / "folder.jpg") == "unreadable"
    assert reason_of(tmp_path / "pipe.jpg") == "not_a_file"


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, 10**12])
def test_bad_pixel_limit(tmp_path, limit):
    with pytest.raises(InvalidInputError, match="max_pixels"):
        load_image(tmp_path / "a.jpg", max_pixels=limit)
