"""dlib's CNN face detector as an ONNX file, with what its scores mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastface.errors import ModelError
from fastface.models.cache import cached
from fastface.models.dlib import Network, read_network
from fastface.models.dlib.graph import scores_graph
from fastface.models.dlib.layers import Convolution, Pool
from fastface.models.packaged import read_packaged
from fastface.models.spec import PackagedWeights

__all__ = ["DetectorModel", "load_dlib_cnn"]

# Raise it whenever the same source would become another file.
CONVERTER_VERSION = 1

_MMOD = PackagedWeights(
    distribution="face-recognition-models",
    file="face_recognition_models/models/mmod_human_face_detector.dat",
    sha256="4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
)


@dataclass(frozen=True)
class DetectorModel:
    """A max-margin detector (King, "Max-Margin Object Detection", 2015) ready to run.

    Attributes
    ----------
    onnx_path : Path
        Takes a tiled pyramid, gives a score for every place of a grid on it.
    mean : (float, float, float)
        Of red, green and blue; the canvas holds ``(pixel - mean) / 256``.
    padding : (int, int)
        Pixels between the levels of the pyramid, and around all.
    window : (int, int)
        Width and height of a box on the canvas.
    stride, offset : int
        The score at place i belongs to the box around ``stride * i + offset``.
    smallest_canvas : int
        Rows and columns that the network needs to give a score at all.
    overlap : float
        Of two boxes whose intersection is more than this share of the smallest rectangle around
        both, the one with the lower score is dropped.
    """

    onnx_path: Path
    mean: tuple[float, float, float]
    padding: tuple[int, int]
    window: tuple[int, int]
    stride: int
    offset: int
    smallest_canvas: int
    overlap: float


def load_dlib_cnn() -> DetectorModel:
    """Convert dlib's CNN face detector, once, and say how to read it.

    Returns
    -------
    DetectorModel

    Raises
    ------
    ModelError
        If the weights are not those that are known.
    MissingDependencyError
        If the weights, or the packages that convert them, are not installed.
    StorageError
        If the cache directory cannot be used.
    """
    network = read_network(read_packaged(_MMOD), name=Path(_MMOD.file).name)
    stride, offset = _grid(network)
    options = network.loss.options
    file = cached(
        f"dlib-cnn-{_MMOD.sha256}-v{CONVERTER_VERSION}",
        ".onnx",
        lambda: scores_graph(network, name="dlib-cnn", metadata={}),
    )
    assert network.input.pyramid_padding is not None  # noqa: S101  scores_graph has refused it
    return DetectorModel(
        onnx_path=file.path,
        mean=network.input.mean,
        padding=network.input.pyramid_padding,
        window=(int(options["window_width"]), int(options["window_height"])),
        stride=stride,
        offset=offset,
        smallest_canvas=_field(network),
        overlap=options["nms_iou_threshold"],
    )


def _grid(network: Network) -> tuple[int, int]:
    """Return scale and shift from a place in the output to the middle of what it looks at."""
    stride, offset = 1, 0
    for layer in reversed(network.layers):
        if isinstance(layer, Convolution | Pool):
            rows, columns = (
                (step, half // 2 - padding)
                for step, half, padding in zip(
                    layer.stride,
                    layer.filters.shape[2:] if isinstance(layer, Convolution) else layer.window,
                    layer.padding,
                    strict=True,
                )
            )
            if rows != columns:
                raise ModelError("a detector whose rows and columns differ in step is not read")
            step, shift = rows
            stride, offset = stride * step, offset * step + shift
    return stride, offset


def _field(network: Network) -> int:
    """Return how many rows or columns the network must see to have an output of one."""
    size = 1
    for layer in reversed(network.layers):
        if isinstance(layer, Convolution | Pool):
            window = layer.filters.shape[2] if isinstance(layer, Convolution) else layer.window[0]
            size = max((size - 1) * layer.stride[0] + window - 2 * layer.padding[0], 1)
    return size
