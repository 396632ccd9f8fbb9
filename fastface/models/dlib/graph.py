"""dlib networks as ONNX graphs.

Layers are appended in the order of the file, so that another kind of network (a detector with
its pyramid) needs only its own input and output around `LayerGraph`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from fastface.errors import ModelError
from fastface.models.dlib.layers import (
    AddPrevious,
    BatchNorm,
    Convolution,
    FullyConnected,
    Layer,
    Pair,
    Pool,
    Relu,
    Scale,
    TagOrSkip,
)
from fastface.models.dlib.network import InputLayer, Network
from fastface.models.onnx_graph import BATCH, GraphBuilder

__all__ = ["LayerGraph", "Value", "embedding_graph", "scores_graph"]

Shape = tuple[int, int | None, int | None]

# dlib divides by this wherever it takes an RGB image.
_PIXEL_RANGE = 256.0


@dataclass(frozen=True)
class Value:
    """A value of the graph: its name and its size but for the batch.

    Rows and columns are None where a network takes images of any size.
    """

    name: str
    channels: int
    rows: int | None
    columns: int | None

    @property
    def shape(self) -> Shape:
        """Channels, rows, columns."""
        return self.channels, self.rows, self.columns

    def fixed_shape(self, why: str) -> tuple[int, int, int]:
        """Return the shape where it must be known."""
        if self.rows is None or self.columns is None:
            raise ModelError(f"{why}, which needs images of one size")
        return self.channels, self.rows, self.columns


class LayerGraph:
    """Appends dlib's layers to an ONNX graph.

    Parameters
    ----------
    builder : GraphBuilder
        Receives the nodes.
    value : Value
        What the first layer is applied to, in NCHW layout.
    pixels : InputLayer, optional
        Set where `value` is raw pixels: ``(pixel - mean) / 256`` is then part of the graph.

    Attributes
    ----------
    value : Value
        What the next layer will be applied to.
    """

    def __init__(
        self, builder: GraphBuilder, value: Value, *, pixels: InputLayer | None = None
    ) -> None:
        self.value = value
        self._builder = builder
        self._pixels = pixels
        self._pending: Convolution | None = None
        self._tag1: Value | None = None
        self._tag2: Value | None = None
        self._n_layers = 0

    def append(self, layers: Sequence[Layer]) -> None:
        """Append layers, each convolution together with the scaling that follows it."""
        for kind, run in groupby(layers, type):
            group = list(run)
            if kind is TagOrSkip:
                self._append_tags(len(group))
                continue
            for layer in group:
                self._append_one(layer.as_scale() if isinstance(layer, BatchNorm) else layer)
        self._flush()

    def _append_one(self, layer: Layer) -> None:
        if isinstance(layer, Scale) and self._pending is not None:
            self._flush(layer)
            return
        self._flush()
        if isinstance(layer, Convolution):
            self._pending = layer
            return
        self._finish_pixels()
        self._n_layers += 1
        if isinstance(layer, Relu):
            self._set(self._builder.node("Relu", self.value.name), self.value.shape)
        elif isinstance(layer, Pool):
            self._pool(layer)
        elif isinstance(layer, AddPrevious):
            self._add_previous()
        elif isinstance(layer, FullyConnected):
            self._fully_connect(layer)
        elif isinstance(layer, Scale):
            self._scale(layer)
        else:
            raise ModelError(f"a layer of kind {type(layer).__name__} cannot be converted")

    def _flush(self, scale: Scale | None = None) -> None:
        """Emit the convolution that waited for the layer after it."""
        if self._pending is not None:
            layer, self._pending = self._pending, None
            self._convolve(layer, scale)

    def _append_tags(self, count: int) -> None:
        # The file tells tags from skips only by how many come in a row.  A plain residual block
        # has one tag.  One that goes down keeps its block's result as the second tag, then skips
        # back to the first, so that its shortcut is made from the block's input.
        self._flush()
        self._finish_pixels()
        if count == 1:
            self._tag1 = self.value
        elif count == 2 and self._tag1 is not None:
            self._tag2, self.value = self.value, self._tag1
        else:
            raise ModelError(f"{count} tags or skips in a row fit no known residual block")

    def _set(self, name: str, shape: Shape) -> None:
        self.value = Value(name, *shape)

    def _finish_pixels(self) -> None:
        """Emit ``(pixel - mean) / 256`` where no convolution has taken it in."""
        if self._pixels is None:
            return
        mean = np.asarray(self._pixels.mean, dtype=np.float32).reshape(1, 3, 1, 1)
        centered = self._builder.node(
            "Sub", self.value.name, self._builder.constant("pixel_mean", mean)
        )
        factor = self._builder.constant("pixel_factor", np.asarray(1 / _PIXEL_RANGE, np.float32))
        self._set(self._builder.node("Mul", centered, factor), self.value.shape)
        self._pixels = None

    def _convolve(self, layer: Convolution, scale: Scale | None) -> None:
        self._n_layers += 1
        if layer.filters.shape[1] != self.value.channels:
            raise ModelError(
                f"layer {self._n_layers} convolves {layer.filters.shape[1]} channels, "
                f"the value before it has {self.value.channels}"
            )
        if max(layer.padding) > 0:
            # Padding adds zeros after the mean is gone; folding the mean would change the border.
            self._finish_pixels()
        filters, biases = _fold_scale(layer, scale)
        if self._pixels is not None:
            filters, biases = _fold_pixels(filters, biases, self._pixels)
            self._pixels = None
        self._emit_convolution(filters, biases, stride=layer.stride, padding=layer.padding)

    def _emit_convolution(
        self,
        filters: NDArray[np.float64],
        biases: NDArray[np.float64],
        *,
        stride: Pair,
        padding: Pair,
    ) -> None:
        n_filters, _, *window = filters.shape
        rows, columns = _slide(self.value, (window[0], window[1]), stride, padding)
        name = f"conv_{self._n_layers:03d}"
        output = self._builder.node(
            "Conv",
            self.value.name,
            self._builder.constant(f"{name}_filters", filters.astype(np.float32)),
            self._builder.constant(f"{name}_biases", biases.astype(np.float32)),
            output=name,
            kernel_shape=window,
            strides=list(stride),
            pads=[*padding, *padding],
        )
        self._set(output, (n_filters, rows, columns))

    def _scale(self, layer: Scale) -> None:
        if layer.gamma.size != self.value.channels:
            raise ModelError(
                f"layer {self._n_layers} scales {layer.gamma.size} channels, "
                f"the value before it has {self.value.channels}"
            )
        name = self.value.name
        for operator, factors in (("Mul", layer.gamma), ("Add", layer.beta)):
            constant = self._builder.constant(
                f"scale_{self._n_layers:03d}_{operator.lower()}", factors.reshape(1, -1, 1, 1)
            )
            name = self._builder.node(operator, name, constant)
        self._set(name, self.value.shape)

    def _pool(self, layer: Pool) -> None:
        if layer.window == (0, 0):
            operator = "GlobalMaxPool" if layer.kind == "max" else "GlobalAveragePool"
            name = self._builder.node(operator, self.value.name)
            self._set(name, (self.value.channels, 1, 1))
            return
        rows, columns = _slide(self.value, layer.window, layer.stride, layer.padding)
        # Both leave padding out of the mean: ONNX unless told otherwise, dlib always.
        name = self._builder.node(
            "MaxPool" if layer.kind == "max" else "AveragePool",
            self.value.name,
            kernel_shape=list(layer.window),
            strides=list(layer.stride),
            pads=[*layer.padding, *layer.padding],
        )
        self._set(name, (self.value.channels, rows, columns))

    def _add_previous(self) -> None:
        previous = self._tag1 if self._tag2 is None else self._tag2
        if previous is None:
            raise ModelError(f"layer {self._n_layers} adds a value that was never kept")
        self._tag1 = self._tag2 = None
        why = f"layer {self._n_layers} adds two values"
        shape = tuple(np.maximum(self.value.fixed_shape(why), previous.fixed_shape(why)).tolist())
        current, other = (self._pad(value, shape) for value in (self.value, previous))
        self._set(self._builder.node("Add", current, other), shape)

    def _pad(self, value: Value, shape: tuple[int, int, int]) -> str:
        """Return `value` with zeros at the end of each axis up to `shape`."""
        if value.shape == shape:
            return value.name
        missing = np.subtract(shape, value.fixed_shape("padding"))
        pads = np.concatenate([np.zeros(5), missing]).astype(np.int64)  # starts, then ends
        constant = self._builder.constant(f"pads_{self._n_layers:03d}_{value.name}", pads)
        return self._builder.node("Pad", value.name, constant)

    def _fully_connect(self, layer: FullyConnected) -> None:
        n_inputs, n_outputs = layer.weights.shape
        shape = self.value.fixed_shape(f"layer {self._n_layers} connects all values")
        if n_inputs != np.prod(shape):
            raise ModelError(
                f"layer {self._n_layers} connects {n_inputs} values, "
                f"the value before it has {shape}"
            )
        # As a convolution over the whole value, each sample is computed apart from the rest of
        # its batch; a matrix product may sum in another order for another number of rows.
        filters = layer.weights.T.reshape(n_outputs, *shape)
        biases = np.zeros(n_outputs) if layer.biases is None else layer.biases
        self._emit_convolution(
            filters.astype(np.float64), biases.astype(np.float64), stride=(1, 1), padding=(0, 0)
        )


def _slide(
    value: Value, window: Pair, stride: Pair, padding: Pair
) -> tuple[int | None, int | None]:
    """Return rows and columns after a window slid over the value."""
    rows, columns = (
        None if size is None else 1 + (size + 2 * p - w) // s
        for size, w, s, p in zip(value.shape[1:], window, stride, padding, strict=True)
    )
    if any(size is not None and size < 1 for size in (rows, columns)):
        raise ModelError(f"a window of {window} does not fit a value of {value.shape}")
    return rows, columns


def _fold_scale(
    layer: Convolution, scale: Scale | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return filters and biases that also apply the scaling that follows."""
    filters, biases = layer.filters.astype(np.float64), layer.biases.astype(np.float64)
    if scale is None:
        return filters, biases
    if scale.gamma.size != biases.size:
        raise ModelError(f"{biases.size} filters are followed by {scale.gamma.size} scales")
    gamma = scale.gamma.astype(np.float64)
    return filters * gamma[:, None, None, None], biases * gamma + scale.beta


def _fold_pixels(
    filters: NDArray[np.float64], biases: NDArray[np.float64], pixels: InputLayer
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return filters and biases that take raw pixels: exact where nothing is padded."""
    filters = filters / _PIXEL_RANGE
    return filters, biases - np.einsum("oirc,i->o", filters, np.asarray(pixels.mean))


def embedding_graph(network: Network, *, name: str, metadata: Mapping[str, str]) -> bytes:
    """Build the ONNX file of a network that turns a face crop into a vector.

    Parameters
    ----------
    network : Network
        Trained with a metric loss, on images of one size.
    name : str
        Name of the graph.
    metadata : mapping of str to str
        Stored in the file.

    Returns
    -------
    bytes
        ONNX: ``crops`` uint8 (batch, rows, columns, 3) RGB to ``embeddings`` float32 (batch, d).

    Raises
    ------
    ModelError
        If the network is of another kind or its layers do not fit each other.
    """
    if network.input.size is None or network.loss.name != "loss_metric_2":
        raise ModelError(
            f"a network with input {network.input.name!r} and loss {network.loss.name!r} "
            "does not embed crops: 'input_rgb_image_sized' and 'loss_metric_2' are wanted"
        )
    rows, columns = network.input.size
    builder = GraphBuilder(name)
    # First the cast, to float32: it is all that TensorRT can do to bytes.
    values = builder.node("Cast", "crops", to=1)
    pixels = builder.node("Transpose", values, perm=[0, 3, 1, 2])
    graph = LayerGraph(builder, Value(pixels, 3, rows, columns), pixels=network.input)
    graph.append(network.layers)
    if graph.value.shape[1:] != (1, 1):
        raise ModelError(f"the network ends in a value of {graph.value.shape}, not in a vector")
    builder.node("Flatten", graph.value.name, output="embeddings", axis=1)
    return builder.finish(
        inputs={"crops": (np.uint8, [BATCH, rows, columns, 3])},
        outputs={"embeddings": (np.float32, [BATCH, graph.value.channels])},
        metadata=metadata,
    )


def scores_graph(network: Network, *, name: str, metadata: Mapping[str, str]) -> bytes:
    """Build the ONNX file of a network that scores every place of an image.

    Parameters
    ----------
    network : Network
        A detector, trained with the max-margin loss on image pyramids.
    name : str
        Name of the graph.
    metadata : mapping of str to str
        Stored in the file.

    Returns
    -------
    bytes
        ONNX: ``canvas`` float32 (batch, 3, rows, columns), a tiled pyramid of pixels scaled to
        ``(rgb - mean) / 256``, to ``scores`` float32 (batch, 1, fewer rows, fewer columns).

    Raises
    ------
    ModelError
        If the network is of another kind or its layers do not fit each other.
    """
    if network.input.pyramid_padding is None or network.loss.name != "loss_mmod_":
        raise ModelError(
            f"a network with input {network.input.name!r} and loss {network.loss.name!r} is no "
            "detector: 'input_rgb_image_pyramid' and 'loss_mmod_' are wanted"
        )
    builder = GraphBuilder(name)
    # The pixels are scaled before they are tiled: what lies between two levels is exactly 0.
    graph = LayerGraph(builder, Value("canvas", 3, None, None))
    graph.append(network.layers)
    if graph.value.channels != 1:
        raise ModelError(f"the detector gives {graph.value.channels} scores a place, not one")
    builder.node("Identity", graph.value.name, output="scores")
    return builder.finish(
        inputs={"canvas": (np.float32, [BATCH, 3, "rows", "columns"])},
        outputs={"scores": (np.float32, [BATCH, 1, "score_rows", "score_columns"])},
        metadata=metadata,
    )
