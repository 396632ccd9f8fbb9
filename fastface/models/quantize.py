"""Eight-bit files: weights per channel, values by ranges measured on real crops.

Quantisation is written into the graph (``QuantizeLinear`` and ``DequantizeLinear`` around what is
computed in integers), so that every runtime makes the same of it (Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InvalidInputError, ModelError
from fastface.models.onnx_graph import import_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = [
    "MIN_CALIBRATION_CROPS",
    "Ranges",
    "check_calibration",
    "expose_values",
    "measure_ranges",
    "quantize",
]

Ranges = Mapping[str, tuple[float, float]]
"""Smallest and largest value to be kept apart, for each value of a graph."""

MIN_CALIBRATION_CROPS = 32

_WEIGHTED = ("Conv", "Gemm", "MatMul")
# Carried out on integers by the runtimes, or at least not between two conversions.
_CARRIED = (*_WEIGHTED, "Add", "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "MaxPool",
            "Pad", "Relu", "Reshape", "Transpose")  # fmt: skip
# A value that only goes into one of these is quantised after it: both become one step.
_ABSORBED = ("Relu", "Clip")
_FLAT = 1.0  # standard deviation of a crop's pixels, 0 to 255


def check_calibration(crops: NDArray[np.uint8]) -> None:
    """Refuse crops from which no ranges can be learnt.

    Parameters
    ----------
    crops : ndarray of uint8, shape (n, height, width, 3)

    Raises
    ------
    InvalidInputError
        If they are too few, or blank, or all the same.
    """
    if crops.ndim != 4 or crops.dtype != np.uint8:
        raise InvalidInputError(
            f"calibration crops are uint8 (n, height, width, 3), not {crops.dtype} {crops.shape}"
        )
    if len(crops) < MIN_CALIBRATION_CROPS:
        raise InvalidInputError(
            f"{len(crops)} crops are too few to calibrate by: give at least "
            f"{MIN_CALIBRATION_CROPS} of many people, better 200"
        )
    blank = [i for i, crop in enumerate(crops) if crop.std() < _FLAT]
    if len(blank) > len(crops) // 20:
        raise InvalidInputError(
            f"{len(blank)} of {len(crops)} calibration crops are blank, such as crop {blank[0]}: "
            "give crops of real faces, aligned for this model"
        )
    if len(crops) > 1 and not (crops != crops[0]).any():
        raise InvalidInputError("all calibration crops are the same image")


def expose_values(model: ModelProto) -> list[str]:
    """Make every float value of a graph an output of it, in place; return their names."""
    onnx = import_onnx()
    single = onnx.TensorProto.FLOAT
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True)
    known = {output.name for output in model.graph.output}
    values = [
        value
        for value in inferred.graph.value_info
        if value.type.tensor_type.elem_type == single and value.name not in known
    ]
    model.graph.output.extend(values)
    return [output.name for output in model.graph.output]


def quantize(model: ModelProto, ranges: Ranges, *, symmetric: bool = False) -> None:
    """Make a network compute in eight-bit integers, in place; input and output keep their types.

    Parameters
    ----------
    model : ModelProto
        In single precision.
    ranges : mapping of str to (float, float)
        What `expose_values` lists, measured on real crops.
    symmetric : bool
        Values as int8 around 0, which TensorRT asks for, instead of uint8 from the smallest to
        the largest, which keeps one more bit of what is never negative.

    Raises
    ------
    ModelError
        If the network has no layer that could be quantised, or a value has no range.
    """
    writer = _Writer(model, ranges, symmetric)
    if not writer.weighted:
        raise ModelError("the network has no convolution or matrix product with stored weights")
    writer.write()


class _Writer:
    """Rewrites one graph."""

    def __init__(self, model: ModelProto, ranges: Ranges, symmetric: bool) -> None:
        self._onnx = import_onnx()
        self._model = model
        self._graph = model.graph
        self._ranges = ranges
        self._symmetric = symmetric
        self._stored = {tensor.name: tensor for tensor in self._graph.initializer}
        self._uses = Counter(name for node in self._graph.node for name in node.input)
        self._scales: dict[str, float] = {}
        self._nodes: list[Any] = []
        self.weighted = [
            node
            for node in self._graph.node
            if node.op_type in _WEIGHTED and node.input[1] in self._stored
        ]

    def write(self) -> None:
        onnx = self._onnx
        consumers: dict[str, list[Any]] = {}
        for node in self._graph.node:
            for name in node.input:
                consumers.setdefault(name, []).append(node)
        outputs = {output.name for output in self._graph.output}
        renamed: dict[str, str] = {}
        for node in self._graph.node:
            for place, name in enumerate(node.input):
                node.input[place] = renamed.get(name, name)
            if any(node is other for other in self.weighted):
                self._quantize_weights(node)
            self._nodes.append(node)
            for name in node.output:
                into = consumers.get(name, [])
                absorbed = len(into) == 1 and into[0].op_type in _ABSORBED
                carried = any(other.op_type in _CARRIED for other in into)
                if name in self._ranges and name not in outputs and carried and not absorbed:
                    renamed[name] = self._quantize_value(name)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        kept = [tensor for name, tensor in self._stored.items() if name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
        del self._graph.value_info[:]
        onnx.checker.check_model(self._model, full_check=True)

    def _quantize_value(self, name: str) -> str:
        low, high = self._ranges[name]
        low, high = min(low, 0.0), max(high, 0.0)  # 0 must be exact: padding is made of it
        if high == low:
            high = 1.0
        zero: np.int8 | np.uint8
        if self._symmetric:
            scale, zero = max(-low, high) / 127, np.int8(0)
        else:
            scale = (high - low) / 255
            zero = np.uint8(round(-low / scale))
        self._scales[name] = float(np.float32(scale))
        parts = [name, self._store(f"{name}_scale", np.float32(scale)),
                 self._store(f"{name}_zero", zero)]  # fmt: skip
        integers, back = f"{name}_integers", f"{name}_rounded"
        self._nodes.append(self._onnx.helper.make_node("QuantizeLinear", parts, [integers]))
        self._nodes.append(
            self._onnx.helper.make_node("DequantizeLinear", [integers, *parts[1:]], [back])
        )
        self._scales[back] = self._scales[name]
        return back

    def _quantize_weights(self, node: Any) -> None:
        weights = self._onnx.numpy_helper.to_array(self._stored[node.input[1]]).astype(np.float64)
        axis = _output_axis(node)
        others = tuple(i for i in range(weights.ndim) if i != axis)
        largest = np.abs(weights).max(axis=others)
        # Scales are kept away from 0, where a bias would need more than 32 bits.
        floor = max(float(largest.max()), 1e-12) * 1e-6
        scales = (np.maximum(largest, floor) / 127).astype(np.float32)
        shape = [1] * weights.ndim
        shape[axis] = -1
        steps = np.rint(weights / scales.astype(np.float64).reshape(shape)).clip(-127, 127)
        node.input[1] = self._dequantized(node.input[1], steps.astype(np.int8), scales, axis)
        source = self._scales.get(node.input[0])
        # TensorRT adds biases in single precision and takes no 32-bit integers for them.
        if (
            node.op_type != "MatMul"
            and len(node.input) > 2
            and source is not None
            and not self._symmetric
        ):
            bias = self._onnx.numpy_helper.to_array(self._stored[node.input[2]])
            product = (scales.astype(np.float64) * source).astype(np.float32)
            counts = np.rint(bias / product.astype(np.float64))
            if np.abs(counts).max() < 2**31:
                node.input[2] = self._dequantized(
                    node.input[2], counts.astype(np.int32), product, 0
                )

    def _dequantized(
        self, name: str, integers: NDArray[Any], scales: NDArray[np.float32], axis: int
    ) -> str:
        """Store integers and append the node that makes numbers of them again."""
        base = f"{name}_{self._uses[name]}" if f"{name}_integers" in self._stored else name
        parts = [
            self._store(f"{base}_integers", integers),
            self._store(f"{base}_scales", scales),
            self._store(f"{base}_zeros", np.zeros(scales.shape, dtype=integers.dtype)),
        ]
        back = f"{base}_rounded"
        self._nodes.append(
            self._onnx.helper.make_node("DequantizeLinear", parts, [back], axis=axis)
        )
        return back

    def _store(self, name: str, values: Any) -> str:
        self._stored[name] = self._onnx.numpy_helper.from_array(np.asarray(values), name)
        return name


def _output_axis(node: Any) -> int:
    """Return the axis of the weights that counts the output's channels."""
    if node.op_type == "Conv":
        return 0
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else 1


def measure_ranges(
    names: Iterable[str],
    run: Callable[[NDArray[np.uint8]], Iterable[NDArray[Any]]],
    crops: NDArray[np.uint8],
    *,
    batch_size: int = 8,
) -> dict[str, tuple[float, float]]:
    """Return the range of every value over all crops.

    Parameters
    ----------
    names : iterable of str
        From `expose_values`.
    run : callable
        Runs the graph with its values exposed.
    crops : ndarray of uint8, shape (n, height, width, 3)
    batch_size : int
        Crops at a time: all values of so many are in memory.
    """
    names = list(names)
    low = dict.fromkeys(names, 0.0)
    high = dict.fromkeys(names, 0.0)
    for start in range(0, len(crops), batch_size):
        for name, values in zip(names, run(crops[start : start + batch_size]), strict=True):
            low[name] = min(low[name], float(values.min()))
            high[name] = max(high[name], float(values.max()))
    return {name: (low[name], high[name]) for name in names}
