"""Reading an ONNX file that came from anywhere, without trusting it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastface.errors import ModelError
from fastface.models.onnx_graph import import_onnx

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

__all__ = ["check_onnx", "read_onnx"]

_STANDARD_DOMAINS = ("", "ai.onnx")
_OLDEST_OPSET = 7  # from here on, operators broadcast as NumPy does
# Protocol buffers cannot hold more in one message.
_MAX_BYTES = 2**31 - 1
# No value between the layers of a network for face crops comes near this, for one crop.
_MAX_ELEMENTS_PER_CROP = 1 << 28
_MAX_DEPTH = 16


def read_onnx(path: Path) -> tuple[ModelProto, bool]:
    """Read and check an ONNX file, with its external data.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    model : ModelProto
        With all tensors inside.
    has_external_data : bool
        Whether some of them lay in other files.

    Raises
    ------
    ModelError
        If it is truncated or not ONNX, uses operators outside the standard, keeps data outside
        its own folder, claims sizes no such network has, or fails ONNX's own checker.
    """
    onnx = import_onnx()
    model = _parse(path)
    _check_domains(path, model)
    external = [tensor for tensor in _tensors(model.graph) if tensor.external_data]
    _check_external(path, external)
    try:
        if external:
            onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
        # Where the checker is lenient: a tensor's bytes must be as many as its shape says.
        for tensor in _tensors(model.graph):
            onnx.numpy_helper.to_array(tensor)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, data_prop=True)
    except MemoryError:
        raise
    except Exception as error:  # onnx raises a dozen unrelated types on damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path} is not a valid ONNX file: {reason}") from error
    _check_sizes(path, inferred.graph)
    del model.graph.value_info[:]
    model.graph.value_info.extend(inferred.graph.value_info)
    for output, seen in zip(model.graph.output, inferred.graph.output, strict=True):
        output.type.CopyFrom(seen.type)
    return model, bool(external)


def check_onnx(path: Path) -> None:
    """Check that a runtime can be trusted with a file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ModelError
        If it cannot be read, is not ONNX, or is built to do harm; the message says in what.
    """
    if not path.is_file():
        raise ModelError(f"{path} is no file")
    read_onnx(path)


def _parse(path: Path) -> ModelProto:
    onnx = import_onnx()
    try:
        size = path.stat().st_size
        if not 0 < size <= _MAX_BYTES:
            raise ModelError(f"{path} has {size} bytes; an ONNX file has 1 to {_MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    model: ModelProto = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, whose module moves between releases
        raise ModelError(
            f"{path} is not an ONNX file, or is truncated ({size} bytes): {error}"
        ) from error
    if not model.graph.node:
        raise ModelError(f"{path} holds no ONNX graph; is it another kind of file, or truncated?")
    return model


def _nodes(graph: GraphProto, depth: int = 0) -> Iterator[NodeProto]:
    """Yield every node, those of subgraphs too."""
    if depth > _MAX_DEPTH:
        raise ModelError(f"graphs are nested more than {_MAX_DEPTH} deep")
    for node in graph.node:
        yield node
        for subgraph in _subgraphs(node):
            yield from _nodes(subgraph, depth + 1)


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every stored tensor of a graph and its subgraphs."""
    yield from graph.initializer
    for node in _nodes(graph):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for subgraph in _subgraphs(node):
            yield from subgraph.initializer


def _check_domains(path: Path, model: ModelProto) -> None:
    # Functions can call each other so that a few lines expand to billions of nodes.
    if model.functions:
        raise ModelError(
            f"{path} defines functions of its own; export it with them inlined "
            "(onnx.inliner.inline_local_functions)"
        )
    for node in _nodes(model.graph):
        if node.domain not in _STANDARD_DOMAINS:
            raise ModelError(
                f"{path} uses the operator {node.domain}.{node.op_type}, which is not standard "
                "ONNX; export it with standard operators only"
            )
    versions = [o.version for o in model.opset_import if o.domain in _STANDARD_DOMAINS]
    if not versions:
        raise ModelError(f"{path} does not say which version of ONNX it uses; is it truncated?")
    if min(versions) < _OLDEST_OPSET:
        raise ModelError(
            f"{path} uses opset {min(versions)}; export it with opset {_OLDEST_OPSET} or newer "
            "(onnx.version_converter can raise it)"
        )


def _check_external(path: Path, tensors: list[TensorProto]) -> None:
    folder = path.parent.resolve()
    total = path.stat().st_size
    for tensor in tensors:
        fields = {entry.key: entry.value for entry in tensor.external_data}
        location = fields.get("location", "")
        if not isinstance(location, str) or "\0" in location:  # not UTF-8: protobuf gives bytes
            raise ModelError(f"{path} keeps the data of {tensor.name!r} in {location!r}, no name")
        target = (folder / location).resolve()
        if not location or os.path.isabs(location) or not target.is_relative_to(folder):
            raise ModelError(
                f"{path} keeps the data of {tensor.name!r} in {location!r}, outside its own folder"
            )
        if not target.is_file():
            raise ModelError(f"{path} needs its data file {location!r} beside it")
        size = target.stat().st_size
        offset, length = (_whole_number(path, fields, key) for key in ("offset", "length"))
        length = size - offset if "length" not in fields else length
        if length < 0 or offset + length > size:
            raise ModelError(
                f"{path} wants {length} bytes at {offset} of {location!r}, which has {size}: "
                "truncated?"
            )
        total += length
    if total > _MAX_BYTES:
        raise ModelError(f"{path} and its data come to {total} bytes; at most {_MAX_BYTES} can be")


def _whole_number(path: Path, fields: dict[str, str], key: str) -> int:
    text = fields.get(key, "0")
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"{path} gives {text!r} as the {key} of external data")
    return int(text)


def _check_sizes(path: Path, graph: GraphProto) -> None:
    for value in (*graph.value_info, *graph.output):
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        elements = math.prod(max(1, size) for size in dims)
        if elements > _MAX_ELEMENTS_PER_CROP:
            raise ModelError(
                f"{path} computes {value.name!r} of shape {dims}: too large to be meant"
            )
