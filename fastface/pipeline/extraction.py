"""Faces of many photos, found by worker processes with a bounded number of photos in flight."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fastface.errors import ImageError

__all__ = ["ExtractionPool", "Extractor", "FoundFace", "PhotoResult"]


class Extractor(Protocol):
    """What finds faces; `fastface.faces.FaceExtractor` is one."""

    def extract(self, path: str | os.PathLike[str]) -> list[Any]:
        """Return the faces of a photo, or raise `ImageError`."""
        ...


@dataclass(frozen=True)
class FoundFace:
    """One face, its crop as pixels for the network and as a JPEG for people."""

    box: tuple[int, int, int, int]
    landmarks: list[float]
    detector_score: float
    size: float
    sharpness: float
    quality: float
    crop: Any
    jpeg: bytes


@dataclass(frozen=True)
class PhotoResult:
    """What came of one photo: faces, or the reason why there are none."""

    faces: list[FoundFace] = field(default_factory=list)
    reason: str = ""
    message: str = ""


_extractor: Extractor | None = None


def _start_worker(make_extractor: Callable[[], Extractor], parent: int) -> None:
    global _extractor
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_die_with_parent, args=(parent,), daemon=True).start()
    _extractor = make_extractor()


def _die_with_parent(parent: int) -> None:
    """End a worker whose parent was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _jpeg(crop: Any) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _extract(path: str) -> PhotoResult:
    if _extractor is None:
        raise RuntimeError("a worker was not started by its initializer")
    try:
        faces = _extractor.extract(path)
    except ImageError as error:
        return PhotoResult(reason=error.reason, message=str(error))
    if not faces:
        return PhotoResult(reason="no_face", message="no face was found")
    return PhotoResult(
        [
            FoundFace(
                tuple(face.detection.box),
                [float(v) for v in face.detection.landmarks.ravel()],
                float(face.detection.score),
                float(face.quality.size),
                float(face.quality.sharpness),
                float(face.quality.overall),
                face.crop,
                _jpeg(face.crop),
            )
            for face in faces
        ]
    )


class ExtractionPool:
    """Worker processes that outlive a photo that kills one of them.

    Parameters
    ----------
    make_extractor : callable
        Picklable; called once in every worker.
    workers : int
        Processes.
    """

    def __init__(self, make_extractor: Callable[[], Extractor], workers: int) -> None:
        self._make_extractor = make_extractor
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> ExtractionPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._shut_down()

    def extract(self, root: Path, photos: Sequence[str]) -> Iterator[PhotoResult]:
        """Yield the result of every photo, in order.

        At most four photos a worker are in flight, so that memory does not grow with the folder.
        """
        waiting: deque[tuple[str, Future[PhotoResult]]] = deque()
        remaining = iter(photos)
        while True:
            while len(waiting) < 4 * self._workers:
                photo = next(remaining, None)
                if photo is None:
                    break
                waiting.append((photo, self._submit(root / photo)))
            if not waiting:
                return
            photo, future = waiting.popleft()
            try:
                result = future.result()
            except BrokenProcessPool:
                # Somebody in flight killed a worker: find out who, one at a time.
                suspects = [photo, *(name for name, _ in waiting)]
                waiting.clear()
                self._shut_down()
                for suspect in suspects:
                    yield self._extract_alone(root / suspect)
                continue
            yield result

    def _submit(self, path: Path) -> Future[PhotoResult]:
        try:
            return self._running_pool().submit(_extract, str(path))
        except BrokenProcessPool as error:
            future: Future[PhotoResult] = Future()
            future.set_exception(error)
            return future

    def _extract_alone(self, path: Path) -> PhotoResult:
        try:
            return self._running_pool().submit(_extract, str(path)).result()
        except BrokenProcessPool:
            self._shut_down()
            return PhotoResult(reason="crashed", message="reading it ended the worker process")

    def _running_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers,
                # Fork would copy locks that the runtime's threads hold.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self._make_extractor, os.getpid()),
            )
        return self._pool

    def _shut_down(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
