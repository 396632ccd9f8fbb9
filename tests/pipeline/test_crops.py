"""Photos that are aligned crops already."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fastface.cli import main
from fastface.faces import align_face, get_template
from fastface.pipeline.crops import CropReader


def draw(path: Path, size: tuple[int, int], brightness: int) -> None:
    Image.new("RGB", size, (brightness, brightness, brightness)).save(path)


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    folder = tmp_path / "crops"
    folder.mkdir()
    for person in range(3):
        for i in range(2):
            draw(folder / f"{person} {i}.png", (150, 150), 20 * person)
    draw(folder / "photo.png", (640, 480), 0)
    (folder / "text.jpg").write_text("no image")
    return folder


def test_every_crop_is_one_face(fakes, crops: Path, tmp_path: Path) -> None:
    class Embedder(fakes.FakeEmbedder):
        spec = SimpleNamespace(**{**vars(fakes.FakeEmbedder.spec), "template": "dlib-150"})

    result = fakes.fake_run(
        crops, tmp_path / "run", crops=True, make_extractor=None, make_embedder=Embedder
    )
    assert (result.n_faces, result.n_people, result.n_skipped) == (6, 3, 2)
    faces = pq.read_table(tmp_path / "run/faces.parquet").to_pylist()
    assert [face["person_id"] for face in faces] == [0, 0, 1, 1, 2, 2]
    assert {(f["left"], f["top"], f["right"], f["bottom"]) for f in faces} == {(0, 0, 150, 150)}
    skipped = {
        row["file"]: row for row in pq.read_table(tmp_path / "run/skipped.parquet").to_pylist()
    }
    assert skipped["text.jpg"]["reason"] == "not_an_image"
    assert skipped["photo.png"]["reason"] == "not_a_crop"
    assert "640 × 480 pixels" in skipped["photo.png"]["message"]


@pytest.mark.parametrize("template", ["dlib-150", "arcface-112"])
def test_landmarks_are_where_the_template_has_them(tmp_path: Path, template: str) -> None:
    size = get_template(template).size
    ramp = np.broadcast_to(np.arange(size, dtype=np.uint8), (size, size))
    pixels = np.stack([ramp, ramp.T, ramp], axis=2)
    Image.fromarray(pixels).save(tmp_path / "crop.png")
    (face,) = CropReader(template).extract(tmp_path / "crop.png")
    assert np.array_equal(face.crop, pixels)
    # Aligned once more, nothing moves by more than the half pixel that dlib's sampling is off.
    again = align_face(pixels, face.detection.landmarks, template, scheme="eye-corners-nose")
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(again[inner].astype(int) - pixels[inner]).max() <= 1


def test_the_command_takes_crops(crops: Path, tmp_path: Path, capsys) -> None:
    command = ["embed", str(crops), "--out", str(tmp_path / "run"), "--crops", "--json", "--quiet"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["faces"] == 6
