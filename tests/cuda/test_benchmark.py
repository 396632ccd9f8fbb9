"""The benchmark for those who have a GPU, rehearsed without one."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

pytest.importorskip("cuda.bindings.nvrtc", reason="the extra 'test' brings NVRTC")

from cupy_stand_in import StandIn

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_rehearsal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    bench = importlib.import_module("benchmarks.bench_gpu")
    monkeypatch.setattr(bench, "write_results", lambda *_, **__: "written")
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert bench.main(["--smoke"]) == 0
    assert "nothing to measure" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "cupy", StandIn())
    sizes = ["--rows", "300", "--features", "8", "--clusters", "5", "--iterations", "1"]
    assert bench.main([*sizes, "--rounds", "1", "--peers", "none"]) == 0
    out = capsys.readouterr().out
    assert "parity: the same bits as the CPU" in out
    assert "fastface cuda:0" in out
