"""Taking out of a graph what does not depend on its input, before anything else is done to it.

Four rewrites, each exact or rounded once: what is constant is computed, what does nothing is left
out, what nobody uses is dropped, and a batch normalisation joins the convolution or product before
it (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2).  Without the last, eight bits would
have to hold values before they are scaled.

The general simplifiers are not used: they run a file's operators before anything was checked, bring
a compiled package, and promise no two runs the same bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.models.onnx_graph import import_onnx

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["simplify"]

_IDLE = ("Identity", "Dropout")
# Nothing that a graph computes from constants alone needs more; larger results stay operators.
_MAX_ELEMENTS = 1 << 20
_CHANGING = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli",
             "Multinomial")  # fmt: skip
_CONSTANTS_FROM_HERE_ON = 4  # IR version


def simplify(model: ModelProto) -> None:
    """Simplify a checked graph, in place; the same file gives the same bytes.

    Parameters
    ----------
    model : ModelProto
        Its shapes must have been inferred: how large a constant would become is read from them.
    """
    _Simplifier(model).run()


class _Simplifier:
    def __init__(self, model: ModelProto) -> None:
        self._onnx = import_onnx()
        self._model = model
        self._graph = model.graph
        self._stored: dict[str, Any] = {t.name: t for t in self._graph.initializer}
        self._outputs = {output.name for output in self._graph.output}
        inner = [graph for node in self._graph.node for graph in _inner_graphs(node)]
        # Names that others go by: a branch of an If reads values around it.
        self._fixed = self._outputs.union(*map(_reads, inner))

    def run(self) -> None:
        self._own_constants()
        self._drop_idle()
        self._fold_constants()
        self._fold_normalisation()
        self._drop_unused()
        del self._graph.value_info[:]

    def _own_constants(self) -> None:
        """Old files list constants among the inputs, as if a caller could give others."""
        kept = [value for value in self._graph.input if value.name not in self._stored]
        del self._graph.input[:]
        self._graph.input.extend(kept)
        self._model.ir_version = max(self._model.ir_version, _CONSTANTS_FROM_HERE_ON)

    def _drop_idle(self) -> None:
        renamed: dict[str, str] = {}
        nodes = []
        for node in self._graph.node:
            _rename_inputs(node, renamed)
            idle = node.op_type in _IDLE and not any(node.output[1:])
            if idle and node.output[0] not in self._fixed and not _trains(node, self._stored):
                renamed[node.output[0]] = node.input[0]
            else:
                nodes.append(node)
        self._set_nodes(nodes)

    def _fold_constants(self) -> None:
        sizes = {value.name: _count(value) for value in self._graph.value_info}
        nodes = []
        for node in self._graph.node:
            values = self._evaluate(node, sizes)
            if values is None:
                nodes.append(node)
            for name, value in zip(node.output, values or (), strict=False):
                self._stored[name] = self._onnx.numpy_helper.from_array(np.asarray(value), name)
        self._set_nodes(nodes)

    def _evaluate(self, node: NodeProto, sizes: dict[str, int]) -> list[Any] | None:
        """Return a node's outputs where they are constant and small, else None."""
        constant = all(name in self._stored for name in node.input if name)
        if not constant or _inner_graphs(node) or node.op_type in _CHANGING or not node.output[0]:
            return None
        if any(name in self._outputs for name in node.output):
            return None
        if node.op_type != "Constant" and sizes.get(node.output[0], 0) > _MAX_ELEMENTS:
            return None
        inputs = {n: self._onnx.numpy_helper.to_array(self._stored[n]) for n in node.input if n}
        opsets = [o for o in self._model.opset_import if o.domain in ("", "ai.onnx")]
        from onnx.reference import ReferenceEvaluator

        try:
            run = ReferenceEvaluator(node, opsets={"": opsets[0].version}).run
            return list(run(None, inputs))
        except Exception:  # an operator that the evaluator lacks: it stays what it is
            return None

    def _fold_normalisation(self) -> None:
        uses = Counter(name for node in self._graph.node for name in node.input)
        makers = {name: node for node in self._graph.node for name in node.output}
        nodes: list[Any] = []
        for node in self._graph.node:
            before = makers.get(node.input[0]) if node.input else None
            if (
                node.op_type == "BatchNormalization"
                and before is not None
                and uses[node.input[0]] == 1
                and node.input[0] not in self._fixed
                and self._join(before, node)
            ):
                before.output[0] = node.output[0]
                makers[node.output[0]] = before
            else:
                nodes.append(node)
        self._set_nodes(nodes)

    def _join(self, before: Any, node: Any) -> bool:
        """Make a convolution or product also do the normalisation after it, if it can."""
        if before.op_type not in ("Conv", "Gemm") or len(node.input) != 5:
            return False
        names = [*before.input[1:], *node.input[1:]]
        if not all(name in self._stored for name in names) or any(node.output[1:]):
            return False
        if any(a.name == "training_mode" and a.i for a in node.attribute):
            return False
        attributes = {a.name: self._onnx.helper.get_attribute_value(a) for a in before.attribute}
        if before.op_type == "Gemm" and (
            attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0
        ):
            return False
        weights = self._array(before.input[1])
        across = before.op_type == "Gemm" and not attributes.get("transB", 0)
        axis = 1 if across else 0
        gamma, beta, mean, variance = (self._array(name) for name in node.input[1:])
        eps = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = gamma / np.sqrt(variance + eps)
        bias = self._array(before.input[2]) if len(before.input) > 2 else np.zeros(len(factor))
        if bias.size != factor.size or weights.shape[axis] != factor.size:
            return False
        shape = [1] * weights.ndim
        shape[axis] = -1
        base = node.output[0]
        parts = {
            f"{base}_weights": weights * factor.reshape(shape),
            f"{base}_biases": (bias.ravel() - mean) * factor + beta,
        }
        if any(name in self._stored for name in parts):
            return False
        for name, values in parts.items():
            single = values.astype(np.float32)
            if not np.isfinite(single).all():
                return False
            self._stored[name] = self._onnx.numpy_helper.from_array(single, name)
        del before.input[1:]
        before.input.extend(parts)
        return True

    def _array(self, name: str) -> NDArray[np.float64]:
        array: NDArray[Any] = self._onnx.numpy_helper.to_array(self._stored[name])
        return array.astype(np.float64)

    def _drop_unused(self) -> None:
        wanted = set(self._outputs)
        kept = []
        for node in reversed(self._graph.node):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(node.input)
                wanted.update(*map(_reads, _inner_graphs(node)))
        self._set_nodes(kept[::-1])
        tensors = [tensor for name, tensor in self._stored.items() if name in wanted]
        del self._graph.initializer[:]
        self._graph.initializer.extend(tensors)

    def _set_nodes(self, nodes: list[Any]) -> None:
        # What a list holds belongs to the graph: it must be copied before the graph is emptied.
        copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del self._graph.node[:]
        self._graph.node.extend(copies)


def _rename_inputs(node: Any, renamed: dict[str, str]) -> None:
    for place, name in enumerate(node.input):
        node.input[place] = renamed.get(name, name)


def _trains(node: Any, stored: dict[str, Any]) -> bool:
    """Say whether a Dropout drops: only if its third input may be true."""
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    tensor = stored.get(node.input[2])
    return tensor is None or bool(import_onnx().numpy_helper.to_array(tensor).any())


def _inner_graphs(node: Any) -> list[Any]:
    return [
        graph
        for attribute in node.attribute
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
    ]


def _reads(graph: Any) -> set[str]:
    names = {name for node in graph.node for name in node.input}
    names.update(output.name for output in graph.output)
    return names.union(*(_reads(inner) for node in graph.node for inner in _inner_graphs(node)))


def _count(value: Any) -> int:
    return int(np.prod([max(1, d.dim_value) for d in value.type.tensor_type.shape.dim], initial=1))
