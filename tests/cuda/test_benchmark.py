"""The benchmark for those who have a GPU, rehearsed without one."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.nvrtc", reason="the extra 'test' brings NVRTC")

from cupy_stand_in import StandIn

from fastface.backends.cuda.device import _shared_gpu

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.bench_gpu")


@pytest.mark.slow
def test_rehearsal(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr("benchmarks.harness.RESULTS", tmp_path)
    monkeypatch.setattr(bench, "METRICS", ("cosine",))
    monkeypatch.setattr(bench, "DTYPES", (np.float32,))
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert bench.main(["--smoke"]) == 0
    assert "nothing to measure" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "cupy", StandIn())
    _shared_gpu.cache_clear()
    sizes = ["--rows", "300", "--features", "8", "--clusters", "5", "--iterations", "1"]
    assert bench.main([*sizes, "--rounds", "1", "--peers", "all"]) == 0
    out = capsys.readouterr().out
    assert "parity: the same bits as the CPU in 7 comparisons" in out
    assert "peer cuml is left out: cuml is not installed" in out
    assert "peer faiss-gpu is left out: " in out
    results = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert set(results["timings"]) >= {"fastface cuda:0", "fastface cpu"}
    assert (tmp_path / "gpu.png").stat().st_size > 1000


def test_parity_can_fail(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bench.fastface.assign

    def wrong(*args: Any, device: str, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        labels, distances = real(*args, **options)
        return labels, np.nextafter(distances, np.float32(9)) if device == "gpu" else distances

    monkeypatch.setattr(bench.fastface, "assign", wrong)
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    with pytest.raises(SystemExit, match=r"parity failed: assign, sqeuclidean, float16"):
        bench.check_bits(x, 12, "gpu")


def test_peers_make_the_same_iterations(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's, on a CPU that says it is a GPU."""
    torch = pytest.importorskip("torch", reason="the extra 'test' brings PyTorch")
    peers = importlib.import_module("benchmarks.gpu_peers")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    calls, left_out = peers.peer_calls(bench.Task(x, x[:6].copy(), 2), ["torch", "flashlib"])
    assert list(calls) == ["torch"]
    assert left_out == {"flashlib": "flashlib is not installed"}
