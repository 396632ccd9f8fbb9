"""Splits of rows on workers: the hyperplanes of one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import fastface
from fastface.distributed import AttributeDiscovery
from fastface.errors import InvalidInputError


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Two attributes in noise."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 12)).astype(np.float32)
    x[:, 0] += 6 * (rng.random(1000) < 0.4)
    x[:, 1] += 5 * (rng.random(1000) < 0.3)
    return x


@pytest.mark.parametrize("sizes", [250, (1, 300, 13, 686)], ids=["even", "odd"])
def test_the_splits_of_one_process(
    client: Client,
    rows: np.ndarray,
    in_chunks: Callable,
    sizes: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # As if these were more rows than are searched.
    from fastface.attributes.splits import SearchParameters

    monkeypatch.setattr(SearchParameters.__init__, "__defaults__", _fewer_rows(SearchParameters))
    ours = fastface.AttributeDiscovery(max_depth=2).fit(rows)
    theirs = AttributeDiscovery(max_depth=2, client=client).fit(in_chunks(rows, sizes))
    assert len(ours.splits_) >= 2
    for one, other in zip(ours.hyperplanes_, theirs.hyperplanes_, strict=True):
        assert one.direction.tobytes() == other.direction.tobytes()
        assert (one.threshold, one.strength, one.share) == (
            other.threshold,
            other.strength,
            other.share,
        )
    for split, placed in zip(ours.splits_, theirs.splits_, strict=True):
        np.testing.assert_array_equal(client.compute(placed).result(), split)
    for node, other_node in zip(ours.tree_.walk(), theirs.tree_.walk(), strict=True):
        assert (node.path, node.n_samples) == (other_node.path, other_node.n_samples)
    again = theirs.predict(in_chunks(rows, 400))
    np.testing.assert_array_equal(client.compute(again).result(), ours.predict(rows))
    theirs.save(tmp_path / "model.npz")
    loaded = fastface.AttributeDiscovery.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.transform(rows), ours.transform(rows))
    labels = (rows[:, 0] > 3).astype(int)
    assert theirs.score(labels, n_resamples=50) == ours.score(labels, n_resamples=50)


def _fewer_rows(parameters: type) -> tuple[Any, ...]:
    defaults = parameters.__init__.__defaults__  # type: ignore[misc]
    assert defaults[-1] == 50_000
    return (*defaults[:-1], 600)


def test_bad_input(two_workers: Client, rows: np.ndarray, in_chunks: Callable) -> None:
    model = AttributeDiscovery(client=two_workers)
    with pytest.raises(InvalidInputError, match="rows are told apart, not people"):
        model.fit(in_chunks(rows, 500), person_ids=np.zeros(1000))
    with pytest.raises(InvalidInputError, match="max_splits"):
        AttributeDiscovery(0, client=two_workers).fit(in_chunks(rows, 500))
