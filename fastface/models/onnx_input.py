"""Making any embedding network take uint8 RGB crops in NHWC layout.

Whatever a network wants (planes, BGR, its own normalisation) becomes part of its graph, so that
every runtime is fed alike and nobody can forget a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastface.errors import ModelError
from fastface.models.onnx_graph import BATCH, import_onnx, write_metadata
from fastface.models.simplify import simplify
from fastface.models.spec import ModelSpec

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

__all__ = ["Interface", "find_interface", "take_crops"]

_CROPS = "fastface_crops"
_CHANNELS = 3


@dataclass(frozen=True)
class Interface:
    """What a network takes and gives.

    Attributes
    ----------
    input_name, output_name : str
    takes_crops : bool
        Whether the input already is uint8 NHWC; preprocessing is then the network's own.
    layout : {"NCHW", "NHWC"}
    one_by_one : bool
        Whether it takes one image at a time.
    """

    input_name: str
    output_name: str
    takes_crops: bool
    layout: Literal["NCHW", "NHWC"]
    one_by_one: bool


def find_interface(path: Path, model: ModelProto, spec: ModelSpec) -> Interface:
    """Check that a network takes crops of the spec's size and gives vectors of its length.

    Parameters
    ----------
    path : Path
        For messages.
    model : ModelProto
        With inferred shapes.
    spec : ModelSpec
        What it should be.

    Returns
    -------
    Interface

    Raises
    ------
    ModelError
        If it does not: the message says in what.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(f"{path} must have one input, an image; it has {len(inputs)}: {names}")
    takes_crops, layout = _check_input(path, inputs[0], spec)
    one_by_one = _dims(inputs[0])[:1] == [1]  # type: ignore[index]
    output = _choose_output(path, list(model.graph.output), spec)
    _check_output(path, output, spec)
    return Interface(inputs[0].name, output.name, takes_crops, layout, one_by_one)


def _check_input(
    path: Path, value: ValueInfoProto, spec: ModelSpec
) -> tuple[bool, Literal["NCHW", "NHWC"]]:
    tensor = import_onnx().TensorProto
    dims = _dims(value)
    shown = f"{path}: input {value.name!r} of shape {_show(dims)}"
    element = value.type.tensor_type.elem_type
    if element not in (tensor.FLOAT, tensor.UINT8):
        raise ModelError(
            f"{shown} holds {_type_name(element)}; float32 or uint8 is wanted "
            "(convert half precision with keep_io_types=True)"
        )
    if dims is None or len(dims) != 4 or _CHANNELS not in (dims[1], dims[3]):
        raise ModelError(f"{shown} is no batch of colour images: (n, 3, h, w) or (n, h, w, 3)")
    layout: Literal["NCHW", "NHWC"] = "NCHW" if dims[1] == _CHANNELS else "NHWC"
    size = dims[2:] if layout == "NCHW" else dims[1:3]
    if any(isinstance(d, int) and d != s for d, s in zip(size, spec.input_size, strict=True)):
        raise ModelError(
            f"{shown} takes crops of {_show(size)}, but the spec {spec.name!r} says "
            f"{_show(list(spec.input_size))}: give the spec that belongs to this model"
        )
    if isinstance(dims[0], int) and dims[0] != 1:
        raise ModelError(
            f"{shown} has its batch dimension fixed at {dims[0]}; export the model with a dynamic "
            "batch (in PyTorch, dynamic_axes={'input': {0: 'batch'}, 'output': {0: 'batch'}})"
        )
    takes_crops = element == tensor.UINT8
    if takes_crops and layout != "NHWC":
        raise ModelError(f"{shown} holds uint8 in NCHW layout; uint8 crops are (n, h, w, 3)")
    return takes_crops, layout


def _choose_output(path: Path, outputs: list[ValueInfoProto], spec: ModelSpec) -> ValueInfoProto:
    names = ", ".join(output.name for output in outputs)
    if spec.output_name is not None:
        for output in outputs:
            if output.name == spec.output_name:
                return output
        raise ModelError(f"{path} has no output {spec.output_name!r}; it has: {names}")
    if len(outputs) != 1:
        raise ModelError(
            f"{path} has {len(outputs)} outputs ({names}); name the one with the embeddings: "
            "dataclasses.replace(spec, output_name=...)"
        )
    return outputs[0]


def _check_output(path: Path, value: ValueInfoProto, spec: ModelSpec) -> None:
    dims = _dims(value)
    shown = f"{path}: output {value.name!r} of shape {_show(dims)}"
    element = value.type.tensor_type.elem_type
    if element != import_onnx().TensorProto.FLOAT:
        raise ModelError(f"{shown} holds {_type_name(element)}; float32 is wanted")
    if dims is None:  # unknown until it runs; the runtime checks what really comes out
        return
    if len(dims) != 2:
        raise ModelError(f"{shown} is no batch of vectors (n, {spec.embedding_size})")
    if isinstance(dims[1], int) and dims[1] != spec.embedding_size:
        raise ModelError(
            f"{shown} gives vectors of {dims[1]} values, but the spec {spec.name!r} says "
            f"{spec.embedding_size}: dataclasses.replace(spec, embedding_size={dims[1]}) if that "
            "is right"
        )


def _dims(value: ValueInfoProto) -> list[int | str] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in tensor.shape.dim
    ]


def _show(dims: list[int | str] | list[int] | None) -> str:
    return "unknown" if dims is None else "×".join(map(str, dims)) or "()"


def _type_name(element: int) -> str:
    name: str = import_onnx().TensorProto.DataType.Name(element)
    return name.lower()


def take_crops(model: ModelProto, interface: Interface, spec: ModelSpec) -> None:
    """Put the preprocessing of the spec in front of a network, in place.

    Parameters
    ----------
    model : ModelProto
        Changed: its only input becomes uint8 (batch, h, w, 3) RGB, its only output the embeddings.
    interface : Interface
        From `find_interface`.
    spec : ModelSpec
        Says color order, mean and deviation; stored in the file's metadata.
    """
    onnx = import_onnx()
    graph = model.graph
    kept = [output for output in graph.output if output.name == interface.output_name]
    del graph.output[:]
    graph.output.extend(kept)
    simplify(model)
    if not interface.takes_crops:
        nodes, constants = _preprocessing(interface, spec)
        old = [type(node).FromString(node.SerializeToString()) for node in graph.node]
        del graph.node[:]
        graph.node.extend([*nodes, *old])
        graph.initializer.extend(constants)
        del graph.input[:]
        batch = 1 if interface.one_by_one else BATCH
        graph.input.append(
            onnx.helper.make_tensor_value_info(
                _CROPS, onnx.TensorProto.UINT8, [batch, *spec.input_size, _CHANNELS]
            )
        )
        if not interface.one_by_one:
            # The old name of the batch, or none, would contradict the new one.
            for output in graph.output:
                if output.type.tensor_type.HasField("shape"):
                    output.type.tensor_type.shape.dim[0].dim_param = BATCH
        onnx.checker.check_model(model, full_check=True)
    write_metadata(model, {"fastface.spec": spec.to_json()})


def _preprocessing(interface: Interface, spec: ModelSpec) -> tuple[list[Any], list[Any]]:
    """Return nodes, and their constants, that lead from crops to the network's old input."""
    onnx = import_onnx()
    nodes: list[Any] = []
    constants: list[Any] = []
    value = _CROPS

    def add(operator: str, *others: str, output: str = "", **attributes: Any) -> None:
        nonlocal value
        output = output or f"fastface_{operator.lower()}"
        nodes.append(onnx.helper.make_node(operator, [value, *others], [output], **attributes))
        value = output

    def constant(name: str, values: Any) -> str:
        name = f"fastface_{name}"
        constants.append(onnx.numpy_helper.from_array(values, name))
        return name

    planes = interface.layout == "NCHW"
    shape = (1, _CHANNELS, 1, 1) if planes else (1, 1, 1, _CHANNELS)
    add("Cast", to=onnx.TensorProto.FLOAT)  # first: it is all that TensorRT can do to bytes
    if spec.color_order == "bgr":
        add("Gather", constant("bgr", np.array([2, 1, 0], dtype=np.int64)), axis=3)
    if planes:
        add("Transpose", perm=[0, 3, 1, 2])
    add("Sub", constant("mean", np.array(spec.mean, dtype=np.float32).reshape(shape)))
    std = constant("std", np.array(spec.std, dtype=np.float32).reshape(shape))
    add("Div", std, output=interface.input_name)
    return nodes, constants
