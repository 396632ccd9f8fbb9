"""The command, its page and its files, on a run folder of drawn faces."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fastface import AttributeDiscovery
from fastface.cli import main
from fastface.cli.attribute_labels import read_labels
from fastface.report.attribute_plots import paper_figure

Labelled = tuple[np.ndarray, dict[str, np.ndarray]]


def face(color: tuple[int, int, int]) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), color).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def run(crowd: Labelled, tmp_path: Path) -> Path:
    """A run folder whose faces are red where people are tall, blue where not."""
    X, truth = crowd
    n = len(X)
    folder = tmp_path / "my <run>"
    folder.mkdir()
    ids = np.arange(n)
    pq.write_table(
        pa.table(
            {
                "face_id": ids,
                "photo": [f"{i // 2}.jpg" for i in range(n)],
                "size": pa.array(np.where(ids % 2, 80, 90), pa.float32()),
                "person_id": truth["person"],
            }
        ),
        folder / "faces.parquet",
    )
    np.save(folder / "embeddings.npy", X)
    jpegs = [face((220, 30, 30) if tall else (30, 30, 220)) for tall in truth["tall"]]
    pq.write_table(pa.table({"face_id": ids, "jpeg": jpegs}), folder / "crops.parquet")
    pq.write_table(pa.table({"file": ["dark.jpg"]}), folder / "skipped.parquet")
    return folder


@pytest.fixture
def labels(crowd: Labelled, tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    truth = crowd[1]
    lines = ["face_id,person,tall,<b>old</b>,glasses,note"]
    lines += [
        f"{i},p{truth['person'][i]},{int(truth['tall'][i])},{int(truth['old'][i])},"
        f"{int(truth['glasses'][i])},same"
        for i in range(len(truth["person"]))
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def attributes(*argv: object) -> int:
    return main(["attributes", *map(str, argv), "--quiet"])


def test_page_and_files(
    run: Path, labels: Path, crowd: Labelled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attributes(run, "--labels", labels, "--name", "1=height:small/tall") == 0
    said = capsys.readouterr().out
    assert "tall, between: 100.0%" in said
    assert "left out note" in said

    folder = run / "attributes"
    html = (folder / "index.html").read_text("utf-8")
    assert "<b>old</b>" not in html
    assert "&lt;b&gt;old&lt;/b&gt;" in html
    assert "<script" not in html
    assert 'style="' not in html
    assert "http:" not in html
    assert "https:" not in html
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert addresses
    assert [a for a in addresses if not (folder / a.partition("#")[0]).is_file()] == []

    document = json.loads((folder / "attributes.json").read_text("utf-8"))
    assert document["splits"][0]["name"] == "height"
    assert document["people_are_known"]
    assert document["columns_left_out"].keys() == {"note"}

    table = pq.read_table(folder / "faces.parquet")
    side = np.asarray(table["split_1"])
    assert len(np.unique(side[crowd[1]["tall"]])) == 1
    assert json.loads(table.schema.metadata[b"split_1"]) == ["height", "small", "tall"]
    assert table["within_own"].null_count == 0

    # The mean face of each side has the side's color.
    for value in (0, 1):
        with Image.open(folder / "means" / f"split-1-{value}.jpg") as image:
            red, _, blue = np.asarray(image).mean(axis=(0, 1))
        assert (red > 200) == crowd[1]["tall"][side == value][0]
        assert (blue > 200) != (red > 200)


def test_names_stay_and_go_to_another_run(run: Path, tmp_path: Path) -> None:
    assert attributes(run, "--name", "1=height:small/tall") == 0
    assert attributes(run) == 0
    model = run / "attributes" / "model.npz"
    assert AttributeDiscovery.load(model).names_[0].name == "height"
    aside = tmp_path / "model.npz"
    aside.write_bytes(model.read_bytes())
    assert attributes(run, "--model", aside) == 0
    first = json.loads((run / "attributes" / "attributes.json").read_text())["splits"][0]
    assert first["name"] == "height"
    assert first["stability"] is None  # not asked of rows it was not found in


def test_labels_by_photo_mean_its_largest_face(
    run: Path, crowd: Labelled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "photos.csv"
    tall = crowd[1]["tall"][::2]  # the first face of each photo is the larger
    lines = [f"{i}.jpg,{'yes' if t else 'no'}" for i, t in enumerate(tall)]
    path.write_text("photo,tall\n" + "\n".join([*lines, "dark.jpg,yes"]) + "\n")
    assert attributes(run, "--labels", path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["attributes"][0]["score"]["balanced_accuracy"] == 1
    assert not document["people_are_known"]


def test_what_a_line_is_about(tmp_path: Path) -> None:
    faces = {
        "face_id": [0, 1, 2, 3],
        "photo": ["a.jpg", "a.jpg", "b.jpg", "c.jpg"],
        "size": [10.0, 30.0, 20.0, 20.0],
        "person_id": [7, 8, 7, 9],
    }
    path = tmp_path / "labels.csv"
    path.write_text("photo,identity,x\na.jpg,Ann,1\nb.jpg,,0\n", encoding="utf-8-sig")
    by_photo = read_labels(path, faces, set(), None)
    assert by_photo.columns["x"].tolist() == ["", "1", "0", ""]
    assert by_photo.people is not None
    assert by_photo.people.tolist() == ["", "Ann", "", ""]
    assert by_photo.n_labelled == 2
    path.write_text("person_id,x\n7,yes\n9,no\n")
    by_person = read_labels(path, faces, set(), None)
    assert by_person.columns["x"].tolist() == ["yes", "", "yes", "no"]
    assert by_person.people is None


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "face_id,x\n9999,1\n-4,2\n",
            [],
            "faces that are not in this run.*2 lines .*line 2: '9999'",
        ),
        ("face_id,x\n1,1\n1,2\n", [], "a face twice.*line 3: '1'"),
        ("who,x\na,1\n", [], "one of face_id, photo, person_id"),
        ("face_id,x\n1,1\n2\n", [], "another number on line 3"),
        ("face_id,x,x\n1,1,2\n", [], "column x more than once"),
        ("face_id,x\n1,1\n2,2\n", ["--person", "who"], "no column 'who' with people"),
        ("face_id,x\n1,1\n2,1\n", [], "'x' holds only '1'"),
        ("face_id,x\n1,1\n2,2\n", ["--cut", "x"], "must be COLUMN=LOW,HIGH"),
        ("face_id,x\n1,1\n2,2\n", ["--name", "x=1"], "must be N=NAME"),
        ("face_id,x\n1,1\n2,2\n", ["--name", "99=a"], "there are"),
        ("\xff", [], "UTF-8"),
    ],
)
def test_bad_labels_say_what_is_wrong(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    options: list[str],
    message: str,
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="latin-1")
    assert attributes(run, "--labels", path, *options) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (run / "attributes").exists()


def test_what_is_no_run_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attributes(tmp_path) == 1
    assert "not a finished run folder" in capsys.readouterr().err
    assert attributes(run, "--labels", tmp_path / "none.csv") == 1
    assert "no file" in capsys.readouterr().err
    assert attributes(run, "--person", "who") == 1
    assert "--labels FILE" in capsys.readouterr().err
    (run / "attributes").mkdir()
    (run / "attributes" / "mine.txt").write_text("keep")
    assert attributes(run) == 1
    assert "was not written by fastface" in capsys.readouterr().err
    assert (run / "attributes" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("name", "level", "figure"),
    [
        ("Male", "between", 0.993),
        ("skin tone", "between", 0.993),
        ("age ≥ 65", "between", 0.941),
        ("Image", "between", None),
        ("race", "between", 0.993),
        ("race = White", "between", None),
        ("No_Beard", "within", 0.9),
        ("No_Beard", "between", None),
        ("Eyeglasses", "within", 0.76),
    ],
)
def test_figures_of_the_paper(name: str, level: str, figure: float | None) -> None:
    assert paper_figure(name, level) == figure


def test_page_in_a_browser(run: Path, chromium: str, tmp_path: Path) -> None:
    """Opened from disk, styled, with faces of both colors to be seen."""
    assert attributes(run) == 0
    picture = tmp_path / "page.png"
    subprocess.run(
        [
            chromium,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--virtual-time-budget=4000",
            "--force-color-profile=srgb",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={picture}",
            "--window-size=1200,1400",
            (run / "attributes" / "index.html").resolve().as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert (np.abs(pixels - (250, 249, 246)) <= 2).all(axis=2).mean() > 0.15
    for color in ((220, 30, 30), (30, 30, 220)):
        assert (np.abs(pixels - color) <= 12).all(axis=2).sum() > 5000
