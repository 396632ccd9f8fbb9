"""What detection, alignment and grading hand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Detection", "Detector", "Face", "LandmarkScheme", "Quality"]

LandmarkScheme = Literal["eye-corners-nose", "eyes-nose-mouth"]
"""Which five points a detector marks; "left" is left in the photo.

``"eye-corners-nose"`` (dlib): right eye's outer and inner corner, left eye's outer and inner
corner, base of the nose.  ``"eyes-nose-mouth"`` (MTCNN, RetinaFace, SCRFD, YuNet): left eye's
centre, right eye's centre, tip of the nose, left and right corner of the mouth.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """Where a face is.

    Attributes
    ----------
    box : tuple of int
        Left, top, right, bottom in pixels of the upright photo, inside it; right and bottom
        exclusive.
    score : float
        The detector's own confidence, on its own scale.
    landmarks : ndarray of float32, shape (5, 2)
        x and y of five points, in the order of the detector's `LandmarkScheme`.
    """

    box: tuple[int, int, int, int]
    score: float
    landmarks: NDArray[np.float32]


class Detector(Protocol):
    """Finds the faces of a photo.

    Attributes
    ----------
    name : str
        Its name in the registry of `fastface.faces.detect`.
    landmark_scheme : LandmarkScheme
        What the five landmarks are.
    """

    name: str
    landmark_scheme: LandmarkScheme

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find every face of a photo.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            RGB, upright.

        Returns
        -------
        list of Detection
            Sorted by box.
        """
        ...


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a face is to recognize somebody by; see `fastface.faces.quality`.

    Attributes
    ----------
    size : float
        Side of the face in the photo, in pixels.
    sharpness : float
        In [0, 1): 0.5 for a typical photo, less where blurred.
    overall : float
        Size, sharpness and detector score together, in [0, 1].
    """

    size: float
    sharpness: float
    overall: float


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face of one photo, ready to embed.

    Attributes
    ----------
    detection : Detection
    crop : ndarray of uint8, shape (size, size, 3)
        Aligned, RGB.
    quality : Quality
    """

    detection: Detection
    crop: NDArray[np.uint8]
    quality: Quality
