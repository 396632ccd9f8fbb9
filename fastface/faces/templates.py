"""Where five landmarks belong in a crop, for every kind of network that is supported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastface.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastface.faces.types import LandmarkScheme

__all__ = ["AlignmentTemplate", "get_template", "list_templates"]

_Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class AlignmentTemplate:
    """A crop's size and the place of five landmarks in it.

    Attributes
    ----------
    name : str
    size : int
        Side of the square crop, in pixels.
    eye_corners_nose, eyes_nose_mouth : tuple of (x, y)
        The points for either `LandmarkScheme`, in pixels of the crop.
    sampling : "dlib" or "pixel"
        Whose pixel grid is followed: dlib's chips, or index coordinates as in
        ``cv2.warpAffine``.
    """

    name: str
    size: int
    eye_corners_nose: _Points
    eyes_nose_mouth: _Points
    sampling: Literal["dlib", "pixel"] = "pixel"

    def points_for(self, scheme: LandmarkScheme) -> NDArray[np.float64]:
        """Return the template's points for a kind of landmarks.

        Parameters
        ----------
        scheme : {"eye-corners-nose", "eyes-nose-mouth"}
            Which five points a detector marks.

        Returns
        -------
        ndarray of float64, shape (5, 2)
            x, y in pixels of the crop.
        """
        if scheme == "eye-corners-nose":
            return np.array(self.eye_corners_nose, dtype=np.float64)
        if scheme == "eyes-nose-mouth":
            return np.array(self.eyes_nose_mouth, dtype=np.float64)
        raise InvalidInputError(
            f"unknown landmark scheme {scheme!r}; known: 'eye-corners-nose', 'eyes-nose-mouth'"
        )


# Each network family defines its template for one scheme.  The other scheme's points are where
# those landmarks fall in crops aligned by the first: medians over 314 faces, at least 100 pixels
# wide, marked both by dlib's five-point and its 68-point predictor.

# dlib/image_transforms/interpolation.h, get_face_chip_details, on the unit square.
_DLIB_UNIT: _Points = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
_DLIB_UNIT_EYES_NOSE_MOUTH: _Points = (
    (0.2303, 0.2157),
    (0.7509, 0.2157),
    (0.4999, 0.5220),
    (0.2537, 0.7740),
    (0.7248, 0.7789),
)

# InsightFace, face_align.py, arcface_dst.
_ARCFACE: _Points = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
_ARCFACE_EYE_CORNERS_NOSE: _Points = (
    (80.7916, 52.3984),
    (66.5694, 53.1227),
    (30.8954, 52.7059),
    (45.1840, 53.2814),
    (56.3237, 80.3959),
)


def _dlib(size: int, padding: float) -> AlignmentTemplate:
    """Build the template of ``dlib.get_face_chip(image, shape, size, padding)``."""

    def place(points: _Points) -> _Points:
        unit = size / (1 + 2 * padding)
        return tuple(((padding + x) * unit, (padding + y) * unit) for x, y in points)

    return AlignmentTemplate(
        f"dlib-{size}", size, place(_DLIB_UNIT), place(_DLIB_UNIT_EYES_NOSE_MOUTH), "dlib"
    )


def _arcface(name: str, size: int) -> AlignmentTemplate:
    def place(points: _Points) -> _Points:
        return tuple((x * size / 112, y * size / 112) for x, y in points)

    return AlignmentTemplate(name, size, place(_ARCFACE_EYE_CORNERS_NOSE), place(_ARCFACE))


_TEMPLATES = {
    template.name: template
    for template in (
        _dlib(150, padding=0.25),
        _arcface("arcface-112", 112),
        # FaceNet was trained on detector boxes, not landmarks; this is the same framing by eye.
        _arcface("facenet-160", 160),
    )
}


def get_template(name: str) -> AlignmentTemplate:
    """Look up an alignment template by name.

    Parameters
    ----------
    name : str
        One of `list_templates`.

    Returns
    -------
    AlignmentTemplate
        The template.

    Raises
    ------
    InvalidInputError
        No template of that name; the message lists those there are.
    """
    if name not in _TEMPLATES:
        known = ", ".join(repr(known) for known in _TEMPLATES)
        raise InvalidInputError(f"unknown alignment template {name!r}; known: {known}")
    return _TEMPLATES[name]


def list_templates() -> list[str]:
    """Return the name of every alignment template."""
    return list(_TEMPLATES)
