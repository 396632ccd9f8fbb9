"""Find faces: the registry of detectors, and dlib's HOG detector as the default."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastface.errors import InvalidInputError, MissingDependencyError, ModelError
from fastface.faces.images import check_photo
from fastface.faces.types import Detection

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastface.faces.types import Detector, LandmarkScheme

__all__ = ["DEFAULT_MAX_SIDE", "DlibHogDetector", "create_detector", "list_detectors"]

DEFAULT_MAX_SIDE = 1600
"""Longest side, in pixels, of the copy of a photo that faces are looked for in."""

_LANDMARK_PACKAGE = "face-recognition-models"
_LANDMARK_FILE = "shape_predictor_5_face_landmarks.dat"
_LANDMARK_SHA256 = "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"


class DlibHogDetector:
    """dlib's frontal face detector and five-point landmarks.

    Histograms of oriented gradients under five linear templates, frontal and half turned
    (Dalal & Triggs, CVPR 2005; King, "Max-Margin Object Detection", 2015), and a tree ensemble
    for the landmarks (Kazemi & Sullivan, CVPR 2014).

    A face is found from 80 pixels on in the photo as it is looked at: shrunk until its longer
    side is ``max_side``, then doubled ``upsample`` times.  Landmarks are marked, and boxes
    given, in the photo as it came.

    Parameters
    ----------
    threshold : float
        Least score of a face.  0 is dlib's own; lower finds more faces and more mistakes.
    upsample : int
        How often the photo is doubled before the search: 1 finds faces from 40 pixels on and
        takes four times as long.
    max_side : int or None
        None looks at photos of any size as they are, at about 85 ms a megapixel.
    second_look : bool
        Where no face is found, look once more at twice the size, unless that exceeds
        ``max_side``.

    Raises
    ------
    InvalidInputError
        A parameter outside its range.

    Notes
    -----
    May be shared by threads and pickled.  dlib releases the GIL during the search, which is
    nearly all of the time, so that threads run side by side; each thread loads its own copy of
    the detector, because dlib's keeps scratch memory inside.
    """

    name = "dlib-hog"
    landmark_scheme: LandmarkScheme = "eye-corners-nose"

    def __init__(
        self,
        *,
        threshold: float = 0.0,
        upsample: int = 0,
        max_side: int | None = DEFAULT_MAX_SIDE,
        second_look: bool = True,
    ) -> None:
        if not math.isfinite(threshold):
            raise InvalidInputError(f"threshold must be a finite number, not {threshold!r}")
        if isinstance(upsample, bool) or not isinstance(upsample, int) or not 0 <= upsample <= 4:
            raise InvalidInputError(f"upsample must be an integer from 0 to 4, not {upsample!r}")
        if max_side is not None and (not isinstance(max_side, int) or max_side < 80):
            raise InvalidInputError(
                f"max_side must be an integer from 80, or None, not {max_side!r}"
            )
        self.threshold = threshold
        self.upsample = upsample
        self.max_side = max_side
        self.second_look = second_look
        self._models = _ThreadModels()

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find every face of a photo.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            RGB, upright.

        Returns
        -------
        list of Detection
            Sorted by left, then top, right, bottom.

        Raises
        ------
        InvalidInputError
            Not such an array.
        MissingDependencyError
            dlib, Pillow or the package with the landmark model is not installed.
        ModelError
            The landmark file is not the one that is expected.
        """
        check_photo(image)
        image = np.ascontiguousarray(image)
        boxes = self._search(image)
        found = [self._mark(image, box, score) for box, score in boxes]
        return sorted(
            (detection for detection in found if detection is not None), key=lambda d: d.box
        )

    def _search(self, image: NDArray[np.uint8]) -> list[tuple[tuple[int, ...], float]]:
        """Boxes (left, top, right, bottom, inclusive) in the photo, and their scores."""
        small = image if self.max_side is None else _shrink(image, self.max_side)
        found = self._run(small, self.upsample)
        side = max(small.shape[:2]) * 2 ** (self.upsample + 1)
        if not found and self.second_look and (self.max_side is None or side <= self.max_side):
            found = self._run(small, self.upsample + 1)
        if small is image:
            return found
        x = image.shape[1] / small.shape[1]
        y = image.shape[0] / small.shape[0]
        return [(_scale_box(box, x, y), score) for box, score in found]

    def _run(self, image: NDArray[np.uint8], upsample: int) -> list[tuple[tuple[int, ...], float]]:
        rectangles, scores, _ = self._models.hog.run(image, upsample, self.threshold)
        return [
            ((r.left(), r.top(), r.right(), r.bottom()), float(score))
            for r, score in zip(rectangles, scores, strict=True)
        ]

    def _mark(
        self, image: NDArray[np.uint8], box: tuple[int, ...], score: float
    ) -> Detection | None:
        """Find the landmarks in a box; None where the box, clipped to the photo, is empty."""
        shape = self._models.landmarks(image, self._models.dlib.rectangle(*box))
        points = np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float32)
        height, width = image.shape[:2]
        left, top = max(box[0], 0), max(box[1], 0)
        right, bottom = min(box[2] + 1, width), min(box[3] + 1, height)
        if left >= right or top >= bottom:
            return None
        return Detection((left, top, right, bottom), score, points)


class _ThreadModels(threading.local):
    """dlib's objects, loaded by each thread when it first needs them, and never pickled."""

    def __init__(self) -> None:
        self._hog: Any = None
        self._landmarks: Any = None

    def __reduce__(self) -> tuple[type[_ThreadModels], tuple[()]]:
        return _ThreadModels, ()

    @property
    def dlib(self) -> Any:
        try:
            return importlib.import_module("dlib")
        except ImportError as error:
            raise MissingDependencyError.for_package(
                "dlib-bin", extra="faces", purpose="the detector 'dlib-hog'"
            ) from error

    @property
    def hog(self) -> Any:
        if self._hog is None:
            self._hog = self.dlib.get_frontal_face_detector()
        return self._hog

    @property
    def landmarks(self) -> Any:
        if self._landmarks is None:
            self._landmarks = self.dlib.shape_predictor(str(_find_landmark_file()))
        return self._landmarks


def _find_landmark_file() -> Path:
    """Locate the landmark model through package metadata, and check that it is the one meant."""
    try:
        # The package itself cannot be imported: it needs a module setuptools has dropped.
        files = importlib.metadata.files(_LANDMARK_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError.for_package(
            _LANDMARK_PACKAGE, extra="faces", purpose="the detector 'dlib-hog'"
        ) from error
    for file in files:
        if file.name == _LANDMARK_FILE:
            path = Path(str(file.locate()))
            break
    else:
        raise ModelError(f"{_LANDMARK_FILE} is not in {_LANDMARK_PACKAGE}: reinstall that package")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if digest != _LANDMARK_SHA256:
        raise ModelError(
            f"{path} has SHA-256 {digest}, expected {_LANDMARK_SHA256}: reinstall"
            f" {_LANDMARK_PACKAGE}"
        )
    return path


def _shrink(image: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """Scale a photo down, antialiased, until its longer side is max_side."""
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= max_side:
        return image
    try:
        import PIL.Image
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "Pillow", extra="faces", purpose="shrinking photos for detection"
        ) from error
    size = max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest))
    # reducing_gap: large photos are first averaged in whole blocks, many times faster.
    small = PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(small)


def _scale_box(box: tuple[int, ...], x: float, y: float) -> tuple[int, ...]:
    left, top, right, bottom = box
    return (
        math.floor(left * x + 0.5),
        math.floor(top * y + 0.5),
        math.floor((right + 1) * x + 0.5) - 1,
        math.floor((bottom + 1) * y + 0.5) - 1,
    )


_DETECTORS: dict[str, Callable[..., Detector]] = {"dlib-hog": DlibHogDetector}


def create_detector(name: str, **options: Any) -> Detector:
    """Make a detector by its name in the registry.

    Parameters
    ----------
    name : str
        One of `list_detectors`.
    **options
        Parameters of that detector's class.

    Returns
    -------
    Detector
        Ready to use.

    Raises
    ------
    InvalidInputError
        No detector of that name, or it has no such parameter.
    """
    if name not in _DETECTORS:
        known = ", ".join(repr(known) for known in _DETECTORS)
        raise InvalidInputError(f"unknown detector {name!r}; known: {known}")
    try:
        return _DETECTORS[name](**options)
    except TypeError as error:
        raise InvalidInputError(f"detector {name!r}: {error}") from error


def list_detectors() -> list[str]:
    """Return the name of every detector."""
    return list(_DETECTORS)
