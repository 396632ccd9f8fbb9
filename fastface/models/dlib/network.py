"""A whole dlib network file: loss, input and the tower of layers, every byte accounted for.

dlib writes a network from the outside in: the version numbers of all layers, outermost first,
then the input layer, then the details of all layers, innermost first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastface.models.dlib.layers import Layer, TagOrSkip, read_layer
from fastface.models.dlib.stream import ByteStream

__all__ = ["InputLayer", "Loss", "Network", "read_network"]

_TAG_OR_SKIP, _ADD_LAYER, _INNERMOST = 1, 2, 3
_MAX_LAYERS = 10_000
_MAX_IMAGE_SIDE = 1 << 14


@dataclass(frozen=True)
class Loss:
    """The loss a network was trained with; some of its options matter when it is used."""

    name: str
    options: Mapping[str, float]


@dataclass(frozen=True)
class InputLayer:
    """How pixels enter: ``(rgb - mean) / 256``."""

    name: str
    mean: tuple[float, float, float]
    size: tuple[int, int] | None = None  # rows, columns; None takes any
    pyramid_padding: tuple[int, int] | None = None  # between levels, around all


@dataclass(frozen=True, eq=False)
class Network:
    """A network as its file describes it.

    Attributes
    ----------
    loss : Loss
    input : InputLayer
    layers : tuple of Layer
        From the image to the output.
    """

    loss: Loss
    input: InputLayer
    layers: tuple[Layer, ...]


def read_network(data: bytes, *, name: str = "the file") -> Network:
    """Read a network that dlib's ``serialize`` wrote.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        What to call it in errors.

    Returns
    -------
    Network

    Raises
    ------
    ModelError
        If the bytes end early, go on after the network, or are anything but a network made of
        the layers known here.
    """
    stream = ByteStream(data, name=name)
    stream.integer("the version of the loss layer", low=1, high=1)
    loss = _read_loss(stream)
    versions = _read_versions(stream)
    input_layer = _read_input(stream)
    layers = tuple(_read_tower_entry(stream, version) for version in reversed(versions))
    stream.finish()
    return Network(loss, input_layer, layers)


def _read_versions(stream: ByteStream) -> list[int]:
    versions: list[int] = []
    while not versions or versions[-1] != _INNERMOST:
        if len(versions) == _MAX_LAYERS:
            raise stream.error(f"it has more than {_MAX_LAYERS} layers")
        versions.append(stream.integer("the version of a layer", low=_TAG_OR_SKIP, high=_INNERMOST))
    return versions


def _read_tower_entry(stream: ByteStream, version: int) -> Layer:
    if version == _TAG_OR_SKIP:
        return TagOrSkip()
    layer = read_layer(stream)
    for what in ("setup called", "gradient is stale", "gradient is disabled"):
        stream.flag(f"a layer's flag '{what}'")
    for what in ("gradient", "cached output", "parameter gradient"):
        stream.tensor(f"a layer's {what}")
    if version == _INNERMOST:
        stream.integer("the sample expansion factor", low=0)
    return layer


def _read_loss(stream: ByteStream) -> Loss:
    start = stream.position
    name = stream.text("the name of the loss")
    if name not in _LOSSES:
        raise stream.error(
            f"unknown loss {name!r} at byte {start}; known: {', '.join(sorted(_LOSSES))}"
        )
    return Loss(name, _LOSSES[name](stream))


def _metric_options(stream: ByteStream) -> dict[str, float]:
    return {key: stream.finite_real(key) for key in ("margin", "distance_threshold")}


def _mmod_options(stream: ByteStream) -> dict[str, float]:
    stream.integer("the version of the detector's options", low=1, high=1)
    options: dict[str, float] = {
        "window_width": stream.integer("the detector's window width", low=1, high=_MAX_IMAGE_SIDE),
        "window_height": stream.integer(
            "the detector's window height", low=1, high=_MAX_IMAGE_SIDE
        ),
    }
    reals = (
        "loss_per_false_alarm", "loss_per_missed_target", "truth_match_iou_threshold",
        "nms_iou_threshold", "nms_percent_covered_threshold",
        "ignore_iou_threshold", "ignore_percent_covered_threshold",
    )  # fmt: skip
    return options | {key: stream.finite_real(key) for key in reals}


_LOSSES: dict[str, Callable[[ByteStream], dict[str, float]]] = {
    "loss_metric_2": _metric_options,
    "loss_mmod_": _mmod_options,
}


def _read_input(stream: ByteStream) -> InputLayer:
    start = stream.position
    name = stream.text("the name of the input layer")
    if name not in _INPUTS:
        raise stream.error(
            f"unknown input layer {name!r} at byte {start}; known: {', '.join(sorted(_INPUTS))}"
        )
    red, green, blue = (stream.finite_real(f"mean of {c}") for c in ("red", "green", "blue"))
    return _INPUTS[name](stream, name, (red, green, blue))


def _sized(stream: ByteStream, name: str, mean: tuple[float, float, float]) -> InputLayer:
    rows = stream.integer("rows of the input", low=1, high=_MAX_IMAGE_SIDE)
    columns = stream.integer("columns of the input", low=1, high=_MAX_IMAGE_SIDE)
    return InputLayer(name, mean, size=(rows, columns))


def _pyramid(_: ByteStream, name: str, mean: tuple[float, float, float]) -> InputLayer:
    # The first form of this layer writes no paddings: these are the ones dlib then uses.
    return InputLayer(name, mean, pyramid_padding=(10, 11))


def _padded_pyramid(stream: ByteStream, name: str, mean: tuple[float, float, float]) -> InputLayer:
    inner = stream.integer("padding between pyramid levels", low=0, high=_MAX_IMAGE_SIDE)
    outer = stream.integer("padding around the pyramid", low=0, high=_MAX_IMAGE_SIDE)
    return InputLayer(name, mean, pyramid_padding=(inner, outer))


_INPUTS: dict[str, Callable[[ByteStream, str, tuple[float, float, float]], InputLayer]] = {
    "input_rgb_image_pyramid": _pyramid,
    "input_rgb_image_pyramid2": _padded_pyramid,
    "input_rgb_image_sized": _sized,
}
