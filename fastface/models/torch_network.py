"""dlib's networks as PyTorch modules, and PyTorch modules as models.

The module is built from the same reader as the ONNX file, by other code: two ways that must agree
with each other and with dlib.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastface.errors import MissingDependencyError, ModelError
from fastface.models.dlib import Network, read_network
from fastface.models.dlib.layers import (
    AddPrevious,
    BatchNorm,
    Convolution,
    FullyConnected,
    Pool,
    Relu,
    Scale,
    TagOrSkip,
)
from fastface.models.export import export
from fastface.models.load import Model
from fastface.models.onnx_graph import OPSET
from fastface.models.packaged import read_packaged
from fastface.models.registry import get_spec
from fastface.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["export_torch", "torch_module"]

_PIXEL_RANGE = 256.0


def _import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "torch", extra="torch", purpose="A PyTorch module"
        ) from error
    return torch


def torch_module(name: str = "dlib-resnet") -> torch.nn.Module:
    """Return a model of fastface's own as a PyTorch module.

    Parameters
    ----------
    name : str
        A registered model that brings its weights.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, on the CPU, in float32.  It takes uint8 RGB crops (n, height, width, 3)
        and gives (n, d); parameters can be trained further.

    Raises
    ------
    MissingDependencyError
        If PyTorch or the weights are not installed.
    ModelError
        If the model is a preset without weights, or its weights are not those that are known.
    """
    _import_torch()
    weights = get_spec(name).weights
    if weights is None:
        raise ModelError(f"{name!r} is a preset for a file of yours and brings no weights")
    network = read_network(read_packaged(weights), name=Path(weights.file).name)
    module: torch.nn.Module = _build(network).eval()
    return module


def export_torch(
    module: torch.nn.Module,
    spec: ModelSpec | str,
    path: str | os.PathLike[str],
    *,
    precision: str = "fp32",
) -> Model:
    """Write a PyTorch module as a model: one ONNX file with its preprocessing inside.

    Parameters
    ----------
    module : torch.nn.Module
        Takes float32 images (n, 3, height, width), as `spec` prepares them, and gives (n, d).  It
        is exported as in evaluation mode, and left as it was.
    spec : ModelSpec or str
        What it is; a name is that of a preset.
    path : path-like
        What to write.
    precision : {"fp32", "fp16", "bf16"}
        Arithmetic of the file.

    Returns
    -------
    Model
        The written file.

    Raises
    ------
    MissingDependencyError
        If PyTorch is not installed.
    ModelError
        If the module cannot be exported, or is not what the spec says.
    StorageError
        If the file cannot be written.
    """
    torch = _import_torch()
    spec = get_spec(spec) if isinstance(spec, str) else spec
    was_training = module.training
    example = torch.zeros(2, 3, *spec.input_size)
    with tempfile.TemporaryDirectory(prefix="fastface-") as folder:
        raw = Path(folder) / "module.onnx"
        try:
            with warnings.catch_warnings():
                # The exporter that needs no further package says that it is the older one.
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    module.eval(),
                    (example,),
                    str(raw),
                    input_names=["images"],
                    output_names=["embeddings"],
                    dynamic_axes={"images": {0: "batch"}, "embeddings": {0: "batch"}},
                    opset_version=OPSET,
                    dynamo=False,
                )
        except Exception as error:  # whatever a module's own code raises
            raise ModelError(
                f"{type(module).__name__} cannot be exported on images of "
                f"{tuple(example.shape)}: {error}"
            ) from error
        finally:
            module.train(was_training)
        return export(raw, path, spec=spec, precision=precision)


def _build(network: Network) -> Any:
    """Return a module that applies the layers one after the other."""
    torch = _import_torch()
    nn = torch.nn

    class DlibNetwork(nn.Module):  # type: ignore[misc,name-defined]
        """Layers in dlib's order; strings stand for what has no parameters but the flow."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor(network.input.mean).view(1, 3, 1, 1))
            self.steps = nn.ModuleList()
            self.flow: list[str | int] = []
            for kind, run in groupby(network.layers, type):
                group = list(run)
                if kind is TagOrSkip:
                    self.flow.append("tag" if len(group) == 1 else "skip")
                    continue
                for layer in group:
                    if isinstance(layer, AddPrevious):
                        self.flow.append("add")
                    else:
                        self.flow.append(len(self.steps))
                        self.steps.append(_layer(torch, layer))

        def forward(self, crops: Any) -> Any:
            x = (crops.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / _PIXEL_RANGE
            first = second = None
            for step in self.flow:
                if step == "tag":
                    first = x
                elif step == "skip":
                    second, x = x, first
                elif step == "add":
                    x = _add(nn.functional, x, first if second is None else second)
                    first = second = None
                else:
                    x = self.steps[step](x)
            return x.flatten(1)

    return DlibNetwork()


def _add(functional: Any, a: Any, b: Any) -> Any:
    """Add two values, the smaller padded with zeros at the end of each axis."""

    def pad(value: Any) -> Any:
        missing = [max(p, q) - q for p, q in zip(a.shape, b.shape, strict=True)]
        if value is a:
            missing = [max(p, q) - p for p, q in zip(a.shape, b.shape, strict=True)]
        return functional.pad(value, (0, missing[3], 0, missing[2], 0, missing[1]))

    return pad(a) + pad(b)


def _layer(torch: Any, layer: object) -> Any:
    """Return the module of one layer."""
    nn = torch.nn
    if isinstance(layer, BatchNorm):
        layer = layer.as_scale()
    if isinstance(layer, Convolution):
        out, into, *window = layer.filters.shape
        module = nn.Conv2d(into, out, window, layer.stride, layer.padding)
        _fill(torch, module.weight, layer.filters)
        _fill(torch, module.bias, layer.biases)
        return module
    if isinstance(layer, Scale):
        # A convolution of 1 × 1 in which every channel stands alone.
        n = layer.gamma.size
        module = nn.Conv2d(n, n, 1, groups=n)
        _fill(torch, module.weight, layer.gamma.reshape(n, 1, 1, 1))
        _fill(torch, module.bias, layer.beta)
        return module
    if isinstance(layer, Relu):
        return nn.ReLU()
    if isinstance(layer, Pool):
        if layer.window == (0, 0):
            return nn.AdaptiveMaxPool2d(1) if layer.kind == "max" else nn.AdaptiveAvgPool2d(1)
        if layer.kind == "max":
            return nn.MaxPool2d(layer.window, layer.stride, layer.padding)
        return nn.AvgPool2d(layer.window, layer.stride, layer.padding, count_include_pad=False)
    if isinstance(layer, FullyConnected):
        n_inputs, n_outputs = layer.weights.shape
        linear = nn.Linear(n_inputs, n_outputs, bias=layer.biases is not None)
        _fill(torch, linear.weight, layer.weights.T)
        if layer.biases is not None:
            _fill(torch, linear.bias, layer.biases)
        return nn.Sequential(nn.Flatten(), linear)
    raise ModelError(f"a layer of kind {type(layer).__name__} cannot be converted")


def _fill(torch: Any, parameter: Any, values: Any) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
