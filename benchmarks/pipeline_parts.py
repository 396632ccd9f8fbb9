"""One whole job in a process of its own, with parts to compare: what `bench_pipeline` starts."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface import Embedder
from fastface.faces import DlibHogDetector, FaceExtractor
from fastface.pipeline import run
from fastface.pipeline.extraction import ExtractionPool

__all__ = ["DlibsOwnDetector", "main", "with_dlib"]


class DlibsOwnDetector(DlibHogDetector):
    """The detector as it was at first: the search is dlib's."""

    def prepare(self) -> None:
        """Leave loading to the first photo."""

    def _look(self, image: NDArray[np.uint8], upsample: int) -> list[Any]:
        import dlib

        global _hog
        if _hog is None:
            _hog = dlib.get_frontal_face_detector()
        boxes, scores, _ = _hog.run(image, upsample, self.search.threshold)
        return [
            (score, (box.left(), box.top(), box.right(), box.bottom()))
            for score, box in zip(scores, boxes, strict=True)
        ]


_hog: Any = None


def with_dlib(template: str = "dlib-150") -> FaceExtractor:
    """Return an extractor that searches with dlib."""
    extractor = FaceExtractor(template)
    extractor.detector = DlibsOwnDetector()
    return extractor


class WaitingEmbedder(Embedder):
    """Takes its time without any processor, as one on another device would."""

    def __init__(self, seconds_a_face: float) -> None:
        super().__init__()
        self.seconds_a_face = seconds_a_face

    def embed(self, crops: Any, *, normalize: bool = False) -> NDArray[np.float32]:
        """Return vectors that tell nothing."""
        time.sleep(self.seconds_a_face * len(crops))
        rng = np.random.default_rng(0)
        return rng.standard_normal((len(crops), self.spec.embedding_size), dtype=np.float32)


def _extract_alone(photos: Path, make: Any, workers: int) -> tuple[float, list[NDArray[np.uint8]]]:
    names = sorted(path.name for path in photos.iterdir())
    crops = []
    extractor = make()
    extractor.prepare()
    start = time.perf_counter()
    with ExtractionPool(partial(_give, extractor), workers) as pool:
        for result in pool.extract(photos, names):
            crops += [face.crop for face in result.faces]
    return time.perf_counter() - start, crops


def _give(extractor: FaceExtractor) -> FaceExtractor:
    return extractor


def _stages_alone(photos: Path, make: Any, workers: int, precision: str) -> dict[str, float]:
    """Return seconds that finding faces, and embedding them, take with the machine to itself."""
    finding, crops = _extract_alone(photos, make, workers)
    embedder = Embedder(precision=precision)
    embedder.embed(crops[:64])
    start = time.perf_counter()
    embedder.embed(crops)
    return {"find": finding, "embed": time.perf_counter() - start, "faces": len(crops)}


def main(argv: Sequence[str]) -> int:
    """Run one job, or its stages apart, and print what it took as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--detector", default="dlib-hog")
    parser.add_argument("--max-side", type=int, default=1600)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--embed-elsewhere", type=float, metavar="SECONDS_A_FACE")
    options = parser.parse_args(argv)
    start = time.perf_counter()
    make = (
        with_dlib
        if options.detector == "dlib"
        else partial(FaceExtractor, "dlib-150", options.detector, max_side=options.max_side)
    )
    found: dict[str, Any]
    if options.stages:
        found = _stages_alone(options.photos, make, options.workers, options.precision)
    else:
        run(
            options.photos,
            options.out,
            detector="dlib-hog" if options.detector == "dlib" else options.detector,
            max_side=options.max_side,
            precision=options.precision,
            workers=options.workers,
            make_extractor=with_dlib if options.detector == "dlib" else None,
            make_embedder=None
            if options.embed_elsewhere is None
            else partial(WaitingEmbedder, options.embed_elsewhere),
        )
        found = json.loads((options.out / "run.json").read_text(encoding="utf-8"))
    found["seconds"] = time.perf_counter() - start
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found["processor_seconds"] = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    # Workers find these classes by the module's name, which is another one here.
    from benchmarks import pipeline_parts

    sys.exit(pipeline_parts.main(sys.argv[1:]))
