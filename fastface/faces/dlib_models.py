"""What is taken from dlib itself: the templates of its HOG detector, and landmarks."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastface.errors import MissingDependencyError, ModelError, StorageError
from fastface.faces.types import Detection
from fastface.models.cache import cached

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DlibModels"]

_LANDMARK_PACKAGE = "face-recognition-models"
_LANDMARK_FILE = "shape_predictor_5_face_landmarks.dat"
_LANDMARK_SHA256 = "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"


class DlibModels(threading.local):
    """Loaded by each thread for itself, because dlib keeps scratch memory inside; never pickled.

    Parameters
    ----------
    purpose : str
        What they are for, for the error that says that dlib is missing.
    """

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose
        self._landmarks: Any = None

    def __reduce__(self) -> tuple[type[DlibModels], tuple[str]]:
        return DlibModels, (self._purpose,)

    @property
    def dlib(self) -> Any:
        """The module."""
        try:
            return importlib.import_module("dlib")
        except ImportError as error:
            raise MissingDependencyError.for_package(
                "dlib-bin", extra="faces", purpose=self._purpose
            ) from error

    def hog_bytes(self) -> bytes:
        """Return dlib's frontal face detector as it is pickled.

        dlib takes half a second to unpack it, so that it is kept in the cache where there is one.
        """
        try:
            file = cached(f"dlib-hog-{self.dlib.__version__}", ".dat", self._unpack_hog)
            return file.path.read_bytes()
        except (StorageError, OSError):
            return self._unpack_hog()

    def _unpack_hog(self) -> bytes:
        (data,) = self.dlib.get_frontal_face_detector().__getstate__()
        return bytes(data)

    def load(self) -> None:
        """Load the landmark model, if this thread has not yet.

        Raises
        ------
        MissingDependencyError, ModelError
            Something is not installed, or the file is not the one that is expected.
        """
        if self._landmarks is None:
            self._landmarks = self.dlib.shape_predictor(str(_find_landmark_file()))

    def mark(
        self, image: NDArray[np.uint8], box: tuple[int, ...], score: float
    ) -> Detection | None:
        """Find the landmarks in a box.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            C-contiguous.
        box : tuple of int
            Left, top, right, bottom, inclusive; it may reach out of the photo.
        score : float
            Passed on.

        Returns
        -------
        Detection or None
            None where the box, clipped to the photo, is empty.
        """
        self.load()
        shape = self._landmarks(image, self.dlib.rectangle(*box))
        points = np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float32)
        height, width = image.shape[:2]
        left, top = max(box[0], 0), max(box[1], 0)
        right, bottom = min(box[2] + 1, width), min(box[3] + 1, height)
        if left >= right or top >= bottom:
            return None
        return Detection((left, top, right, bottom), score, points)


def _find_landmark_file() -> Path:
    """Locate the landmark model through package metadata, and check that it is the one meant."""
    try:
        # The package itself cannot be imported: it needs a module setuptools has dropped.
        files = importlib.metadata.files(_LANDMARK_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError.for_package(
            _LANDMARK_PACKAGE, extra="faces", purpose="dlib's landmarks"
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
