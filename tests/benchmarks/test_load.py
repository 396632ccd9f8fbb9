"""A moment of the load that ``python -m benchmarks load`` keeps up for an hour."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _repository_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO))


def test_eight_threads_get_the_bits_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import bench_load

    monkeypatch.setattr(bench_load, "_SEEDS", range(2))
    found = bench_load.Load(bench_load._references(), seed=0).run(1.0)
    assert set(found["counts"]) == {"right"}
    assert found["stuck"] == 0


def test_a_wrong_bit_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import bench_load

    monkeypatch.setattr(bench_load, "CALLS", bench_load.CALLS[:1])
    monkeypatch.setattr(bench_load, "_SEEDS", range(2))
    expected = dict.fromkeys(bench_load._references(), "other bits")
    assert "wrong" in bench_load.Load(expected, seed=0).run(0.5)["counts"]


@pytest.mark.skipif(sys.platform != "linux", reason="threads are ended differently elsewhere")
def test_an_interpreter_ends_with_kernels_at_work() -> None:
    from benchmarks import bench_load

    assert set(bench_load.shutdowns(2)) == {"clean"}
