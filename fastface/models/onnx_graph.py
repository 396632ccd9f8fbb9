"""Small tools to write and read ONNX files: the same graph gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import MissingDependencyError

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["IR_VERSION", "OPSET", "GraphBuilder", "import_onnx", "write_metadata"]

# Old enough for every runtime of the last years, new enough for all that is used here.
OPSET = 17
IR_VERSION = 8
BATCH = "batch"


def import_onnx() -> Any:
    """Return the `onnx` package, or raise the error that says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "onnx", extra="faces", purpose="preparing a model"
        ) from error
    return onnx


def write_metadata(model: ModelProto, metadata: Mapping[str, str]) -> None:
    """Set metadata of a model, in sorted order, in place of what it has under those names."""
    kept = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    for key, value in sorted((kept | dict(metadata)).items()):
        model.metadata_props.add(key=key, value=value)


class GraphBuilder:
    """Collects the nodes and constants of a graph, naming values by the order they come in.

    Parameters
    ----------
    name : str
        Name of the graph.
    """

    def __init__(self, name: str) -> None:
        self._onnx = import_onnx()
        self._name = name
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Store an array in the file and return its name."""
        if name in self._constants:
            raise ValueError(f"two constants are called {name!r}")
        self._constants[name] = self._onnx.numpy_helper.from_array(
            np.ascontiguousarray(values), name
        )
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append an operator with one output and return that output's name."""
        output = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(
            self._onnx.helper.make_node(
                operator, list(inputs), [output], name=f"node_{output}", **attributes
            )
        )
        return output

    def finish(
        self,
        *,
        inputs: Mapping[str, tuple[Any, Sequence[int | str]]],
        outputs: Mapping[str, tuple[Any, Sequence[int | str]]],
        metadata: Mapping[str, str],
    ) -> bytes:
        """Return the checked file.

        Parameters
        ----------
        inputs, outputs : mapping of str to (dtype, shape)
            NumPy dtypes; a dimension that varies is a string.
        metadata : mapping of str to str
            Stored in the file's ``metadata_props``.

        Returns
        -------
        bytes
            An ONNX file, after `onnx.checker` and strict shape inference.
        """
        helper = self._onnx.helper

        def declare(values: Mapping[str, tuple[Any, Sequence[int | str]]]) -> list[Any]:
            return [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape)
                )
                for name, (dtype, shape) in values.items()
            ]

        graph = helper.make_graph(
            self._nodes,
            self._name,
            declare(inputs),
            declare(outputs),
            initializer=list(self._constants.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="fastface",
        )
        write_metadata(model, metadata)
        self._onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
