"""The terms of a model's weights are said once, whichever command uses it first."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from fastface import models
from fastface.cli.licence import show_licence_once
from fastface.cli.main import main
from fastface.runtimes.engine_file import EngineInfo, pack_engine


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(tmp_path / "cache"))


def test_when_an_engine_is_built_for_the_first_time(capsys) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    command = ["engines", "build", "dlib-resnet", "--arch", "sm_89", "--max-batch", "2"]
    assert main(command) == 0
    assert "its licence is CC0-1.0, https://" in capsys.readouterr().err
    assert main(command) == 0
    assert "licence" not in capsys.readouterr().err


def test_of_the_file_of_an_engine(tmp_path: Path, capsys) -> None:
    path = tmp_path / "mine.engine"
    spec = models.get_spec("arcface-112")
    info = EngineInfo("m", "0", "fp16", "tensorrt", "1", "sm_90", 8, spec.to_json())
    path.write_bytes(pack_engine(info, b"engine"))
    show_licence_once(Namespace(model=str(path), spec=None, quiet=False))
    assert "that of the file you bring: check that you may use it" in capsys.readouterr().err
