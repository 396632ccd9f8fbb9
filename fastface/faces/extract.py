"""From the path of a photo to its faces, aligned and graded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fastface.faces.align import align_face
from fastface.faces.detect import create_detector
from fastface.faces.images import DEFAULT_MAX_PIXELS, load_image
from fastface.faces.quality import grade_face
from fastface.faces.templates import AlignmentTemplate, get_template
from fastface.faces.types import Face

if TYPE_CHECKING:
    import os

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

    Attributes
    ----------
    stage_seconds : dict of str to float
        How long ``"decode"``, ``"detect"`` and ``"align"`` took for the last photo; of no meaning
        where threads share an extractor.

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
        self.stage_seconds: dict[str, float] = {}

    def prepare(self) -> None:
        """Load what the first photo would need, so that a lack of it is told now.

        Raises
        ------
        MissingDependencyError, ModelError, StorageError
            The detector cannot work.
        """
        if prepare := getattr(self.detector, "prepare", None):
            prepare()
        side = 2 * self.template.size
        self.detector.detect(np.full((side, side, 3), 128, dtype=np.uint8))

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
        start = time.perf_counter()
        image = load_image(path, max_pixels=self.max_pixels)
        decoded = time.perf_counter() - start
        faces = self.extract_from(image)
        self.stage_seconds = {"decode": decoded, **self.stage_seconds}
        return faces

    def extract_from(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return every face of a photo that is decoded already.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            RGB, upright.
        """
        faces = []
        start = time.perf_counter()
        detections = self.detector.detect(image)
        detected = time.perf_counter()
        for detection in detections:
            crop = align_face(
                image, detection.landmarks, self.template, scheme=self.detector.landmark_scheme
            )
            faces.append(Face(detection, crop, grade_face(detection, crop)))
        self.stage_seconds = {"detect": detected - start, "align": time.perf_counter() - detected}
        return faces
