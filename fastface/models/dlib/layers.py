"""The layers a dlib network file can hold, and how each writes its details.

Arrays come out in the shapes the field uses; what only training needs is read and dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastface.models.dlib.stream import ByteStream

__all__ = [
    "AddPrevious",
    "BatchNorm",
    "Convolution",
    "FullyConnected",
    "Layer",
    "Pool",
    "Relu",
    "Scale",
    "TagOrSkip",
    "read_layer",
]

Vector = NDArray[np.float32]
Pair = tuple[int, int]  # y, x

# Far above any real layer, far below what could exhaust memory.
_MAX_SIDE = 1 << 12
_MAX_CHANNELS = 1 << 16


@dataclass(frozen=True, eq=False)
class Convolution:
    """Cross-correlation with bias."""

    filters: NDArray[np.float32]  # (output channels, input channels, rows, columns)
    biases: Vector
    stride: Pair
    padding: Pair


@dataclass(frozen=True, eq=False)
class Scale:
    """``gamma * x + beta`` for each channel: batch normalisation after training."""

    gamma: Vector
    beta: Vector


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """Batch normalisation that still carries its running statistics."""

    gamma: Vector
    beta: Vector
    mean: Vector
    variance: Vector
    eps: float

    def as_scale(self) -> Scale:
        """Return the same map with the running statistics folded in."""
        gamma = self.gamma / np.sqrt(self.variance.astype(np.float64) + self.eps)
        beta = self.beta - gamma * self.mean
        return Scale(gamma.astype(np.float32), beta.astype(np.float32))


@dataclass(frozen=True)
class Pool:
    """Largest or mean value of each window; ``window == (0, 0)`` pools everything."""

    kind: Literal["max", "average"]
    window: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True, eq=False)
class FullyConnected:
    """``x @ weights + biases`` over all channels, rows and columns of a sample."""

    weights: NDArray[np.float32]  # (inputs, outputs)
    biases: Vector | None


@dataclass(frozen=True)
class Relu:
    """``max(x, 0)``."""


@dataclass(frozen=True)
class AddPrevious:
    """Add a value kept earlier, both padded with zeros to the larger size of each axis."""


@dataclass(frozen=True)
class TagOrSkip:
    """Keep the current value, or go back to a kept one: the file does not say which."""


Layer = (
    Convolution
    | Scale
    | BatchNorm
    | Pool
    | FullyConnected
    | Relu
    | AddPrevious
    | TagOrSkip
)  # fmt: skip


def read_layer(stream: ByteStream) -> Layer:
    """Read one computational layer: its name and its details."""
    start = stream.position
    name = stream.text("a layer's name")
    reader = _READERS.get(name)
    if reader is None:
        raise stream.error(
            f"unknown layer {name!r} at byte {start}; known: {', '.join(sorted(_READERS))}"
        )
    return reader(stream)


def _pair(stream: ByteStream, what: str, *, low: int) -> Pair:
    y = stream.integer(f"{what} (y)", low=low, high=_MAX_SIDE)
    x = stream.integer(f"{what} (x)", low=low, high=_MAX_SIDE)
    return y, x


def _skip_training_rates(stream: ByteStream) -> None:
    for what in ("learning rate", "weight decay", "bias learning rate", "bias weight decay"):
        stream.finite_real(f"a layer's {what} multiplier")


def _split(
    stream: ByteStream, what: str, params: NDArray[np.float32], *sizes: int
) -> list[NDArray[np.float32]]:
    """Cut a parameter tensor into consecutive pieces that must use it up."""
    if params.size != sum(sizes):
        raise stream.error(
            f"{what} has {params.size} parameters at byte {stream.position}, "
            f"its shape needs {sum(sizes)}"
        )
    return np.split(params.reshape(-1), np.cumsum(sizes)[:-1])


def _require(stream: ByteStream, holds: bool, problem: str) -> None:
    if not holds:
        raise stream.error(f"{problem} (before byte {stream.position})")


def _convolution(stream: ByteStream) -> Convolution:
    params = stream.tensor("the parameters of a convolution")
    n_filters = stream.integer("number of filters", low=1, high=_MAX_CHANNELS)
    window = _pair(stream, "filter size", low=1)
    stride = _pair(stream, "convolution stride", low=1)
    padding = _pair(stream, "convolution padding", low=0)
    shape = stream.alias("the filters of a convolution")
    biases_shape = stream.alias("the biases of a convolution")
    _skip_training_rates(stream)
    _require(
        stream,
        (shape[0], *shape[2:]) == (n_filters, *window) and shape[1] >= 1,
        f"filters of shape {shape} do not fit {n_filters} filters of {window}",
    )
    _require(
        stream,
        math.prod(biases_shape) == n_filters,
        f"biases of shape {biases_shape} do not fit {n_filters} filters",
    )
    filters, biases = _split(stream, "a convolution", params, math.prod(shape), n_filters)
    return Convolution(filters.reshape(shape), biases, stride, padding)


def _gamma_beta(stream: ByteStream, what: str) -> tuple[Vector, Vector]:
    params = stream.tensor(f"the parameters of {what}")
    n_gamma = math.prod(stream.alias(f"gamma of {what}"))
    n_beta = math.prod(stream.alias(f"beta of {what}"))
    _require(stream, n_gamma == n_beta >= 1, f"{what} has {n_gamma} gammas and {n_beta} betas")
    gamma, beta = _split(stream, what, params, n_gamma, n_beta)
    return gamma, beta


def _scale(stream: ByteStream) -> Scale:
    gamma, beta = _gamma_beta(stream, "an affine layer")
    # 0 scales each channel, 1 each value of a flat vector; after a convolution only 0 is right.
    stream.integer("mode of an affine layer (0: convolutional)", low=0, high=0)
    return Scale(gamma, beta)


def _batch_norm(stream: ByteStream) -> BatchNorm:
    gamma, beta = _gamma_beta(stream, "a batch normalisation")
    stream.tensor("batch means")
    stream.tensor("batch inverse deviations")
    mean = stream.tensor("running means").reshape(-1)
    variance = stream.tensor("running variances").reshape(-1)
    stream.integer("number of updates", low=0)
    stream.integer("running statistics window", low=0)
    _skip_training_rates(stream)
    eps = stream.finite_real("eps of a batch normalisation")
    _require(
        stream,
        mean.size == variance.size == gamma.size,
        f"{gamma.size} gammas, {mean.size} running means, {variance.size} running variances",
    )
    _require(stream, eps > 0 and bool((variance >= 0).all()), "a variance or its eps is negative")
    return BatchNorm(gamma, beta, mean, variance, eps)


def _pool(stream: ByteStream, kind: Literal["max", "average"]) -> Pool:
    window = _pair(stream, f"{kind} pooling window", low=0)
    stride = _pair(stream, f"{kind} pooling stride", low=1)
    padding = _pair(stream, f"{kind} pooling padding", low=0)
    whole = window == (0, 0)
    _require(stream, whole or min(window) > 0, f"pooling window {window} is empty")
    _require(stream, not (whole and max(padding)), "pooling over everything cannot be padded")
    _require(stream, whole or all(p < w for p, w in zip(padding, window, strict=True)),
             f"pooling padding {padding} is not smaller than its window {window}")  # fmt: skip
    return Pool(kind, window, stride, padding)


def _fully_connected(stream: ByteStream) -> FullyConnected:
    n_outputs = stream.integer("outputs of a fully connected layer", low=1, high=_MAX_CHANNELS)
    n_inputs = stream.integer("inputs of a fully connected layer", low=1, high=2**24)
    params = stream.tensor("the parameters of a fully connected layer")
    n_weights = math.prod(stream.alias("the weights of a fully connected layer"))
    stream.alias("the biases of a fully connected layer")
    without_bias = stream.integer("bias mode (0: has bias, 1: none)", low=0, high=1) == 1
    _skip_training_rates(stream)
    _require(
        stream,
        n_weights == n_inputs * n_outputs,
        f"{n_weights} weights do not fit {n_inputs} inputs and {n_outputs} outputs",
    )
    what = "a fully connected layer"
    n_biases = 0 if without_bias else n_outputs
    weights, biases = _split(stream, what, params, n_weights, n_biases)
    shaped = weights.reshape(n_inputs, n_outputs)
    return FullyConnected(shaped, None if without_bias else biases)


_READERS: dict[str, Callable[[ByteStream], Layer]] = {
    "add_prev_": lambda _: AddPrevious(),
    "affine_": _scale,
    "avg_pool_2": lambda stream: _pool(stream, "average"),
    "bn_con2": _batch_norm,
    "con_4": _convolution,
    "fc_2": _fully_connected,
    "max_pool_2": lambda stream: _pool(stream, "max"),
    "relu_": lambda _: Relu(),
}
