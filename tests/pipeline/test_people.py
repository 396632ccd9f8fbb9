"""Corrections of people: made once, kept for good."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastface.errors import CorruptFileError, InvalidInputError, StorageError
from fastface.pipeline import People, regroup
from fastface.pipeline.history import HISTORY_FILE, History
from fastface.pipeline.rewriting import rewrite_history
from fastface.pipeline.selection import Selection


def who(run: Path) -> dict[str, int]:
    """Return the person of every photo's first face."""
    table = pq.read_table(run / "faces.parquet").to_pylist()
    return {row["photo"]: row["person_id"] for row in reversed(table)}


def faces_of(run: Path, person: int) -> list[int]:
    table = pq.read_table(run / "faces.parquet").to_pylist()
    return [row["face_id"] for row in table if row["person_id"] == person]


def check_tables(run: Path) -> None:
    """The two tables say the same."""
    counts: dict[int, int] = {}
    for row in pq.read_table(run / "faces.parquet").to_pylist():
        counts[row["person_id"]] = counts.get(row["person_id"], 0) + 1
    people = pq.read_table(run / "people.parquet").to_pylist()
    assert {row["person_id"]: row["n_faces"] for row in people} == counts
    for row in people:
        assert row["cover_face_id"] in faces_of(run, row["person_id"])
    sizes = [row["n_faces"] for row in people]
    assert sizes == sorted(sizes, reverse=True)


@pytest.fixture(scope="module")
def made(fakes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("people")
    photos = fakes.make_photos(folder / "photos", 24)
    fakes.fake_run(photos, folder / "run")
    return photos, folder / "run"


@pytest.fixture
def run(made: tuple[Path, Path], tmp_path: Path) -> Path:

    return Path(shutil.copytree(made[1], tmp_path / "run"))


@pytest.fixture
def photos(made: tuple[Path, Path], tmp_path: Path) -> Path:

    return Path(shutil.copytree(made[0], tmp_path / "photos"))


def test_corrections_hold_through_a_forced_run_with_new_photos(
    fakes, run: Path, photos: Path
) -> None:
    people = People(run)
    a, b, c, d = [person.person_id for person in people.everybody()][:4]
    people.merge([a, b])
    people.name(a, "Ada")
    new = people.split(c, faces_of(run, c)[:2]).people[1]
    people.move(faces_of(run, c)[:1], d)
    check_tables(run)
    before, known = who(run), {person.person_id for person in people.everybody()}
    assert known >= {a, c, d, new}
    assert b not in known
    for i in range(9):  # sorts before all others: every face gets another number
        (photos / f"a new one {i}.jpg").write_text(f"1 {i % 7}")
    fakes.fake_run(photos, run, force=True)
    check_tables(run)
    after = who(run)
    assert {photo: after[photo] for photo in before} == before
    assert next(p.name for p in People(run).everybody() if p.person_id == a) == "Ada"
    # An id that was given away is not given again.
    fresh = {person.person_id for person in people.everybody()} - known
    assert b not in fresh
    assert all(person > new for person in fresh)
    assert [record.kind for record in people.history()] == [
        "merge", "name", "split", "move", "regroup"
    ]  # fmt: skip


def test_ids_last_when_sizes_change(fakes, run: Path, photos: Path) -> None:
    before = who(run)
    smallest = min(set(before.values()), key=list(before.values()).count)
    photo = next(photo for photo, person in before.items() if person == smallest)
    face = (photos / photo).read_text().split()[1]
    for i in range(20):
        (photos / f"another {i}.jpg").write_text(f"1 {face}")
    fakes.fake_run(photos, run, force=True)
    after = who(run)
    assert {photo: after[photo] for photo in before} == before
    assert People(run).everybody()[0].person_id == smallest


def test_undo_brings_back_what_was(run: Path) -> None:
    tables = [pq.read_table(run / name) for name in ("faces.parquet", "people.parquet")]
    people = People(run)
    a, b, c = [person.person_id for person in people.everybody()][:3]
    people.name(b, "Bea")
    people.merge([a, b])
    people.split(c, faces_of(run, c)[:1])
    with pytest.raises(InvalidInputError, match=r"2 is about the same people"):
        people.undo(1)
    people.undo(2)  # not the last one: nobody else has touched a and b
    assert next(p.name for p in people.everybody() if p.person_id == b) == "Bea"
    people.undo()
    people.undo(1)
    check_tables(run)
    for name, table in zip(("faces.parquet", "people.parquet"), tables, strict=True):
        now = pq.read_table(run / name)
        plain = [column for column in table.column_names if column != "confidence"]
        assert now.select(plain).equals(table.select(plain))
    with pytest.raises(InvalidInputError, match="no correction to take back"):
        people.undo()


def test_contradictions_are_named(run: Path) -> None:
    people = People(run)
    a, b, c = [person.person_id for person in people.everybody()][:3]
    people.apart(a, b)
    people.merge([a, c])
    with pytest.raises(InvalidInputError, match=rf"{b} and {a} .*correction 1 .*undo 1"):
        people.merge([b, a])
    people.merge([b, a], anyway=True)
    assert set(faces_of(run, b)) > set(faces_of(run, a))
    with pytest.raises(InvalidInputError, match=rf"{a} .*became part of {b} by correction 3"):
        people.name(a, "Ada")


def test_who_is_apart_stays_apart(fakes, run: Path, photos: Path) -> None:
    people = People(run)
    a, b = [person.person_id for person in people.everybody()][:2]
    other = people.split(a, faces_of(run, a)[::2]).people[1]
    half = len(faces_of(run, other))
    (photos / "zzz.jpg").write_text("1 3")
    fakes.fake_run(photos, run, force=True)
    # The embeddings of both halves are all but equal.
    assert len(faces_of(run, other)) >= half
    assert len(faces_of(run, a)) >= half - 1
    assert b in who(run).values()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.merge([0]), "two or more"),
        (lambda p: p.merge([0, 0]), "different people"),
        (lambda p: p.merge([0, 99]), "no person 99"),
        (lambda p: p.merge([0, "Nobody"]), "nobody is called 'Nobody'"),
        (lambda p: p.split(0, []), "no face"),
        (lambda p: p.split(0, [10**6]), "no face 1000000"),
        (lambda p: p.move([0], to=who(p.folder)["photo 0000.jpg"]), "already"),
        (lambda p: p.apart(1, 1), "same person"),
        (lambda p: p.undo(7), "no correction"),
        (lambda p: p.everybody("mood"), "unknown order"),
    ],
)
def test_bad_corrections_change_nothing(run: Path, call, message: str) -> None:
    before = {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}
    with pytest.raises(InvalidInputError, match=message):
        call(People(run))
    assert {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()} == before


def test_an_edited_history_is_noticed(run: Path) -> None:
    people = People(run)
    for name in ("Ada", "Bea", "Cy"):
        people.name(0, name)
    path = run / HISTORY_FILE
    lines = path.read_text().splitlines(keepends=True)
    assert json.loads(lines[1])["names"] == {"0": ["Ada", "Bea"]}
    spoilt = [
        ([lines[0], lines[1].replace("Bea", "Eve"), lines[2]], 2),
        ([lines[0], lines[2]], 2),
        ([lines[1], lines[0], lines[2]], 1),
        ([lines[0], lines[1], lines[2][:40]], 3),
    ]
    for content, number in spoilt:
        path.write_text("".join(content))
        with pytest.raises(CorruptFileError, match=f"line {number} "):
            people.name(0, "Dee")


def test_a_stopped_correction_is_finished_by_the_next(run: Path, monkeypatch) -> None:
    people = People(run)
    a, b, c = [person.person_id for person in people.everybody()][:3]
    with monkeypatch.context() as patch:
        patch.setattr("fastface.pipeline.tables.write_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            people.merge([a, b])
    assert b in who(run).values()
    people.name(c, "Cy")
    assert b not in who(run).values()
    check_tables(run)


def test_columns_of_other_programs_stay(run: Path) -> None:
    table = pq.read_table(run / "people.parquet")
    notes = [f"note {person}" for person in table["person_id"].to_pylist()]
    pq.write_table(table.append_column("note", pa.array(notes)), run / "people.parquet")
    People(run).merge([1, 2])
    rows = pq.read_table(run / "people.parquet").to_pylist()
    assert all(row["note"] == f"note {row['person_id']}" for row in rows)


def test_people_forgotten_are_out_of_the_history(run: Path, tmp_path: Path) -> None:
    people = People(run)
    a, b, c = [person.person_id for person in people.everybody()][:3]
    people.name(a, "Ada Lovelace")
    people.merge([a, b])
    people.apart(a, c)
    gone = frozenset(faces_of(run, a))
    table = pq.read_table(run / "faces.parquet")
    chosen = Selection(people=frozenset([a]), photos=frozenset(), faces=gone)
    rewrite_history(run, tmp_path, chosen, table)
    text = (tmp_path / HISTORY_FILE).read_text()
    assert "Ada Lovelace" not in text
    records = History.of(tmp_path).records  # every line is sealed
    assert [len(record.faces) for record in records] == [0, 0, len(faces_of(run, c))]
    assert records[1].time == people.history()[1].time


def test_a_folder_without_people_says_so(fakes, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not a finished run folder"):
        People(tmp_path)
    photos = fakes.make_photos(tmp_path / "photos", 3)
    fakes.fake_run(photos, tmp_path / "run", group=False)
    with pytest.raises(StorageError, match="nobody has grouped"):
        People(tmp_path / "run").everybody()


def test_grouping_anew_goes_around_corrections(fakes, run: Path) -> None:
    people = People(run)
    a, b, c = [person.person_id for person in people.everybody()][:3]
    people.merge([a, b])
    new = people.split(c, faces_of(run, c)[:1]).people[1]
    before = who(run)
    result = regroup(run)
    assert who(run) == before
    assert result.n_people == len(people.everybody())
    check_tables(run)
    assert people.history()[-1].kind == "regroup"
    people.undo(1)
    people.undo(2)
    regroup(run)
    assert set(who(run).values()) >= {a, b, c}
    assert new not in who(run).values()
