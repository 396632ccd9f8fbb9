"""Embedding on workers."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from distributed import Client

import fastface
from fastface.distributed import embed
from fastface.distributed.embedding import _loaded
from fastface.errors import InvalidInputError, ModelError


def test_the_vectors_of_one_process(two_workers: Client) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'faces' is not installed")
    crops = np.random.default_rng(0).integers(0, 256, (20, 150, 150, 3), np.uint8)
    expected = fastface.Embedder().embed(crops, normalize=True)
    _loaded.clear()
    divided: Any = da.from_array(crops, chunks=(7, 100, 150, 3))
    vectors = embed(divided, normalize=True)
    assert vectors.shape == (20, 128)
    assert vectors.chunks == ((7, 7, 6), (128,))
    np.testing.assert_array_equal(two_workers.compute(vectors).result(), expected)
    assert len(_loaded) == 1


def test_bad_input(two_workers: Client) -> None:
    with pytest.raises(InvalidInputError, match=r"use fastface\.Embedder"):
        embed(np.zeros((2, 150, 150, 3), np.uint8))
    with pytest.raises(InvalidInputError, match="got float64 of shape"):
        embed(da.zeros((2, 150, 150, 3)))
    with pytest.raises(ModelError):
        embed(da.zeros((2, 150, 150, 3), dtype=np.uint8), "no-such-model")
