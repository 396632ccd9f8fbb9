"""A moment of the load that ``python -m benchmarks load`` keeps up for an hour."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _repository_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO))


def test_eight_threads_get_the_bits_of_one() -> None:
    from benchmarks import bench_load

    found = bench_load.Load(bench_load._references(2), seed=0).run(1.0)
    assert set(found["counts"]) == {"right"}
    assert found["stuck"] == 0


def test_a_wrong_bit_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import bench_load

    monkeypatch.setattr(bench_load, "CALLS", bench_load.CALLS[:1])
    expected = dict.fromkeys(bench_load._references(2), "other bits")
    assert set(bench_load.Load(expected, seed=0).run(0.5)["counts"]) == {"_assign: wrong"}


LEAKING = """
import json, sys, time
from benchmarks import bench_load

keeps, kept = sys.argv[1] == "keeps", []

def call(seed):
    time.sleep(0.005)
    if keeps:
        kept.append(bytes(20_000 + seed))
    return [bytes(3_000_000)]

bench_load.CALLS = (call,)
found = bench_load.Load(bench_load._references(2), seed=0).run(3.0)
print(json.dumps([sorted(found["counts"]), found["malloc_growth"]]))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="no glibc of 2021 or later")
def test_a_leak_is_seen() -> None:
    """Memory that calls use and give back does not grow; what they keep does.

    In a process of its own: beside what other tests have loaded, this leak would be small, and
    every look for garbage long.
    """
    for kind in ("returns", "keeps"):
        done = subprocess.run(
            [sys.executable, "-c", LEAKING, kind],
            cwd=REPO,
            capture_output=True,
            text=True,
            check=True,
        )
        counts, growth = json.loads(done.stdout.splitlines()[-1])
        assert counts == ["right"]
        assert (growth > 0.01) == (kind == "keeps"), growth


@pytest.mark.skipif(sys.platform != "linux", reason="threads are ended differently elsewhere")
def test_an_interpreter_ends_with_kernels_at_work() -> None:
    from benchmarks import bench_load

    assert set(bench_load.shutdowns(2)) == {"clean"}
