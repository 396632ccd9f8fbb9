"""A job without dlib and without a network: every photo is a text file that says what is in it.

``2 1.0`` is a photo with two faces near direction 1; ``bad`` cannot be read; ``crash`` ends the
process that reads it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fastface.errors import ImageError
from fastface.pipeline import RunResult, run


class FakeExtractor:
    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def extract(self, path: str) -> list[SimpleNamespace]:
        time.sleep(self.seconds)
        text = Path(path).read_text()
        if text == "crash":
            os._exit(9)
        if text == "bad":
            raise ImageError("not an image at all", reason="not_an_image")
        count, person = text.split()
        faces = []
        for i in range(int(count)):
            crop = np.full((8, 8, 3), int(person) * 20 % 256, np.uint8)
            crop[0, 0] = (len(path) + i * 40) % 256
            detection = SimpleNamespace(
                box=(i, 0, i + 10, 10), landmarks=np.arange(10.0).reshape(5, 2), score=1.5
            )
            quality = SimpleNamespace(size=10.0, sharpness=0.5, overall=0.7)
            faces.append(SimpleNamespace(detection=detection, crop=crop, quality=quality))
        return faces


class SlowExtractor(FakeExtractor):
    def __init__(self) -> None:
        super().__init__(0.004)


class FakeEmbedder:
    spec = SimpleNamespace(
        name="fake",
        licence="none",
        licence_url="",
        template="fake-8",
        embedding_size=16,
        linkage_cutoff=0.55,
        typical_norm=1.43,
    )
    model = SimpleNamespace(sha256="0" * 64)
    runtime_ = "fake"

    def embed(self, crops: np.ndarray) -> np.ndarray:
        rows = np.zeros((len(crops), 16), np.float32)
        person = crops[:, 4, 4, 0].astype(int) // 20
        rows[np.arange(len(crops)), person] = 1
        rows += crops[:, 0, 0, :1].astype(np.float32) / 5000
        return rows


def make_photos(folder: Path, n: int) -> Path:
    """Write photos of a few people, two of them in every tenth photo."""
    folder.mkdir()
    for i in range(n):
        (folder / f"photo {i:04d}.jpg").write_text(f"{2 if i % 10 == 0 else 1} {i * i % 7}")
    return folder


def fake_run(photos: Path, out: Path, *, slow: bool = False, **options: object) -> RunResult:
    """Run the job with fakes, without a report."""
    return run(
        photos,
        out,
        **{
            "report": False,
            "workers": 1,
            "make_extractor": SlowExtractor if slow else FakeExtractor,
            "make_embedder": FakeEmbedder,
            **options,
        },
    )


if __name__ == "__main__":
    fake_run(Path(sys.argv[1]), Path(sys.argv[2]), slow=True)
