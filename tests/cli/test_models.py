from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from fastface.cli.main import main


def test_list(capsys) -> None:
    assert main(["models", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["name"] == "dlib-resnet"
    assert rows[0]["licence"] == "CC0-1.0"
    assert main(["models", "list"]) == 0
    assert "arcface-112" in capsys.readouterr().out


def test_export_and_do_not_overwrite(tmp_path: Path, capsys) -> None:
    target = str(tmp_path / "int8.onnx")
    assert main(["export", "dlib-resnet", "-o", target, "--precision", "int8", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["precision"] == "int8"
    onnx.checker.check_model(onnx.load(target), full_check=True)
    before = Path(target).read_bytes()
    assert main(["export", "dlib-resnet", "-o", target]) == 1
    assert "is there already" in capsys.readouterr().err
    assert Path(target).read_bytes() == before
    assert main(["export", "dlib-resnet", "-o", target, "--force"]) == 0
    assert Path(target).read_bytes() != before
    assert main(["export", "dlib-resnet", "-o", str(tmp_path / "a.bin")]) == 1
    assert main(["export", "dlib-resnet", "-o", str(tmp_path / "no" / "a.onnx")]) == 1


def test_export_calibrated_by_crops(tmp_path: Path, shared_faces: Path, capsys) -> None:
    command = ["export", "dlib-resnet", "-o", str(tmp_path / "own.onnx"), "--calibrate"]
    assert main([*command, str(shared_faces / "cmu"), "--precision", "int8"]) == 0
    assert main([*command, str(shared_faces / "cmu"), "--force"]) == 1
    assert "is for --precision int8" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_check(shared_faces: Path, capsys, precision: str) -> None:
    command = ["models", "check", "--faces", str(shared_faces / "orl"), "--precision", precision]
    assert main([*command, "--limit", "120", "--json"]) == 0
    drift = json.loads(capsys.readouterr().out)
    assert drift["n_faces"] == 120
    assert drift["mean"] > 0.998
    assert abs(drift["f"] - drift["reference_f"]) < 0.05
    assert set(drift["accept_rates"]) == {"0.01", "0.001"}
    if precision == "int8":
        assert main([*command, "--limit", "60"]) == 0
        assert "cosine to the reference" in capsys.readouterr().out


def test_licence_is_said_at_first_use(tmp_path: Path, shared_faces: Path, capsys, monkeypatch):
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    photo = next(iter(sorted((shared_faces / "wild" / "photos").glob("lfw_*"))))
    (tmp_path / "photos" / photo.name).symlink_to(photo)
    command = ["embed", str(tmp_path / "photos"), "--workers", "1", "-o"]
    assert main([*command, str(tmp_path / "a")]) == 0
    assert "model dlib-resnet: its licence is CC0-1.0, https://" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "b")]) == 0
    assert "licence" not in capsys.readouterr().err
