"""Detectors of your own: the ONNX file of a YuNet, SCRFD or RetinaFace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastface.errors import InvalidInputError, ModelError
from fastface.faces.anchor_grids import (
    FAMILIES,
    Candidates,
    Family,
    find_family,
    suppress_candidates,
)
from fastface.faces.images import check_photo
from fastface.faces.max_margin import double
from fastface.faces.search import DEFAULT_MAX_SIDE, PhotoSearch, shrink
from fastface.faces.types import Detection
from fastface.models import check_onnx
from fastface.runtimes import Session

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastface.faces.types import LandmarkScheme

__all__ = ["OnnxDetector"]

_STEP = 32  # the coarsest grid's; a side must be a multiple of it
_TRIAL_SIDE = 320
_TRIAL_VALUE = 128


class OnnxDetector:
    """A detector with five landmarks from an ONNX file; the family is told by its outputs.

    Parameters
    ----------
    path : Path
        The file: YuNet (OpenCV's), SCRFD with landmarks (InsightFace's) or RetinaFace (its
        PyTorch version).  Its input may have any size or a fixed one, into which photos are then
        fitted whole.
    threshold : float or None
        Least probability of a face; None is the family's: 0.8 for YuNet and RetinaFace, 0.5 for
        SCRFD.
    upsample : int
        How often the photo is doubled before the search.
    max_side : int or None
        Longest side of what is searched.
    second_look : bool
        Where no face is found, look once more at twice the size, unless that exceeds
        ``max_side``.
    n_threads : int
        Threads of the network.

    Attributes
    ----------
    family : str
        ``"yunet"``, ``"scrfd"`` or ``"retinaface"``.

    Raises
    ------
    InvalidInputError
        A parameter outside its range, or `upsample` where the network's input is fixed.
    ModelError
        The file cannot be read or trusted, or is none of these detectors.

    Notes
    -----
    May be shared by threads and pickled.
    """

    landmark_scheme: LandmarkScheme = "eyes-nose-mouth"

    def __init__(
        self,
        path: Path,
        *,
        threshold: float | None = None,
        upsample: int = 0,
        max_side: int | None = DEFAULT_MAX_SIDE,
        second_look: bool = True,
        n_threads: int = 1,
    ) -> None:
        if threshold is not None and not 0 < threshold <= 1:
            raise InvalidInputError(f"threshold must be a probability, not {threshold!r}")
        self.path = path
        self.n_threads = n_threads
        check_onnx(path)
        self._network = _Network(path, n_threads)
        family = self._network.family
        self.family = family.name
        self.name = f"{family.name} ({path.name})"
        fixed = self._network.fixed_size
        if fixed is not None and upsample > 0:
            raise InvalidInputError(
                f"{path} takes images of {fixed[1]} × {fixed[0]} pixels only: upsample must be 0"
            )
        self.search = PhotoSearch(
            family.threshold if threshold is None else threshold,
            upsample,
            max_side,
            second_look and fixed is None,  # a fixed size looks the same twice
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_network": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._network = _Network(self.path, self.n_threads)

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
        ModelError
            The network gives something that is no number.
        """
        check_photo(image)
        found, scale = self.search.run(np.ascontiguousarray(image), self._look)
        detections = [_place(face, scale, image.shape) for face in found]
        return sorted((d for d in detections if d is not None), key=lambda d: d.box)

    def _look(self, image: NDArray[np.uint8], upsample: int) -> list[_Face]:
        size = image.shape[:2]
        for _ in range(upsample):
            image = double(image)
        found, scale = self._network.search(image, self.search.threshold)
        # The doubled photo is a little more than twice as large.
        factor = np.array([size[1] / image.shape[1], size[0] / image.shape[0]]) * scale
        return [
            _Face(float(score), box.reshape(2, 2) * factor, points * factor)
            for score, box, points in zip(*found, strict=True)
        ]


class _Face(NamedTuple):
    score: float
    corners: NDArray[np.float64]  # (2, 2)
    landmarks: NDArray[np.float64]  # (5, 2)


def _place(face: _Face, scale: tuple[float, float], shape: tuple[int, ...]) -> Detection | None:
    """Return a face in pixels of the photo; None where nothing of its box is inside."""
    limits = np.array([shape[1], shape[0]])
    corners = np.rint(face.corners * scale).clip(0, limits).astype(int)
    (left, top), (right, bottom) = corners.tolist()
    if left >= right or top >= bottom:
        return None
    landmarks = (face.landmarks * scale).astype(np.float32)
    return Detection((left, top, right, bottom), face.score, landmarks)


class _Network:
    """The network, opened and tried."""

    def __init__(self, path: Path, n_threads: int) -> None:
        self._path = path
        self._session = Session(path, n_threads=n_threads)
        self.fixed_size = self._read_size()
        trial = (*(self.fixed_size or (_TRIAL_SIDE, _TRIAL_SIDE)), 3)
        planes = np.full((1, 3, *trial[:2]), _TRIAL_VALUE, dtype=np.float32)
        family = find_family(self._run(planes))
        if family is None:
            shapes = ", ".join(
                f"{name} {tuple(shape)}"
                for name, shape in zip(
                    self._session.output_names, self._session.output_shapes, strict=True
                )
            )
            raise ModelError(
                f"{path} is none of the detectors that are known ({', '.join(FAMILIES)}); five"
                f" landmarks a face are needed. Its outputs: {shapes}"
            )
        self.family: Family = family
        self.search(np.full(trial, _TRIAL_VALUE, dtype=np.uint8), 0.5)

    def _read_size(self) -> tuple[int, int] | None:
        shape = self._session.input_shape
        if len(shape) != 4 or shape[1] != 3 or shape[0] not in (1, None, *_strings(shape)):
            raise ModelError(
                f"{self._path} takes {shape}; a detector takes one image, (1, 3, height, width)"
            )
        height, width = shape[2:]
        if isinstance(height, int) and isinstance(width, int):
            if height % _STEP or width % _STEP:
                raise ModelError(
                    f"{self._path} takes images of {width} × {height} pixels; both must be"
                    f" multiples of {_STEP}"
                )
            return height, width
        return None

    def _run(self, planes: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        outputs = self._session.run(planes)
        return {
            name: output[0] if output.ndim == 3 else output
            for name, output in zip(self._session.output_names, outputs, strict=True)
        }

    def search(self, image: NDArray[np.uint8], threshold: float) -> tuple[Candidates, float]:
        """Return faces in pixels of what the network saw, and the factor back to the image."""
        height, width = image.shape[:2]
        seen = image
        if self.fixed_size is not None:
            side = min(self.fixed_size[0] / height, self.fixed_size[1] / width)
            seen = shrink(image, max(1, int(max(height, width) * side)))
        rows, columns = self.fixed_size or (_up(height), _up(width))
        planes = self._planes(seen, rows, columns)
        try:
            found = self.family.decode(self._run(planes), rows, columns)
        except ValueError as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{self._path} is no {self.family.name}: {error}") from error
        if not all(np.isfinite(part).all() for part in found):
            raise ModelError(f"{self._path} gave values that are not finite")
        kept = suppress_candidates(found, threshold, self.family.overlap)
        return kept, max(height, width) / max(seen.shape[:2])

    def _planes(self, image: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float32]:
        """Return (1, 3, rows, columns) as the network wants it, the image in the upper left."""
        family = self.family
        planes = np.zeros((1, 3, rows, columns), dtype=np.float32)
        height, width = image.shape[:2]
        pixels = image.transpose(2, 0, 1)
        inside = planes[0, :, :height, :width]
        inside[...] = pixels[::-1] if family.bgr else pixels
        inside -= np.array(family.mean, dtype=np.float32)[:, None, None]
        inside /= np.float32(family.std)
        return planes


def _strings(shape: list[int | str | None]) -> list[str]:
    return [dim for dim in shape if isinstance(dim, str)]


def _up(side: int) -> int:
    return -(-side // _STEP) * _STEP
