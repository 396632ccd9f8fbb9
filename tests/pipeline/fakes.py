"""A job without dlib and without a network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from fake_extractor import FakeExtractor

from fastface.pipeline import RunResult, run


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
    model = SimpleNamespace(sha256="0" * 64, spec=spec)
    runtime_ = "fake"

    def embed(self, crops: np.ndarray) -> np.ndarray:
        rows = np.zeros((len(crops), 16), np.float32)
        person = crops[:, 4, 4, 0].astype(int) // 20
        rows[np.arange(len(crops)), person] = 1
        # Like a network of one's own may: the last bits depend on who else is in the batch.
        rows += crops[:, 0, 0, :1].astype(np.float32) / 5000 + np.float32(len(crops) * 1e-6)
        return rows


def make_photos(folder: Path, n: int) -> Path:
    """Write photos of a few people, two faces on every tenth photo."""
    folder.mkdir()
    for i in range(n):
        (folder / f"photo {i:04d}.jpg").write_text(f"{2 if i % 10 == 0 else 1} {i * i % 7}")
    return folder


def fake_run(photos: Path, out: Path, **options: object) -> RunResult:
    """Run the job with fakes, without a report."""
    return run(
        photos,
        out,
        **{
            "report": False,
            "workers": 1,
            "make_extractor": FakeExtractor,
            "make_embedder": FakeEmbedder,
            **options,
        },
    )
