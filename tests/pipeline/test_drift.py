from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastface import models
from fastface.errors import InvalidInputError, NoFacesError
from fastface.pipeline.drift import measure_drift
from fastface.pipeline.labelled import read_labelled_crops

SPEC = models.get_spec("dlib-resnet")


@pytest.fixture
def people() -> tuple[np.ndarray, list[str]]:
    """Vectors of 30 people, 10 each, with a length of about 1.4."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((30, 128))
    rows = np.repeat(centers, 10, axis=0) + 0.2 * rng.standard_normal((300, 128))
    rows *= 1.4 / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), [f"p{i // 10}" for i in range(300)]


def test_nothing_changed(people) -> None:
    rows, names = people
    drift = measure_drift(rows, rows.copy(), names, SPEC)
    assert (drift.n_faces, drift.n_people) == (300, 30)
    assert drift.worst == pytest.approx(1, abs=1e-6)
    assert drift.accept_rates == drift.reference_accept_rates
    assert drift.f == drift.reference_f > 0.99
    assert drift.accept_rates[1e-3] > 0.99


def test_length_is_no_drift_but_noise_is(people) -> None:
    rows, names = people
    assert measure_drift(rows, 3 * rows, names, SPEC).worst == pytest.approx(1, abs=1e-6)
    noise = 0.3 * np.random.default_rng(1).standard_normal(rows.shape).astype(np.float32)
    drift = measure_drift(rows, rows + noise, names, SPEC)
    assert drift.worst <= drift.percentile_1 <= drift.mean < 0.9
    assert drift.accept_rates[1e-3] < drift.reference_accept_rates[1e-3]


def test_accept_rate_is_the_share_above_the_strangers(people) -> None:
    """Counted pair by pair."""
    rows, names = people
    rows = rows[::5] + 0.12 * np.random.default_rng(2).standard_normal((60, 128)).astype("f4")
    names = names[::5]
    rate = measure_drift(rows, rows, names, SPEC).accept_rates[1e-2]
    same, strangers = [], []
    for i in range(60):
        for j in range(i):
            (same if names[i] == names[j] else strangers).append(
                -float(((rows[i] - rows[j]) ** 2).sum())
            )
    threshold = sorted(strangers)[-int(len(strangers) * 0.01) - 1]
    assert rate == pytest.approx(np.mean(np.array(same) > threshold), abs=0.04)


def test_what_cannot_be_compared(people) -> None:
    rows, names = people
    for wrong in (names[:-1], ["same"] * 300, [str(i) for i in range(300)]):
        with pytest.raises(InvalidInputError):
            measure_drift(rows, rows, wrong, SPEC)
    with pytest.raises(InvalidInputError, match="do not belong together"):
        measure_drift(rows, rows[:, :64], names, SPEC)


def write_crop(path: Path, value: int, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (value, value, value)).save(path)


def test_crops_by_folder_and_by_manifest(tmp_path: Path) -> None:
    for person in range(3):
        for i in range(4):
            write_crop(tmp_path / "tree" / f"p{person}" / f"{i}.png", person * 10 + i)
    crops, people = read_labelled_crops(tmp_path / "tree", (8, 8))
    assert crops[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    assert people == [name for name in ("p0", "p1", "p2") for _ in range(4)]
    few = read_labelled_crops(tmp_path / "tree", (8, 8), limit=4)
    assert few.crops[:, 0, 0, 0].tolist() == [0, 3, 13, 23]
    (tmp_path / "tree" / "manifest.csv").write_text("path,identity\np1/2.png,Ada\np0/0.png,Bob\n")
    crops, people = read_labelled_crops(tmp_path / "tree", (8, 8))
    assert (crops[:, 0, 0, 0].tolist(), people) == ([12, 0], ["Ada", "Bob"])


def test_folders_that_hold_no_labelled_crops(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no folder"):
        read_labelled_crops(tmp_path / "missing", (8, 8))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoFacesError, match="one subfolder a person"):
        read_labelled_crops(tmp_path / "empty", (8, 8))
    write_crop(tmp_path / "wrong" / "p" / "a.png", 1, side=9)
    with pytest.raises(InvalidInputError, match="9 × 9 pixels; the model takes aligned crops of 8"):
        read_labelled_crops(tmp_path / "wrong", (8, 8))
    (tmp_path / "wrong" / "manifest.csv").write_text("file\nx\n")
    with pytest.raises(InvalidInputError, match="no columns path and identity"):
        read_labelled_crops(tmp_path / "wrong", (8, 8))
