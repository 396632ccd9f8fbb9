"""From the path of a photo to its faces, aligned and graded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastface.faces.align import align_face
from fastface.faces.detect import create_detector
from fastface.faces.images import DEFAULT_MAX_PIXELS, load_image
from fastface.faces.quality import grade_face
from fastface.faces.templates import AlignmentTemplate, get_template
from fastface.faces.types import Face

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FaceExtractor"]


class FaceExtractor:
    """Decode a photo, find its faces, cut them out and grade them.

    Parameters
    ----------
    template : AlignmentTemplate or str
        What the crops are to look like; a name is looked up by `get_template`.
    detector : str
        A name of `fastface.faces.detect.list_detectors`.
    upsample : int
        How often photos are doubled before the search for faces.
    max_pixels : int
        Photos with more pixels are refused undecoded.
    **detector_options
        Further parameters of the detector, such as ``threshold`` and ``max_side``.

    Raises
    ------
    InvalidInputError
        An unknown template or detector, or a parameter outside its range.

    Notes
    -----
    May be pickled, and shared by threads: models are loaded by each thread when it first needs
    them.  With dlib's detector threads run side by side for most of the time, since decoding
    and the search release the GIL.
    """

    def __init__(
        self,
        template: AlignmentTemplate | str = "dlib-150",
        detector: str = "dlib-hog",
        upsample: int = 0,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        **detector_options: Any,
    ) -> None:
        self.template = get_template(template) if isinstance(template, str) else template
        self.detector = create_detector(detector, upsample=upsample, **detector_options)
        self.max_pixels = max_pixels

    def extract(self, path: str | os.PathLike[str]) -> list[Face]:
        """Return every face of a photo, from left to right; an empty list if there is none.

        Parameters
        ----------
        path : path-like
            The photo.

        Raises
        ------
        ImageError
            The file gives no photo; see `load_image`.
        """
        return self.extract_from(load_image(path, max_pixels=self.max_pixels))

    def extract_from(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return every face of a photo that is decoded already.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            RGB, upright.
        """
        faces = []
        for detection in self.detector.detect(image):
            crop = align_face(
                image, detection.landmarks, self.template, scheme=self.detector.landmark_scheme
            )
            faces.append(Face(detection, crop, grade_face(detection, crop)))
        return faces
