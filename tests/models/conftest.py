"""An independent writer of dlib's format, and the real files where they are installed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest


class Dlib:
    """Encodes dlib's primitives, layers and networks, from the description of the format."""

    @staticmethod
    def integer(value: int) -> bytes:
        digits = abs(value).to_bytes(8, "little").rstrip(b"\0") or b"\0"
        return bytes([len(digits) | (0x80 if value < 0 else 0)]) + digits

    @classmethod
    def integers(cls, *values: int) -> bytes:
        return b"".join(map(cls.integer, values))

    @classmethod
    def real(cls, value: float) -> bytes:
        special = {math.inf: 32000, -math.inf: 32001}
        if math.isnan(value) or value in special:
            return cls.integers(0, special.get(value, 32002))
        mantissa, exponent = math.frexp(value)
        return cls.integers(int(mantissa * 2**53), exponent - 53)

    @classmethod
    def reals(cls, *values: float) -> bytes:
        return b"".join(map(cls.real, values))

    @classmethod
    def text(cls, value: str) -> bytes:
        return cls.integer(len(value)) + value.encode("ascii")

    @classmethod
    def tensor(cls, values: object, shape: Sequence[int] | None = None) -> bytes:
        array = np.asarray(values, dtype="<f4")
        return cls.integers(2, *(shape or (array.size, 1, 1, 1))) + array.tobytes()

    @classmethod
    def alias(cls, *shape: int) -> bytes:
        return cls.integers(1, *shape)

    @classmethod
    def convolution(
        cls, filters: np.ndarray, biases: np.ndarray, *, stride: int = 1, padding: int = 0
    ) -> bytes:
        n, _, rows, columns = filters.shape
        return (
            cls.text("con_4")
            + cls.tensor(np.concatenate([filters.ravel(), biases]))
            + cls.integers(n, rows, columns, stride, stride, padding, padding)
            + cls.alias(*filters.shape)
            + cls.alias(1, n, 1, 1)
            + cls.reals(1, 1, 1, 0)
        )

    @classmethod
    def affine(cls, gamma: np.ndarray, beta: np.ndarray) -> bytes:
        shape = cls.alias(1, gamma.size, 1, 1)
        params = cls.tensor(np.concatenate([gamma, beta]))
        return cls.text("affine_") + params + shape + shape + cls.integer(0)

    @classmethod
    def batch_norm(
        cls,
        gamma: np.ndarray,
        beta: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        eps: float,
    ) -> bytes:
        shape = cls.alias(1, gamma.size, 1, 1)
        tensors = (np.zeros(gamma.size), np.ones(gamma.size), mean, variance)
        return (
            cls.text("bn_con2")
            + cls.tensor(np.concatenate([gamma, beta]))
            + shape
            + shape
            + b"".join(map(cls.tensor, tensors))
            + cls.integers(1000, 100)
            + cls.reals(1, 1, 1, 0, eps)
        )

    @classmethod
    def pool(cls, kind: str, window: int, stride: int, padding: int = 0) -> bytes:
        pairs = (window, window, stride, stride, padding, padding)
        return cls.text(f"{kind}_pool_2") + cls.integers(*pairs)

    @classmethod
    def fully_connected(cls, weights: np.ndarray, biases: np.ndarray | None = None) -> bytes:
        n_inputs, n_outputs = weights.shape
        extra = [] if biases is None else [biases]
        return (
            cls.text("fc_2")
            + cls.integers(n_outputs, n_inputs)
            + cls.tensor(np.concatenate([weights.ravel(), *extra]))
            + cls.alias(n_inputs, n_outputs, 1, 1)
            + cls.alias(*((1, n_outputs, 1, 1) if extra else (0, 0, 0, 0)))
            + cls.integer(0 if extra else 1)
            + cls.reals(1, 1, 1, 0)
        )

    @classmethod
    def network(
        cls,
        *layers: bytes | None,
        size: tuple[int, int] = (12, 10),
        mean: tuple[float, float, float] = (120.0, 110.0, 100.0),
    ) -> bytes:
        """Encode a metric network; `layers` run from the image on, None is a tag or skip."""
        first, *rest = layers
        assert first is not None
        versions = [3, *(1 if layer is None else 2 for layer in rest)]
        after = b"010" + cls.integers(2, 0, 0, 0, 0) * 3
        details = [first + after + cls.integer(1)]
        details += [layer + after for layer in rest if layer is not None]
        return (
            cls.integer(1)
            + cls.text("loss_metric_2")
            + cls.reals(0.04, 0.6)
            + cls.integers(*reversed(versions))
            + cls.text("input_rgb_image_sized")
            + cls.reals(*mean)
            + cls.integers(*size)
            + b"".join(details)
        )

    RELU = b"\x01\x05relu_"
    ADD = b"\x01\x09add_prev_"


@pytest.fixture(scope="session")
def dlib_format() -> type[Dlib]:
    return Dlib
