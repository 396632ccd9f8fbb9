"""Names that a user gave to people stay with their faces."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastface.pipeline.names import NAMES_FILE, carried_names, earlier_people, keep_names


def give_names(folder: Path, names: dict[int, str]) -> None:
    """Write names the way a user's program may: other column order and other rows first."""
    table = pq.read_table(folder / "people.parquet").to_pylist()
    for person in table:
        person["name"] = names.get(person["person_id"])
    table.sort(key=lambda person: person["name"] or "~")
    columns = ["name", "person_id", "n_faces", "n_photos", "cover_face_id", "confidence"]
    rows = [{column: person[column] for column in columns} for person in table]
    pq.write_table(pa.Table.from_pylist(rows), folder / "people.parquet")


def photos_of(folder: Path) -> dict[str, set[str]]:
    """Return the photos of everybody who has a name."""
    names = {
        p["person_id"]: p["name"] for p in pq.read_table(folder / "people.parquet").to_pylist()
    }
    photos: dict[str, set[str]] = {}
    for face in pq.read_table(folder / "faces.parquet").to_pylist():
        if name := names[face["person_id"]]:
            photos.setdefault(name, set()).add(face["photo"])
    return photos


def test_a_second_run_keeps_names(fakes, tmp_path: Path) -> None:
    photos, run = fakes.make_photos(tmp_path / "photos", 40), tmp_path / "run"
    fakes.fake_run(photos, run)
    give_names(run, {0: "Ada", 2: "Grace"})
    edited = (run / "people.parquet").read_bytes()
    assert fakes.fake_run(photos, run).reused
    assert (run / "people.parquet").read_bytes() == edited


def test_names_stay_with_faces_when_photos_are_added(fakes, tmp_path: Path) -> None:
    photos, run = fakes.make_photos(tmp_path / "photos", 40), tmp_path / "run"
    fakes.fake_run(photos, run)
    give_names(run, {0: "Ada", 3: "Grace"})
    before = photos_of(run)
    grace = (photos / min(before["Grace"])).read_text().split()[1]
    for i in range(20):  # Grace becomes the largest, and everybody's number changes
        (photos / f"a new one {i}.jpg").write_text(f"1 {grace}")
    (photos / "b nobody knows.jpg").write_text("1 12")
    fakes.fake_run(photos, run, force=True)
    after = photos_of(run)
    assert after.keys() == {"Ada", "Grace"}
    assert before["Ada"] <= after["Ada"]
    assert len(after["Grace"]) == len(before["Grace"]) + 20
    people = pq.read_table(run / "people.parquet").to_pylist()
    assert people[0]["name"] == "Grace"
    assert not (run / NAMES_FILE).exists()


def test_names_survive_a_forced_run_that_is_stopped(fakes, tmp_path: Path) -> None:
    photos, run = fakes.make_photos(tmp_path / "photos", 12), tmp_path / "run"
    fakes.fake_run(photos, run)
    give_names(run, {0: "Ada"})
    before = photos_of(run)

    class Stopped(fakes.FakeEmbedder):
        def embed(self, crops):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fakes.fake_run(photos, run, force=True, make_embedder=Stopped)
    fakes.fake_run(photos, run)
    assert photos_of(run) == before


def test_names_that_were_taken_back_stay_away(fakes, tmp_path: Path) -> None:
    photos, run = fakes.make_photos(tmp_path / "photos", 12), tmp_path / "run"
    fakes.fake_run(photos, run)
    plain = (run / "people.parquet").read_bytes()
    give_names(run, {0: "Ada"})
    keep_names(run)
    give_names(run, {0: "  "})
    fakes.fake_run(photos, run, force=True)
    assert (run / "people.parquet").read_bytes() == plain


@pytest.mark.parametrize("damaged", ["people.parquet", "faces.parquet"])
def test_a_damaged_table_does_not_stop_a_forced_run(fakes, tmp_path: Path, damaged: str) -> None:
    photos, run = fakes.make_photos(tmp_path / "photos", 12), tmp_path / "run"
    first = fakes.fake_run(photos, run)
    (run / damaged).write_bytes(b"PAR1")
    assert fakes.fake_run(photos, run, force=True).n_people == first.n_people


FACE = {"photo": "a.jpg", "left": 0, "top": 0, "right": 100, "bottom": 100}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (["Ada", None, None], [0, 0, 0], None),  # a stray face does not rename its new company
        (["Ada", "Ada", None], [0, 0, 0], "Ada"),
        (["Ada", None], [0, 0], "Ada"),
        (["Bea", "Ada"], [0, 0], "Ada"),
        ([None, "Ada"], [0, 1], None),
    ],
)
def test_most_faces_decide(tmp_path: Path, before, now, expected: str | None) -> None:
    kept = [
        {**FACE, "photo": f"{i}.jpg", "person_id": 0, "name": name} for i, name in enumerate(before)
    ]
    pq.write_table(pa.Table.from_pylist(kept), tmp_path / NAMES_FILE)
    faces = pa.Table.from_pylist([{**FACE, "photo": f"{i}.jpg"} for i in range(len(now))])
    assert carried_names(earlier_people(tmp_path, faces), now).get(0) == expected


@pytest.mark.parametrize(("shift", "stays"), [(20, True), (60, False), (300, False)])
def test_a_box_that_moved_a_little_is_the_same_face(tmp_path: Path, shift: int, stays) -> None:
    known = [{**FACE, "person_id": 7, "name": "Ada"}]
    pq.write_table(pa.Table.from_pylist(known), tmp_path / NAMES_FILE)
    moved = {**FACE, "left": shift, "right": 100 + shift}
    earlier = earlier_people(tmp_path, pa.Table.from_pylist([moved]))
    assert earlier.ids.tolist() == ([7] if stays else [-1])
    assert carried_names(earlier, [0]) == ({0: "Ada"} if stays else {})


def test_a_second_run_shows_the_names_on_the_page(fakes, tmp_path: Path) -> None:
    photos, run = fakes.make_photos(tmp_path / "photos", 12), tmp_path / "run"
    page = fakes.fake_run(photos, run, report=True).report
    written = page.stat().st_mtime_ns
    assert fakes.fake_run(photos, run, report=True).reused
    assert page.stat().st_mtime_ns == written
    give_names(run, {0: "Ada"})
    assert fakes.fake_run(photos, run, report=True).reused
    assert "Ada" in page.read_text(encoding="utf-8")
