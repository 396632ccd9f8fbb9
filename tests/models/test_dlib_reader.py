"""The reader believes nothing: every byte is accounted for, every damage is one clear error."""

from __future__ import annotations

import contextlib
import math
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastface.errors import ModelError
from fastface.models.dlib import layers, read_network
from fastface.models.dlib.stream import ByteStream

RESNET = "dlib_face_recognition_resnet_model_v1.dat"
DETECTOR = "mmod_human_face_detector.dat"
Format = Any  # the class `Dlib` of conftest.py


@pytest.fixture(scope="module")
def small(dlib_format: Format) -> bytes:
    """A network with every layer in it, of a kilobyte or two."""
    rng = np.random.default_rng(0)
    filters = rng.standard_normal((4, 3, 3, 3))
    four = rng.standard_normal(4)
    return dlib_format.network(
        dlib_format.convolution(filters, four, stride=2),
        dlib_format.affine(four, four),
        dlib_format.RELU,
        dlib_format.pool("max", 2, 1),
        None,
        dlib_format.convolution(rng.standard_normal((4, 4, 3, 3)), four, padding=1),
        dlib_format.batch_norm(four, four, four, four**2, 1e-4),
        dlib_format.ADD,
        dlib_format.pool("avg", 0, 1),
        dlib_format.fully_connected(rng.standard_normal((4, 5)), np.zeros(5)),
    )


def stream(data: bytes) -> ByteStream:
    return ByteStream(data, name="test.dat")


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_integers_come_back(dlib_format: Format, value: int) -> None:
    source = stream(dlib_format.integer(value))
    assert source.integer("x") == value
    source.finish()


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_reals_come_back(dlib_format: Format, value: float) -> None:
    found = stream(dlib_format.real(value)).real("x")
    assert struct.pack("d", found) == struct.pack("d", value) or found == value == 0 or (
        math.isnan(found) and math.isnan(value)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends inside x: 1 bytes wanted at byte 0, 0 left; is the file truncated"),
        (b"\x04\x01\x02", "4 bytes wanted at byte 1, 2 left"),
        (b"\x00", "cannot begin the integer"),
        (b"\x09" + bytes(9), "cannot begin the integer"),
        (b"\x41\x01", "cannot begin the integer"),
        (b"\x01\x07", "x at byte 0 is 7, outside 0 to 5"),
        (b"\x81\x01", "x at byte 0 is -1, outside 0 to 5"),
    ],
)
def test_impossible_integers(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        stream(data).integer("x", low=0, high=5)


def test_impossible_values(dlib_format: Format) -> None:
    with pytest.raises(ModelError, match="neither '0' nor '1'"):
        stream(b"2").flag("x")
    with pytest.raises(ModelError, match="length of x"):
        stream(dlib_format.integer(10**6) + b"a" * 100).text("x")
    with pytest.raises(ModelError, match="not a name"):
        stream(b"\x01\x03a\x00b").text("x")
    with pytest.raises(ModelError, match=r"2\^30000"):
        stream(dlib_format.integers(1, 30000)).real("x")
    with pytest.raises(ModelError, match="is inf"):
        stream(dlib_format.real(math.inf)).finite_real("x")
    with pytest.raises(ModelError, match="not finite"):
        stream(dlib_format.tensor([1.0, math.nan])).tensor("x")


def test_a_huge_tensor_is_refused_before_it_is_allocated(dlib_format: Format) -> None:
    claimed = dlib_format.integers(2, 2**40, 2**40, 2**40, 2**40) + bytes(64)
    with pytest.raises(ModelError, match=r"declared as \(1099511627776, .*64 left"):
        stream(claimed).tensor("the weights")


def test_real_recognition_network(packaged_models: Path) -> None:
    network = read_network((packaged_models / RESNET).read_bytes(), name=RESNET)
    assert network.loss.name == "loss_metric_2"
    assert network.input.size == (150, 150)
    assert Counter(type(layer).__name__ for layer in network.layers) == {
        "Convolution": 29, "Scale": 29, "Relu": 29, "TagOrSkip": 22, "AddPrevious": 14,
        "Pool": 6, "FullyConnected": 1,
    }  # fmt: skip


def test_real_detector_network(packaged_models: Path) -> None:
    network = read_network((packaged_models / DETECTOR).read_bytes(), name=DETECTOR)
    assert network.loss.name == "loss_mmod_"
    assert network.loss.options["window_width"] == 80
    assert network.loss.options["nms_iou_threshold"] == pytest.approx(0.338276, abs=1e-6)
    assert network.input.size is None
    assert network.input.pyramid_padding == (10, 11)
    assert Counter(type(layer).__name__ for layer in network.layers) == {
        "Convolution": 7, "BatchNorm": 6, "Relu": 6,
    }  # fmt: skip


def test_every_layer_comes_back(small: bytes) -> None:
    network = read_network(small)
    assert [type(layer) for layer in network.layers] == [
        layers.Convolution, layers.Scale, layers.Relu, layers.Pool, layers.TagOrSkip,
        layers.Convolution, layers.BatchNorm, layers.AddPrevious, layers.Pool,
        layers.FullyConnected,
    ]  # fmt: skip
    first, last = network.layers[0], network.layers[-1]
    assert isinstance(first, layers.Convolution)
    assert isinstance(last, layers.FullyConnected)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(
        first.filters, rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    )
    assert first.stride == (2, 2)
    assert last.weights.shape == (4, 5)


def test_cut_anywhere_it_is_one_clear_error(small: bytes) -> None:
    for size in range(len(small)):
        with pytest.raises(ModelError, match=r"broken\.dat is not a .* network: it ends"):
            read_network(small[:size], name="broken.dat")


def test_the_real_file_cut_anywhere(packaged_models: Path) -> None:
    data = (packaged_models / RESNET).read_bytes()
    for size in [*range(0, 400, 7), *range(1000, len(data), len(data) // 20), len(data) - 1]:
        with pytest.raises(ModelError, match="it ends inside"):
            read_network(data[:size])


def test_bytes_after_the_end(small: bytes) -> None:
    with pytest.raises(ModelError, match="1 bytes follow the end"):
        read_network(small + b"\0")


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_damage_is_a_model_error_or_harmless(small: bytes, data: st.DataObject) -> None:
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(small) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModelError):
        read_network(bytes(damaged))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_a_model_error(noise: bytes) -> None:
    with pytest.raises(ModelError):
        read_network(noise)


def test_unknown_parts_are_named(dlib_format: Format, small: bytes) -> None:
    with pytest.raises(ModelError, match=r"unknown layer 'selu_'.*known: add_prev_, affine_"):
        read_network(dlib_format.network(dlib_format.text("selu_")))
    with pytest.raises(ModelError, match="unknown loss 'loss_metric_9'"):
        read_network(small.replace(b"loss_metric_2", b"loss_metric_9"))
    with pytest.raises(ModelError, match="unknown input layer"):
        read_network(small.replace(b"image_sized", b"image_seized"[:11]))


def test_details_must_fit_each_other(dlib_format: Format) -> None:
    filters, biases = np.ones((2, 3, 3, 3)), np.ones(2)
    good = dlib_format.convolution(filters, biases)
    with pytest.raises(ModelError, match=r"has 56 parameters .* its shape needs 28"):
        read_network(
            dlib_format.network(
                good.replace(dlib_format.alias(2, 3, 3, 3), dlib_format.alias(1, 3, 3, 3)).replace(
                    dlib_format.integers(2, 3, 3, 1, 1, 0, 0),
                    dlib_format.integers(1, 3, 3, 1, 1, 0, 0),
                ).replace(dlib_format.alias(1, 2, 1, 1), dlib_format.alias(1, 1, 1, 1))
            )
        )  # fmt: skip
    with pytest.raises(ModelError, match="do not fit 2 filters"):
        read_network(
            dlib_format.network(
                good.replace(dlib_format.alias(2, 3, 3, 3), dlib_format.alias(2, 3, 3, 1))
            )
        )
    with pytest.raises(ModelError, match="pooling window"):
        read_network(dlib_format.network(dlib_format.text("max_pool_2")
                     + dlib_format.integers(0, 2, 1, 1, 0, 0)))  # fmt: skip
    with pytest.raises(ModelError, match="not smaller than its window"):
        read_network(dlib_format.network(dlib_format.pool("max", 2, 1, 2)))
