"""Crops in, vectors out: checked before any work, the same bits however callers cut their data."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastface
from fastface.errors import InvalidInputError

SIZE = (150, 150, 3)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> fastface.Embedder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTFACE_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
        return fastface.Embedder(batch_size=4)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (10, 15, 15, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=1).repeat(10, axis=2)


@pytest.fixture(scope="module")
def expected(embedder: fastface.Embedder, crops: np.ndarray) -> np.ndarray:
    return embedder.embed(crops)


def test_what_comes_out(embedder: fastface.Embedder, expected: np.ndarray) -> None:
    assert expected.shape == (10, 128)
    assert expected.dtype == np.float32
    assert len(np.unique(expected, axis=0)) == 10
    assert embedder.spec.name == "dlib-resnet"
    assert embedder.runtime_ == "onnxruntime"
    assert embedder.runtime_version_[0].isdigit()
    assert embedder.n_threads_ >= 1
    assert embedder.model.onnx_path.is_file()
    assert repr(embedder) == (
        f"Embedder('dlib-resnet', runtime='onnxruntime', batch_size=4, "
        f"n_threads={embedder.n_threads_})"
    )


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 10), max_size=4), batch_size=st.integers(1, 12))
def test_cutting_changes_no_bit(
    crops: np.ndarray,
    expected: np.ndarray,
    cuts: list[int],
    batch_size: int,
) -> None:
    bounds = [0, *sorted(cuts), len(crops)]
    other = fastface.Embedder(batch_size=batch_size)
    parts = [other.embed(crops[a:b]) for a, b in pairwise(bounds)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_any_memory_layout(
    embedder: fastface.Embedder, crops: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "crops.npy", crops)
    mapped = np.load(tmp_path / "crops.npy", mmap_mode="r")
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    backwards = crops[::-1]
    for given_, wanted in [
        (mapped, expected),
        (planes, expected),
        (np.asfortranarray(crops), expected),
        (backwards, expected[::-1]),
        (list(crops), expected),
        (tuple(crops[1:3]), expected[1:3]),
    ]:
        np.testing.assert_array_equal(embedder.embed(given_), wanted)


def test_crops_are_left_alone(embedder: fastface.Embedder, crops: np.ndarray) -> None:
    before = crops.copy()
    crops.flags.writeable = False
    embedder.embed(crops, normalize=True)
    crops.flags.writeable = True
    np.testing.assert_array_equal(crops, before)


def test_nothing_in_nothing_out(embedder: fastface.Embedder) -> None:
    for nothing in ([], (), np.empty((0, *SIZE), dtype=np.uint8)):
        for normalize in (False, True):
            found = embedder.embed(nothing, normalize=normalize)
            assert found.shape == (0, 128)
            assert found.dtype == np.float32


def test_length_one_on_request_only(
    embedder: fastface.Embedder, crops: np.ndarray, expected: np.ndarray
) -> None:
    norms = np.linalg.norm(expected, axis=1)
    assert np.abs(norms - 1).min() > 0.05
    found = embedder.embed(crops, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found * norms[:, None], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((2, *SIZE), np.float32), "dtype float32; crops are uint8 .*do not normalise"),
        (np.zeros((2, *SIZE), np.int64), "dtype int64; crops are uint8"),
        (np.zeros((2, *SIZE), bool), "dtype bool; crops are uint8"),
        (np.zeros((2, 150, 150), np.uint8), r"shape \(2, 150, 150\); .* takes RGB crops of shape"),
        (np.zeros((2, 150, 150, 1), np.uint8), r"takes RGB crops of shape \(150, 150, 3\)"),
        (np.zeros((2, 150, 150, 4), np.uint8), r"takes RGB crops of shape \(150, 150, 3\)"),
        (np.zeros((2, 3, 150, 150), np.uint8), r"takes RGB crops of shape \(150, 150, 3\)"),
        (np.zeros((2, 112, 112, 3), np.uint8), r"aligned by the template 'dlib-150'"),
        (np.zeros(SIZE, np.uint8), r"a single crop: pass crops\[np\.newaxis\]"),
        (np.zeros(0, np.uint8), "takes RGB crops"),
        ([np.zeros(SIZE, np.uint8), np.zeros((9, 9, 3), np.uint8)], r"crops\[1\] has shape \(9"),
        ([np.zeros(SIZE, np.float64)], r"crops\[0\] has dtype float64"),
        ([[1, 2, 3]], r"crops\[0\] must be an array, got list"),
        (["a.jpg"], r"crops\[0\] must be an array, got str"),
        (None, "must be an array or a sequence of arrays, got NoneType"),
        (7, "must be an array or a sequence of arrays, got int"),
    ],
)
def test_crops_that_are_none(embedder: fastface.Embedder, wrong: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        embedder.embed(wrong)


def test_bad_crops_are_refused_before_any_work(
    embedder: fastface.Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    monkeypatch.setattr(embedder._runtime, "run", lambda batch: batches.append(len(batch)))
    good = [np.zeros(SIZE, np.uint8)] * 50
    with pytest.raises(InvalidInputError, match=r"crops\[50\]"):
        embedder.embed([*good, np.zeros((1, 1, 3), np.uint8)])
    assert batches == []


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, 10**9])
def test_batch_sizes_that_are_none(batch_size: Any) -> None:
    with pytest.raises(InvalidInputError, match="batch_size must be"):
        fastface.Embedder(batch_size=batch_size)


def embed_there(embedder: fastface.Embedder, crops: np.ndarray) -> np.ndarray:
    return embedder.embed(crops)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_copies_are_the_same_embedder(runtime: str, crops: np.ndarray) -> None:
    original = fastface.Embedder(runtime=runtime, batch_size=3, n_threads=1)
    copy = pickle.loads(pickle.dumps(original))
    assert repr(copy) == repr(original)
    assert copy.model == original.model
    np.testing.assert_array_equal(copy.embed(crops), original.embed(crops))


def test_in_another_process(
    embedder: fastface.Embedder, crops: np.ndarray, expected: np.ndarray
) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(embed_there, embedder, crops).result()
    np.testing.assert_array_equal(found, expected)
