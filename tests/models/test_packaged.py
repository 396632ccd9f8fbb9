"""Weights come from an installed distribution, are never imported, and are never trusted."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from pathlib import Path

import pytest

from fastface import models
from fastface.errors import MissingDependencyError, ModelError
from fastface.models import PackagedWeights
from fastface.models.packaged import read_packaged


@pytest.fixture
def weights() -> PackagedWeights:
    found = models.get_spec("dlib-resnet").weights
    assert found is not None
    return found


def test_absent_distribution(weights: PackagedWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fastface\[faces\]'"):
        read_packaged(weights)


def test_file_not_in_the_distribution(weights: PackagedWeights) -> None:
    with pytest.raises(ModelError, match=r"its list of files has no .*other\.dat"):
        read_packaged(replace(weights, file="face_recognition_models/models/other.dat"))


def test_other_bytes_than_those_known(weights: PackagedWeights) -> None:
    with pytest.raises(ModelError, match=r"22466066 bytes with SHA-256 55533b28.*wanted 00"):
        read_packaged(replace(weights, sha256="00"))


def test_listed_but_gone(
    weights: PackagedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "face_recognition_models-0.3.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: face-recognition-models\n")
    (info / "RECORD").write_text(f"{weights.file},,\n")
    distribution = importlib.metadata.PathDistribution(info)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: distribution)
    with pytest.raises(ModelError, match=r"cannot read .*No such file.*pip install"):
        read_packaged(weights)
    (tmp_path / weights.file).parent.mkdir(parents=True)
    (tmp_path / weights.file).write_bytes(b"half")
    with pytest.raises(ModelError, match="4 bytes with SHA-256"):
        read_packaged(weights)
