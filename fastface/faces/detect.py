"""The registry of detectors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastface.errors import InvalidInputError
from fastface.faces.dlib_cnn import DlibCnnDetector
from fastface.faces.dlib_hog import DlibHogDetector
from fastface.faces.onnx_detector import OnnxDetector

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastface.faces.types import Detector

__all__ = ["create_detector", "list_detectors"]

_DETECTORS: dict[str, Callable[..., Detector]] = {
    detector.name: detector for detector in (DlibHogDetector, DlibCnnDetector)
}


def create_detector(name: str | os.PathLike[str], **options: Any) -> Detector:
    """Make a detector by its name in the registry, or from an ONNX file.

    Parameters
    ----------
    name : str or path
        One of `list_detectors`, or the ONNX file of a YuNet, SCRFD or RetinaFace: what ends in
        ``.onnx`` or has a folder in it is a file.
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
    ModelError
        The file cannot be found, read or trusted, or is no detector that is known.
    """
    make: Callable[..., Detector]
    if name in _DETECTORS:
        make = _DETECTORS[str(name)]
    elif _is_file(name):
        path = Path(name).expanduser().absolute()

        def make(**options: Any) -> Detector:
            return OnnxDetector(path, **options)

    else:
        known = ", ".join(repr(known) for known in _DETECTORS)
        raise InvalidInputError(
            f"unknown detector {name!r}; known: {known}, and the ONNX file of a YuNet, SCRFD or"
            " RetinaFace"
        )
    try:
        return make(**options)
    except TypeError as error:
        raise InvalidInputError(f"detector {str(name)!r}: {error}") from error


def list_detectors() -> list[str]:
    """Return the name of every detector; files of your own can be used beside them."""
    return list(_DETECTORS)


def _is_file(name: str | os.PathLike[str]) -> bool:
    text = os.fspath(name)
    return not isinstance(name, str) or text.lower().endswith(".onnx") or os.sep in text
