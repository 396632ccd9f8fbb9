"""Decode a photo: any common format to upright RGB, within bounds, whatever the file holds."""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import threading
import warnings
from typing import IO, TYPE_CHECKING

import numpy as np

from fastface.errors import ImageError, InvalidInputError, MissingDependencyError
from fastface.faces.color import to_rgb
from fastface.faces.formats import HEADER_BYTES, READABLE, sniff_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["DEFAULT_MAX_FILE_BYTES", "DEFAULT_MAX_PIXELS", "check_photo", "load_image"]

DEFAULT_MAX_PIXELS = 100_000_000
"""Width times height above which a photo is refused before it is decoded."""

DEFAULT_MAX_FILE_BYTES = 512 * 1024**2
"""File size above which a photo is refused unread."""

# Pillow refuses more by itself; its limit is left alone, since it belongs to the whole process.
_PILLOW_MAX_PIXELS = 178_956_970

# How an array is turned upright, by the EXIF orientation tag (Exif 2.32, 4.6.4).
_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}
_ORIENTATION_TAG = 0x0112


def load_image(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES,
) -> NDArray[np.uint8]:
    """Read a photo as upright RGB.

    JPEG, PNG, WebP, BMP, TIFF (first page), GIF (first frame), and HEIC where pillow-heif is
    installed.  The format is told by the content; only that one decoder runs.  Sizes are
    checked before pixels are decoded, so a decompression bomb costs no memory.  The peak is
    about 11 bytes a pixel.

    Parameters
    ----------
    path : path-like
        The file.  Only regular files are opened: pipes and devices never block.
    max_pixels : int
        Largest width times height, at most 178,956,970 (Pillow's own bound).
    max_file_bytes : int
        Largest file.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB, turned upright by the EXIF orientation, C-contiguous.  `fastface.faces.color.to_rgb`
        says how grey, transparent and deep pixels are converted.

    Raises
    ------
    ImageError
        The file gives no photo; ``reason`` is ``"empty"``, ``"not_a_file"``,
        ``"not_an_image"``, ``"truncated"`` (cut off or damaged), ``"too_large"``,
        ``"unreadable"`` or ``"unsupported_format"``.
    InvalidInputError
        A limit is not a positive integer, or more than Pillow decodes.
    MissingDependencyError
        Pillow is not installed.
    """
    _check_limit("max_pixels", max_pixels, _PILLOW_MAX_PIXELS)
    _check_limit("max_file_bytes", max_file_bytes, None)
    name = os.fsdecode(path)
    with _open_regular_file(name, max_file_bytes) as file:
        return _decode(file, name, max_pixels)


def check_photo(image: NDArray[np.uint8]) -> None:
    """Raise InvalidInputError unless this is a non-empty RGB photo of uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InvalidInputError(
            f"a photo is an RGB uint8 array (height, width, 3), not {image.dtype} {image.shape}"
        )


def _check_limit(name: str, value: int, bound: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInputError(f"{name} must be a positive integer, not {value!r}")
    if bound is not None and value > bound:
        raise InvalidInputError(f"{name} must be at most {bound:,} (Pillow's bound), not {value:,}")


@contextlib.contextmanager
def _open_regular_file(name: str, max_bytes: int) -> Iterator[IO[bytes]]:
    """Open a file that is surely no pipe or device: opening those can block, or act."""
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise _unreadable(name, error) from error
    _check_regular(name, status, max_bytes)
    try:
        opened = _open_without_waiting(name)
    except OSError as error:
        raise _unreadable(name, error) from error
    with opened as file:
        # Again on what was opened: the name may have come to mean another file meanwhile.
        _check_regular(name, os.fstat(file.fileno()), max_bytes)
        yield file


def _open_without_waiting(name: str) -> IO[bytes]:
    return open(name, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))


def _unreadable(name: str, error: Exception) -> ImageError:
    why = getattr(error, "strerror", None) or error
    return ImageError(f"{name}: cannot be read: {why}", reason="unreadable")


def _check_regular(name: str, status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(
            f"{name}: a folder, pipe, socket or device, not a regular file", reason="not_a_file"
        )
    if status.st_size == 0:
        raise ImageError(f"{name}: the file is empty", reason="empty")
    if status.st_size > max_bytes:
        raise ImageError(
            f"{name}: {status.st_size:,} bytes; at most {max_bytes:,} are read", reason="too_large"
        )


def _readable_format(name: str, head: bytes) -> str:
    kind = sniff_format(head)
    if kind is None:
        raise ImageError(f"{name}: the content is not an image", reason="not_an_image")
    if kind not in READABLE:
        raise ImageError(
            f"{name}: {kind} is not read; convert it to JPEG or PNG", reason="unsupported_format"
        )
    if kind == "HEIF" and not _heif_is_registered():
        raise ImageError(
            f"{name}: HEIC needs pillow-heif: pip install 'fastface[heic]'",
            reason="unsupported_format",
        )
    return kind


def _heif_is_registered() -> bool:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def _decode(file: IO[bytes], name: str, max_pixels: int) -> NDArray[np.uint8]:
    try:
        import PIL.Image
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "Pillow", extra="faces", purpose="reading photos"
        ) from error

    kind = "image"
    try:
        head = file.read(HEADER_BYTES)
        file.seek(0)
        kind = _readable_format(name, head)
        with _quiet_pillow, PIL.Image.open(file, formats=[kind]) as image:
            _check_pixels(name, image.size, max_pixels)
            image.load()
            return _turn_upright(to_rgb(image), _orientation(image))
    except ImageError:
        raise
    except (MemoryError, PIL.Image.DecompressionBombError) as error:
        raise ImageError(f"{name}: too large to decode: {error}", reason="too_large") from error
    except PIL.UnidentifiedImageError as error:
        message = f"{name}: begins as {kind}, but its header is cut off or damaged"
        raise ImageError(message, reason="truncated") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not a decoder's
            raise _unreadable(name, error) from error
        # Decoders answer hostile bytes with errors of any kind: struct, zlib, Syntax, Index, ...
        message = f"{name}: {kind} is cut off or damaged: {error}"
        raise ImageError(message, reason="truncated") from error


def _check_pixels(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width:,}×{height:,} pixels; at most {max_pixels:,} are decoded"
            " (see max_pixels)",
            reason="too_large",
        )


def _orientation(image: Image) -> int:
    """Read the EXIF orientation; one that cannot be read counts as upright."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF raises errors of many kinds, and the pixels are fine
        return 1


def _turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    turn = _UPRIGHT.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


class _QuietPillow:
    """While any thread is inside, warnings from within Pillow are ignored.

    Pillow warns of odd metadata and of sizes that `load_image` checks by itself.  Warning
    filters belong to the process, so that saving and restoring them thread by thread would
    interleave wrongly: the first thread in saves, the last one out restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._saved is not None:
                self._saved.__exit__(None, None, None)
                self._saved = None


_quiet_pillow = _QuietPillow()
