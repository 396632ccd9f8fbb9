"""dlib's HOG detector: the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastface.faces.dlib_models import DlibModels
from fastface.faces.hog_search import HogSearch
from fastface.faces.images import check_photo
from fastface.faces.max_margin import Box, double, halve_box
from fastface.faces.search import DEFAULT_MAX_SIDE, PhotoSearch, scale_box
from fastface.models import read_hog_detector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastface.faces.types import Detection, LandmarkScheme

__all__ = ["DlibHogDetector"]


class DlibHogDetector:
    """dlib's frontal face detector and five-point landmarks.

    Histograms of oriented gradients under five linear templates, frontal and half turned
    (Dalal & Triggs, CVPR 2005; King, "Max-Margin Object Detection", 2015), and a tree ensemble
    for the landmarks (Kazemi & Sullivan, CVPR 2014).  The search is compiled anew, with dlib's
    templates and arithmetic: boxes are those of ``get_frontal_face_detector``, to the pixel.

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
        None looks at photos of any size as they are.
    second_look : bool
        Where no face is found, look once more at twice the size, unless that exceeds
        ``max_side``.

    Raises
    ------
    InvalidInputError
        A parameter outside its range.

    Notes
    -----
    May be shared by threads and pickled.  The search, which is nearly all of the time, releases
    the GIL, so that threads run side by side.
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
        self.search = PhotoSearch(threshold, upsample, max_side, second_look)
        self._models = DlibModels("the detector 'dlib-hog'")
        self._hog: HogSearch | None = None

    def prepare(self) -> None:
        """Load the templates, which pickled copies then bring with them, and the landmarks.

        Raises
        ------
        MissingDependencyError, ModelError
            As `detect`.
        """
        self._load()
        self._models.load()

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
        boxes, scale = self.search.run(image, self._look)
        found = [self._models.mark(image, scale_box(box, scale), score) for score, box in boxes]
        return sorted((d for d in found if d is not None), key=lambda d: d.box)

    def _look(self, image: NDArray[np.uint8], upsample: int) -> list[tuple[float, Box]]:
        for _ in range(upsample):
            image = double(image)
        found = self._load().run(image, self.search.threshold)
        for _ in range(upsample):
            found = [(score, halve_box(box)) for score, box in found]
        return found

    def _load(self) -> HogSearch:
        # dlib takes half a second to unpack its templates.
        if self._hog is None:
            self._hog = HogSearch(read_hog_detector(self._models.hog_bytes()))
        return self._hog
