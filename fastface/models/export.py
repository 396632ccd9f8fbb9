"""A model as one file to take elsewhere."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from fastface.models.cache import write_file
from fastface.models.load import Model, load
from fastface.models.onnx_graph import import_onnx
from fastface.models.precision import change_precision
from fastface.models.quantize import Ranges
from fastface.models.spec import ModelSpec

__all__ = ["export"]


def export(
    model: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    spec: ModelSpec | str | None = None,
    precision: str = "fp32",
    ranges: Ranges | None = None,
    symmetric: bool = False,
    normalize: bool = False,
) -> Model:
    """Write a model as one ONNX file.

    It takes uint8 RGB crops (n, height, width, 3), n free, has its preprocessing inside, carries
    its spec, and passes ONNX's checker and shape inference.  The same call writes the same bytes.

    Parameters
    ----------
    model : str or path
        A name, or an ONNX file of yours; see `fastface.models.load`.
    path : path-like
        What to write; an existing file is replaced, whole.
    spec : ModelSpec or str, optional
        For a file: what it is.
    precision : {"fp32", "fp16", "bf16", "int8"}
        Half precisions are typed throughout: for GPUs.
    ranges, symmetric
        For ``"int8"``: see `fastface.models.change_precision`.
    normalize : bool
        Scale every vector to length 1 in the graph.

    Returns
    -------
    Model
        The written file.

    Raises
    ------
    ModelError, InvalidInputError, MissingDependencyError
        See `fastface.models.load` and `fastface.models.change_precision`.
    StorageError
        If the file cannot be written.
    """
    made = change_precision(load(model, spec), precision, ranges=ranges, symmetric=symmetric)
    data = made.onnx_path.read_bytes()
    described = made.spec
    if normalize:
        described = replace(described, typical_norm=1.0)
        data = _normalized(data, described)
    target = Path(path)
    write_file(target, data)
    digest = hashlib.sha256(data).hexdigest()
    return replace(made, spec=described, onnx_path=target, sha256=digest)


def _normalized(data: bytes, spec: ModelSpec) -> bytes:
    """Append the scaling to length 1."""
    onnx = import_onnx()
    proto = onnx.load_model_from_string(data)
    (output,) = proto.graph.output
    inner = f"{output.name}_unscaled"
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == output.name:
                    names[place] = inner
    node = onnx.helper.make_node("LpNormalization", [inner], [output.name], axis=-1, p=2)
    proto.graph.node.append(node)
    for entry in proto.metadata_props:
        if entry.key == "fastface.spec":
            entry.value = spec.to_json()
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))
