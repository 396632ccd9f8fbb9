"""What TensorRT measured of kernels while it built engines, kept for the next build.

The file's first line is the SHA-256 of the rest: a damaged one is as good as none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastface.models.cache import cache_directory, locked, write_file

__all__ = ["Timings", "measured_timings"]


@dataclass
class Timings:
    """TensorRT's own bytes."""

    data: bytes


@contextmanager
def measured_timings(name: str) -> Iterator[Timings]:
    """Give what is known, and keep what `data` is in the end.

    Only one process at a time is inside: two that time kernels on one GPU would disturb each other.

    Parameters
    ----------
    name : str
        Of the runtime, its version and the GPU: for any other, times are other ones.
    """
    path = cache_directory() / f"{name}.timings"
    with locked(path.name):
        timings = Timings(_read(path))
        before = timings.data
        yield timings
        if timings.data != before:
            digest = hashlib.sha256(timings.data).hexdigest()
            write_file(path, digest.encode() + b"\n" + timings.data)


def _read(path: Path) -> bytes:
    try:
        digest, _, data = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return b""
    return data if hashlib.sha256(data).hexdigest().encode() == digest else b""
