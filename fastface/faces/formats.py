"""Which kind of file this is, told by its first bytes and never by its name."""

from __future__ import annotations

__all__ = ["HEADER_BYTES", "PHOTO_SUFFIXES", "READABLE", "sniff_format"]

HEADER_BYTES = 32
"""How many leading bytes `sniff_format` wants to see."""

READABLE = ("BMP", "GIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Formats that are decoded, by Pillow's names.  HEIF needs the optional package pillow-heif."""

_JPEG_SUFFIXES = frozenset([".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"])
PHOTO_SUFFIXES = _JPEG_SUFFIXES | frozenset(
    [".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".png", ".tif", ".tiff", ".webp"]
)
"""File names that are worth opening, in lower case."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"%PDF-", "PDF"),
)
_HEIF_BRANDS = frozenset(
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"]
)
# "BM" alone begins many texts; a bitmap's second header also has one of these sizes.
_BMP_HEADER_SIZES = frozenset([12, 16, 40, 52, 56, 64, 108, 124])


def sniff_format(head: bytes) -> str | None:
    """Name the image format that a file's first bytes belong to.

    Parameters
    ----------
    head : bytes
        The first `HEADER_BYTES` bytes, or all of a shorter file.

    Returns
    -------
    str or None
        One of `READABLE`, or the name of an image format that is recognized but not decoded
        (``"AVIF"``, ``"JPEG XL"``, ...), or None where the bytes are no image known here.
    """
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _sniff_iso_brand(head[8:12])
    return None


def _sniff_iso_brand(brand: bytes) -> str | None:
    if brand in _HEIF_BRANDS:
        return "HEIF"
    return "AVIF" if brand in (b"avif", b"avis") else None
