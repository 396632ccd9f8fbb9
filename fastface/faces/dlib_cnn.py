"""dlib's CNN detector, without dlib: the same boxes from its weights as an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastface.faces.dlib_models import DlibModels
from fastface.faces.images import check_photo
from fastface.faces.max_margin import Box, double, halve_box, suppress, tile_pyramid
from fastface.faces.search import DEFAULT_MAX_SIDE, PhotoSearch, scale_box
from fastface.models import load_dlib_cnn
from fastface.runtimes import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastface.faces.types import Detection, LandmarkScheme

__all__ = ["DlibCnnDetector"]


class DlibCnnDetector:
    """dlib's max-margin convolutional face detector, and its five-point landmarks.

    (King, "Max-Margin Object Detection", 2015.)  It finds turned, tilted and half-covered faces
    that the HOG detector misses, from 80 pixels on, and takes several times as long.  Boxes are
    those of dlib's ``cnn_face_detection_model_v1``, to the pixel.

    Parameters
    ----------
    threshold : float
        Least score of a face; 0 is dlib's own.
    upsample : int
        How often the photo is doubled before the search.
    max_side : int or None
        Longest side of what is searched.
    second_look : bool
        Where no face is found, look once more at twice the size, unless that exceeds
        ``max_side``.
    n_threads : int
        Threads of the network.  Worker processes do better than threads.

    Raises
    ------
    InvalidInputError
        A parameter outside its range.

    Notes
    -----
    May be shared by threads and pickled; the network is loaded by each process when first needed.
    """

    name = "dlib-cnn"
    landmark_scheme: LandmarkScheme = "eye-corners-nose"

    def __init__(
        self,
        *,
        threshold: float = 0.0,
        upsample: int = 0,
        max_side: int | None = DEFAULT_MAX_SIDE,
        second_look: bool = True,
        n_threads: int = 1,
    ) -> None:
        self.search = PhotoSearch(threshold, upsample, max_side, second_look)
        self.n_threads = n_threads
        self._models = DlibModels("the landmarks of the detector 'dlib-cnn'")
        self._network: _Network | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_network": None}

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
            dlib, Pillow, a runtime or the package with the weights is not installed.
        ModelError, StorageError
            The weights are not the ones that are expected, or cannot be converted.
        """
        check_photo(image)
        image = np.ascontiguousarray(image)
        boxes, scale = self.search.run(image, self._look)
        found = [self._models.mark(image, scale_box(box, scale), score) for score, box in boxes]
        return sorted((d for d in found if d is not None), key=lambda d: d.box)

    def _look(self, image: NDArray[np.uint8], upsample: int) -> list[tuple[float, Box]]:
        if self._network is None:
            self._network = _Network(self.n_threads)
        for _ in range(upsample):
            image = double(image)
        found = self._network.search(image, self.search.threshold)
        for _ in range(upsample):
            found = [(score, halve_box(box)) for score, box in found]
        return found


class _Network:
    """The network of one process."""

    def __init__(self, n_threads: int) -> None:
        self._model = load_dlib_cnn()
        self._session = Session(self._model.onnx_path, n_threads=n_threads)

    def search(self, image: NDArray[np.uint8], threshold: float) -> list[tuple[float, Box]]:
        """Return scores and boxes (right and bottom inclusive), best first."""
        model = self._model
        canvas, tiling = tile_pyramid(image, model.mean, model.padding)
        if min(canvas.shape[1:]) < model.smallest_canvas:
            return []
        scores = self._session.run(canvas[np.newaxis])[0][0, 0]
        rows, columns = np.nonzero(scores > threshold)
        found = []
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            center = model.offset + model.stride * column, model.offset + model.stride * row
            found.append((float(scores[row, column]), tiling.box_around(center, model.window)))
        return suppress(found, model.overlap)
