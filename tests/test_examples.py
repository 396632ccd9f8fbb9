"""The examples and the demo's helper do what they say."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

REPO = Path(__file__).resolve().parent.parent


def script(path: str) -> SimpleNamespace:
    """Run a file that is not part of a package, and return what it defines."""
    return SimpleNamespace(**runpy.run_path(str(REPO / path)))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Make the tables of a run: one person on two photos, another on one of them."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    run = tmp_path / "run"
    run.mkdir()
    faces = {"photo": ["a.jpg", "sub/ä b.jpg", "a.jpg"], "person_id": [0, 0, 1]}
    pq.write_table(pa.table(faces), run / "faces.parquet")
    return run


def test_group_embeddings(capsys: pytest.CaptureFixture[str]) -> None:
    example = script("examples/group_embeddings.py")
    example.main()
    assert "60 true" in capsys.readouterr().out
    X, people = example.make_embeddings()
    found = example.IdentityClustering().fit(X).labels_
    assert example.bcubed_scores(people, found).f > 0.98


def test_read_a_run(run_folder: Path, tmp_path: Path) -> None:
    photos, target = tmp_path / "photos", tmp_path / "sorted"
    (photos / "sub").mkdir(parents=True)
    (photos / "a.jpg").write_bytes(b"1")
    (photos / "sub" / "ä b.jpg").write_bytes(b"2")
    assert script("examples/read_a_run.py").sort_photos(run_folder, photos, target) == 3
    assert {str(path.relative_to(target)) for path in target.rglob("*.jpg")} == {
        "person-00000/a.jpg",
        "person-00000/sub__ä b.jpg",
        "person-00001/a.jpg",
    }


def test_demo_photos_refuse_what_is_not_theirs(tmp_path: Path) -> None:
    """No network: an archive that holds another file under the right name is turned away."""
    import zipfile

    demo = script("scripts/demo_photos.py")
    wheel = tmp_path / "skimage.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("skimage/data/astronaut.png", b"not the astronaut")
    photos = {"astronaut.png": demo.ARCHIVES[1].photos["astronaut.png"]}
    with pytest.raises(demo.GatherError, match="SHA-256"):
        demo._extract(wheel, "skimage/data", photos, tmp_path)
    assert not (tmp_path / "astronaut.png").exists()
