"""Half precision: files computed in it throughout, and files that only round to it.

The first are for GPUs, whose runtimes take each value's type from the file.  The second run
anywhere in single precision, and round every value to half precision between two operators, as a
GPU does that multiplies in half and adds up in single precision: they show on a CPU what half
precision will cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastface.errors import ModelError
from fastface.models.onnx_graph import import_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["HALF_TYPES", "round_to_half", "to_half"]

HALF_TYPES = {"fp16": "FLOAT16", "bf16": "BFLOAT16"}

# Inputs that ONNX wants in single precision whatever the others are: (operator, position).
_STAYS_SINGLE = {("Resize", 1), ("Resize", 2), ("Upsample", 1)}
_SUFFIX = "_half"
_LARGEST_FP16 = 65504.0


def to_half(model: ModelProto, precision: str) -> None:
    """Make a network compute in half precision, in place; its input and output keep their types.

    Parameters
    ----------
    model : ModelProto
        In single precision, taking uint8.
    precision : {"fp16", "bf16"}

    Raises
    ------
    ModelError
        If it has subgraphs, or weights that half precision cannot hold.
    """
    onnx = import_onnx()
    graph = model.graph
    _refuse_subgraphs(graph)
    single, half = onnx.TensorProto.FLOAT, _half_type(precision)
    stays = {
        node.input[position]
        for node in graph.node
        for operator, position in _STAYS_SINGLE
        if node.op_type == operator and len(node.input) > position
    }
    for tensor in graph.initializer:
        if tensor.data_type == single and tensor.name not in stays:
            tensor.CopyFrom(_half_tensor(tensor, precision))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                attribute.i = half
            elif (
                attribute.HasField("t")
                and attribute.t.data_type == single
                and node.output[0] not in stays
            ):
                attribute.t.CopyFrom(_half_tensor(attribute.t, precision))
    del graph.value_info[:]
    for output in graph.output:
        _rename(graph, output.name, output.name + _SUFFIX)
        graph.node.append(
            onnx.helper.make_node("Cast", [output.name + _SUFFIX], [output.name], to=single)
        )
    if precision == "bf16":
        _raise_opset(model, 22)  # the first in which convolutions and pools take bfloat16
    onnx.checker.check_model(model, full_check=True)


def round_to_half(model: ModelProto, precision: str) -> None:
    """Make a network round weights and values between operators to half precision, in place.

    Parameters
    ----------
    model : ModelProto
        In single precision; it stays so.
    precision : {"fp16", "bf16"}

    Raises
    ------
    ModelError
        If it has subgraphs, or weights that half precision cannot hold.
    """
    onnx = import_onnx()
    graph = model.graph
    _refuse_subgraphs(graph)
    single, half = onnx.TensorProto.FLOAT, _half_type(precision)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True)
    floats = {
        value.name
        for value in (*inferred.graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == single
    }
    for tensor in graph.initializer:
        if tensor.data_type == single:
            rounded = onnx.numpy_helper.to_array(_half_tensor(tensor, precision))
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded.astype(np.float32), tensor.name))
    nodes = []
    for node in graph.node:
        nodes.append(node)
        for place, name in enumerate(node.output):
            if name in floats and node.op_type != "Constant":
                node.output[place] = exact = f"{name}_exact"
                nodes.append(onnx.helper.make_node("Cast", [exact], [name + _SUFFIX], to=half))
                nodes.append(onnx.helper.make_node("Cast", [name + _SUFFIX], [name], to=single))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)


def _half_type(precision: str) -> int:
    value: int = import_onnx().TensorProto.DataType.Value(HALF_TYPES[precision])
    return value


def _half_tensor(tensor: Any, precision: str) -> Any:
    onnx = import_onnx()
    values = onnx.numpy_helper.to_array(tensor)
    if precision == "fp16" and values.size and np.abs(values).max() > _LARGEST_FP16:
        raise ModelError(
            f"weights {tensor.name!r} reach {np.abs(values).max():.3g}, and fp16 ends at "
            f"{_LARGEST_FP16:.0f}: use precision='bf16'"
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(_half_type(precision))
    return onnx.numpy_helper.from_array(values.astype(dtype), tensor.name)


def _refuse_subgraphs(graph: Any) -> None:
    for node in graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ModelError(
                f"the network branches ({node.op_type}): only straight ones change their precision"
            )


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _raise_opset(model: ModelProto, version: int) -> None:
    onnx = import_onnx()
    if model.opset_import[0].version < version:
        raised = onnx.version_converter.convert_version(model, version)
        metadata = list(model.metadata_props)
        model.CopyFrom(raised)
        del model.metadata_props[:]
        model.metadata_props.extend(metadata)
        model.ir_version = max(model.ir_version, 10)
