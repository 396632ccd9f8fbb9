"""Finds faces in text files that say what is in them; light, because every worker imports it.

``2 1`` is a photo with two faces of person 1; ``bad`` cannot be read; ``crash`` ends the process
that reads it; ``once`` does so the first time; ``raise`` meets a bug; ``broken`` says that nothing
can be read at all; ``forever`` takes that long.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fastface.errors import FastfaceError, ImageError


class FakeExtractor:
    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def extract(self, path: str) -> list[SimpleNamespace]:
        time.sleep(self.seconds)
        text = Path(path).read_text()
        if text == "crash":
            os.kill(os.getpid(), 11)
        if text == "once":
            Path(path).write_text("1 1")
            os.kill(os.getpid(), 9)
        if text == "forever":
            time.sleep(3600)
        if text == "bad":
            raise ImageError("not an image at all", reason="not_an_image")
        if text == "raise":
            raise IndexError("a bug in a decoder")
        if text == "broken":
            raise FastfaceError("the detector's file is gone")
        count, person = text.split()
        return [make_face(i, int(person), len(path)) for i in range(int(count))]


def make_face(i: int, person: int, salt: int) -> SimpleNamespace:
    crop = np.full((8, 8, 3), person * 20 % 256, np.uint8)
    crop[0, 0] = (salt + i * 40) % 256
    detection = SimpleNamespace(
        box=(i, 0, i + 10, 10), landmarks=np.arange(10.0).reshape(5, 2), score=1.5
    )
    quality = SimpleNamespace(size=10.0, sharpness=0.5, overall=0.7)
    return SimpleNamespace(detection=detection, crop=crop, quality=quality)


class SlowExtractor(FakeExtractor):
    def __init__(self) -> None:
        super().__init__(0.004)


class BrokenExtractor(FakeExtractor):
    """Made without trouble where the job tries it, and not in a worker."""

    def __init__(self) -> None:
        super().__init__()
        if "fastface.pipeline.job" not in sys.modules:
            raise OSError("no such library")


def killed_at_first(flag: Path, times: int) -> FakeExtractor:
    """Return an extractor, unless a signal ends the worker while it starts."""
    starts = len(flag.read_text()) if flag.exists() else 0
    flag.write_text("x" * (starts + 1))
    if starts < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return FakeExtractor()
