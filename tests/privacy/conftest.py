"""A small finished run, made by the job itself with a fake detector and a fake network."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

PIPELINE = str(Path(__file__).resolve().parent.parent / "pipeline")
if PIPELINE not in sys.path:
    sys.path.insert(0, PIPELINE)  # fakes are imported by name, by worker processes too


@pytest.fixture(autouse=True)
def _fakes_in_subprocesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PIPELINE)


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    import fakes

    return fakes


@pytest.fixture(scope="session")
def _made_once(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PIPELINE)
        fakes.fake_run(fakes.make_photos(folder / "photos", 20), folder / "run", report=True)
    return folder / "photos", folder / "run"


@pytest.fixture
def photos(_made_once: tuple[Path, Path], tmp_path: Path) -> Path:
    """Twenty photos of four people; two faces on the first and the eleventh."""
    return Path(shutil.copytree(_made_once[0], tmp_path / "photos"))


@pytest.fixture
def finished_run(_made_once: tuple[Path, Path], photos: Path, tmp_path: Path) -> Path:
    """Return a finished run of `photos`, with its report."""
    return Path(shutil.copytree(_made_once[1], tmp_path / "run"))


@pytest.fixture(scope="session")
def _family(fakes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Faces that all differ: the fake's depend on the length of their photo's path."""
    folder = tmp_path_factory.mktemp("family")
    photos = folder / "photos"
    photos.mkdir()
    for i in range(18):
        people = "2 5" if i == 9 else f"1 {i % 3}"
        content = people + " " * i  # no photo is a copy of another
        (photos / f"{'x' * i}-picture-{i}.jpg").write_text(content)
    (photos / "bad.jpg").write_text("bad")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(fakes.__file__).parent))
        fakes.fake_run(photos, folder / "run", report=True)
    return photos, folder / "run"


@pytest.fixture
def family(_family: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    photos, run = (
        Path(shutil.copytree(made, tmp_path / name))
        for made, name in zip(_family, ("photos", "run"), strict=True)
    )
    info = json.loads((run / "run.json").read_text())
    del info["sha256"]  # changed on purpose
    (run / "run.json").write_text(json.dumps({**info, "photo_root": str(photos)}))
    return photos, run
