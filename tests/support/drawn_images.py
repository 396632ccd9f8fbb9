"""Small photos drawn for tests, whole and damaged."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastface.errors import ImageError
from fastface.faces import load_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quadrants(size: int = 32) -> np.ndarray:
    """Red, green over blue, white: no two orientations look alike."""
    image = np.zeros((size, size * 2, 3), np.uint8)
    half = size // 2
    image[:half, :size], image[:half, size:] = RED, GREEN
    image[half:, :size], image[half:, size:] = BLUE, WHITE
    return image


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reason_of(path: Path, **limits: int) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(path, **limits)
    assert path.name in str(caught.value)
    return caught.value.reason


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data)
