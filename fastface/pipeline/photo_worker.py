"""What a worker process does: read a photo's path, send back its faces, until the pipe closes.

Nothing heavy is imported here but what the extractor itself brings, so that workers start fast.
"""

from __future__ import annotations

import io
import os
import signal
import time
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol

from fastface.errors import FastfaceError, ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WORKER_PARTS", "Extractor", "FoundFace", "PhotoResult", "serve"]

_JPEG_QUALITY = 90
WORKER_PARTS = ("decode", "detect", "align", "encode")
"""What a worker does to a photo, in order."""


class Extractor(Protocol):
    """What finds faces; `fastface.faces.FaceExtractor` is one.

    It may have a method ``prepare()``, called once before any photo is read, and an attribute
    ``stage_seconds``: how long each of `WORKER_PARTS` took for the last photo.
    """

    def extract(self, path: str | os.PathLike[str], /) -> list[Any]:
        """Return the faces of a photo, or raise `ImageError`."""
        ...


@dataclass(frozen=True, slots=True)
class FoundFace:
    """One face, its crop as pixels for the network and as a JPEG for people."""

    box: tuple[int, int, int, int]
    landmarks: list[float]
    detector_score: float
    size: float
    sharpness: float
    quality: float
    crop: NDArray[np.uint8] | None
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class PhotoResult:
    """What came of one photo: faces, or the reason why there are none."""

    faces: list[FoundFace] = field(default_factory=list)
    reason: str = ""
    message: str = ""
    cpu_seconds: float = 0.0
    busy: dict[str, float] = field(default_factory=dict)

    def without_pixels(self) -> PhotoResult:
        """Return the same with crops as JPEG alone, which take a tenth of the memory."""
        return replace(self, faces=[replace(face, crop=None) for face in self.faces])


def serve(connection: Connection) -> None:
    """Answer one request after the other.

    The parent first sends a callable that makes the extractor, then paths.  A parent that has gone,
    however it ended, closes the pipe, and the worker returns.

    Parameters
    ----------
    connection : Connection
        This process's end of the pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    try:
        extractor: Extractor = connection.recv()()
        connection.send("ready")
        while True:
            connection.send(_answer(extractor, connection.recv()))
    except (EOFError, ConnectionError):
        return


def _answer(extractor: Extractor, path: str) -> PhotoResult | FastfaceError:
    start = time.process_time()
    faces: list[FoundFace] = []
    busy: dict[str, float] = {}
    reason, message = "no_face", "no face was found"
    try:
        found = extractor.extract(path)
        busy.update(getattr(extractor, "stage_seconds", {}))
        encoding = time.perf_counter()
        faces = [_flatten(face) for face in found]
        busy["encode"] = time.perf_counter() - encoding
    except ImageError as error:
        # The table names the file beside it, and the folder may be elsewhere tomorrow.
        reason, message = error.reason, str(error).removeprefix(f"{path}: ")
    except FastfaceError as error:
        return error  # not this photo's fault: the next one would meet it too
    except Exception as error:  # one bad photo never stops a run
        reason, message = "crashed", f"{type(error).__name__}: {error}"
    seconds = time.process_time() - start
    if faces:
        reason = message = ""
    return PhotoResult(faces, reason, message, seconds, busy)


def _flatten(face: Any) -> FoundFace:
    return FoundFace(
        tuple(face.detection.box),
        [float(value) for value in face.detection.landmarks.ravel()],
        float(face.detection.score),
        float(face.quality.size),
        float(face.quality.sharpness),
        float(face.quality.overall),
        face.crop,
        _jpeg(face.crop),
    )


def _jpeg(crop: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
