"""dlib's HOG detectors (``fhog_object_detector``): read from what its Python module pickles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastface.models.dlib.stream import ByteStream

__all__ = ["HogDetector", "read_hog_detector"]

PLANES = 31
_MAX_TEMPLATES = 100


@dataclass(frozen=True, eq=False)
class HogDetector:
    """Linear templates over histograms of oriented gradients.

    Attributes
    ----------
    filters : ndarray of float64, shape (n_templates, 31, rows, columns)
        Weights of each template, in cells.
    thresholds : ndarray of float64, shape (n_templates,)
        What a template's response must exceed; the score is the rest.
    cell_size : int
        Side of a cell in pixels.
    smallest_level : (int, int)
        The pyramid ends with the first level narrower or lower than this.
    overlap, covered : float
        Of two boxes the one with the lower score is dropped if their intersection is more than
        the first share of the smallest rectangle around both, or the second of either.
    """

    filters: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    cell_size: int
    smallest_level: tuple[int, int]
    overlap: float
    covered: float


def read_hog_detector(data: bytes) -> HogDetector:
    """Read a detector that dlib wrote.

    Parameters
    ----------
    data : bytes
        All of it.

    Returns
    -------
    HogDetector

    Raises
    ------
    ModelError
        If the bytes are anything else, or a kind of detector that is not read here.
    """
    stream = ByteStream(data, name="the HOG detector")
    stream.integer("the version of the detector", low=2, high=2)
    stream.integer("the version of the scanner", low=1, high=1)
    stream.integer("room for stored features", low=0, high=0)
    stream.integer("stored features", low=0, high=0)
    cell_size = stream.integer("the cell size", low=8, high=8)
    stream.integer("the window's padding", low=0, high=0)
    width = stream.integer("the window's width", low=8, high=1024)
    height = stream.integer("the window's height", low=8, high=1024)
    stream.integer("the number of pyramid levels", low=1000)
    narrowest = stream.integer("the narrowest level", low=1, high=1024)
    lowest = stream.integer("the lowest level", low=1, high=1024)
    stream.finite_real("the regularization")
    shape = (PLANES, height // cell_size, width // cell_size)
    n_weights = int(np.prod(shape))
    stream.integer("the number of weights", low=n_weights, high=n_weights)
    overlap, covered = (stream.finite_real(what) for what in ("overlap", "share covered"))
    n_templates = stream.integer("the number of templates", low=1, high=_MAX_TEMPLATES)
    weights = np.array([_read_weights(stream, n_weights) for _ in range(n_templates)])
    stream.finish()
    return HogDetector(
        filters=weights[:, :-1].reshape(n_templates, *shape),
        thresholds=weights[:, -1],
        cell_size=cell_size,
        smallest_level=(narrowest, lowest),
        overlap=overlap,
        covered=covered,
    )


def _read_weights(stream: ByteStream, n_weights: int) -> list[float]:
    # A matrix writes its size negated; the last weight is the threshold.
    stream.integer("rows of a template", low=-n_weights - 1, high=-n_weights - 1)
    stream.integer("columns of a template", low=-1, high=-1)
    return [stream.finite_real("a weight") for _ in range(n_weights + 1)]
