"""Folding and wiring give what the layers say, one by one, in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from fastface.errors import ModelError
from fastface.models.dlib import read_network
from fastface.models.dlib.graph import embedding_graph

Format = Any  # the class `Dlib` of conftest.py
MEAN = (120.0, 110.0, 100.0)


def build(data: bytes) -> bytes:
    return embedding_graph(read_network(data), name="test", metadata={"b": "2", "a": "1"})


def run(data: bytes, crops: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(build(data), providers=["CPUExecutionProvider"])
    return session.run(None, {"crops": crops})[0]


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, 12, 10, 3), dtype=np.uint8)


def pixels(crops: np.ndarray) -> np.ndarray:
    return ((crops.astype(np.float64) - MEAN) / 256).transpose(0, 3, 1, 2)


def windows(x: np.ndarray, size: int, stride: int, padding: int, fill: float) -> np.ndarray:
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)], constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    return view[:, :, ::stride, ::stride]


def convolve(
    x: np.ndarray, filters: np.ndarray, biases: np.ndarray, *, stride: int = 1, padding: int = 0
) -> np.ndarray:
    view = windows(x, filters.shape[2], stride, padding, 0.0)
    return np.einsum("ncyxij,ocij->noyx", view, filters) + biases[:, None, None]


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.zeros(np.maximum(a.shape, b.shape))
    for part in (a, b):
        out[tuple(slice(size) for size in part.shape)] += part
    return out


def channels(values: np.ndarray) -> np.ndarray:
    return values[:, None, None]


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("scaling", ["none", "affine", "batch norm", "both"])
def test_first_convolution_takes_raw_pixels(
    dlib_format: Format, crops: np.ndarray, padding: int, scaling: str
) -> None:
    """Also where it is padded: there the mean cannot be folded without changing the border."""
    rng = np.random.default_rng(2)
    filters, biases = rng.standard_normal((4, 3, 3, 3)), rng.standard_normal(4)
    gamma, beta, mean = rng.standard_normal((3, 4))
    variance = rng.uniform(0.5, 2, 4)
    expected = convolve(pixels(crops), filters, biases, stride=2, padding=padding)
    layers = [dlib_format.convolution(filters, biases, stride=2, padding=padding)]
    if scaling in ("affine", "both"):
        layers.append(dlib_format.affine(gamma, beta))
        expected = expected * channels(gamma) + channels(beta)
    if scaling in ("batch norm", "both"):
        layers.append(dlib_format.batch_norm(gamma, beta, mean, variance, 1e-3))
        expected = (expected - channels(mean)) / np.sqrt(channels(variance) + 1e-3)
        expected = expected * channels(gamma) + channels(beta)
    layers.append(dlib_format.pool("avg", 0, 1))
    found = run(dlib_format.network(*layers), crops)
    np.testing.assert_allclose(found, expected.mean(axis=(2, 3)), rtol=1e-4, atol=2e-5)


def test_graph_may_begin_with_something_else(dlib_format: Format, crops: np.ndarray) -> None:
    found = run(dlib_format.network(dlib_format.RELU, dlib_format.pool("avg", 0, 1)), crops)
    expected = np.maximum(pixels(crops), 0).mean(axis=(2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(3, 2, 0), (2, 2, 0), (3, 1, 1), (3, 2, 1)]
)
def test_pooling(
    dlib_format: Format, crops: np.ndarray, kind: str, size: int, stride: int, padding: int
) -> None:
    view = windows(pixels(crops), size, stride, padding, np.nan)
    pooled = (np.nanmax if kind == "max" else np.nanmean)(view, axis=(4, 5))
    weights = np.random.default_rng(3).standard_normal((pooled[0].size, 4))
    network = dlib_format.network(
        dlib_format.pool(kind, size, stride, padding),
        dlib_format.fully_connected(weights, np.arange(4.0)),
    )
    expected = pooled.reshape(len(crops), -1) @ weights + np.arange(4.0)
    np.testing.assert_allclose(run(network, crops), expected, rtol=1e-4, atol=1e-4)


def test_residual_blocks(dlib_format: Format, crops: np.ndarray) -> None:
    """A plain block, then one that goes down, whose shortcut is smaller in channels and larger
    or smaller in size: zeros are added at the end of each."""
    rng = np.random.default_rng(4)
    same, zero = rng.standard_normal((3, 3, 3, 3)), np.zeros(3)
    down, bias = rng.standard_normal((5, 3, 3, 3)), rng.standard_normal(5)
    network = dlib_format.network(
        dlib_format.RELU,  # so that the first tag is not the innermost layer
        None,
        dlib_format.convolution(same, zero, padding=1),
        dlib_format.ADD,
        dlib_format.RELU,
        None,
        dlib_format.convolution(down, bias, stride=2),
        None,
        None,
        dlib_format.pool("avg", 2, 2),
        dlib_format.ADD,
        dlib_format.pool("avg", 0, 1),
    )
    x = np.maximum(pixels(crops), 0)
    x = np.maximum(add(convolve(x, same, zero, padding=1), x), 0)
    block, shortcut = convolve(x, down, bias, stride=2), windows(x, 2, 2, 0, 0).mean(axis=(4, 5))
    assert block.shape[1:] != shortcut.shape[1:]
    expected = add(block, shortcut).mean(axis=(2, 3))
    np.testing.assert_allclose(run(network, crops), expected, rtol=1e-4, atol=1e-4)


def test_file_is_clean_and_its_bytes_are_repeatable(dlib_format: Format) -> None:
    data = dlib_format.network(dlib_format.RELU, dlib_format.pool("avg", 0, 1), size=(7, 9))
    first, second = build(data), build(data)
    assert first == second
    model = onnx.load_model_from_string(first)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("a", "1"), ("b", "2")]
    (crops,), (embeddings,) = model.graph.input, model.graph.output
    dims = [d.dim_value or d.dim_param for d in crops.type.tensor_type.shape.dim]
    assert dims == ["batch", 7, 9, 3]
    assert crops.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    dims = [d.dim_value or d.dim_param for d in embeddings.type.tensor_type.shape.dim]
    assert dims == ["batch", 3]


def test_layers_that_do_not_fit(dlib_format: Format) -> None:
    end = dlib_format.pool("avg", 0, 1)
    wrong = {
        "convolves 4 channels": [dlib_format.convolution(np.ones((2, 4, 1, 1)), np.ones(2)), end],
        "a window of": [dlib_format.convolution(np.ones((2, 3, 20, 20)), np.ones(2)), end],
        "followed by 3 scales": [
            dlib_format.convolution(np.ones((2, 3, 1, 1)), np.ones(2)),
            dlib_format.affine(np.ones(3), np.ones(3)),
            end,
        ],
        "scales 5 channels": [dlib_format.RELU, dlib_format.affine(np.ones(5), np.ones(5)), end],
        "connects 7 values": [end, dlib_format.fully_connected(np.ones((7, 2)))],
        "never kept": [dlib_format.RELU, dlib_format.ADD, end],
        "3 tags or skips in a row": [dlib_format.RELU, None, None, None, dlib_format.RELU],
        "not in a vector": [dlib_format.RELU],
    }
    for message, layers in wrong.items():
        with pytest.raises(ModelError, match=message):
            build(dlib_format.network(*layers))


def test_a_detector_is_no_embedding(packaged_models: Any) -> None:
    network = read_network((packaged_models / "mmod_human_face_detector.dat").read_bytes())
    with pytest.raises(ModelError, match="does not embed crops"):
        embedding_graph(network, name="x", metadata={})
