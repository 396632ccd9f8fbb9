"""How the folder comes to be: whole or not at all, the same each time, clear when it cannot."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastface.errors import CorruptFileError, RunLockedError, StorageError
from fastface.report import write_report
from fastface.report.folder import replacing


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_same_run_gives_the_same_bytes(small_run):
    first = contents(write_report(small_run.folder).parent)
    second = contents(write_report(small_run.folder).parent)
    assert first == second
    assert len(first) > 20


def test_an_older_report_is_replaced_whole(small_run):
    report = write_report(small_run.folder).parent
    (report / "people" / "99.html").write_text("stale")
    before = names(small_run.folder)
    write_report(small_run.folder)
    assert not (report / "people" / "99.html").exists()
    assert names(small_run.folder) == before


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_not_ours_is_left_alone(small_run, tmp_path, kind):
    target = small_run.folder / "report"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "folder":
        target.mkdir()
        (target / "thesis.txt").write_text("years of work")
    elif kind == "file":
        target.write_text("years of work")
    else:
        target.symlink_to(elsewhere)
    before = names(small_run.folder)
    with pytest.raises(StorageError, match="not written by fastface"):
        write_report(small_run.folder)
    assert names(small_run.folder) == before
    assert not list(elsewhere.iterdir())


def test_an_empty_folder_is_used(small_run):
    (small_run.folder / "report").mkdir()
    assert write_report(small_run.folder).is_file()


def test_a_failure_keeps_the_older_report(small_run):
    report = write_report(small_run.folder).parent
    before = contents(report)
    crops = pq.read_table(small_run.folder / "crops.parquet")
    pq.write_table(crops.slice(0, crops.num_rows - 1), small_run.folder / "crops.parquet")
    with pytest.raises(CorruptFileError, match="face 13 has no crop"):
        write_report(small_run.folder)
    assert contents(report) == before
    assert not [name for name in names(small_run.folder) if name.startswith(".")]


def test_a_full_disk_is_a_storage_error(small_run, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastface.report.write.write", full)
    with pytest.raises(StorageError, match=r"No space left on device.*Free some space"):
        write_report(small_run.folder)
    assert "report" not in names(small_run.folder)
    assert ".report-building" not in names(small_run.folder)


def test_what_a_killed_process_left_is_cleared(small_run):
    left = small_run.folder / ".report-building"
    left.mkdir()
    (left / "half.html").write_text("<")
    report = write_report(small_run.folder).parent
    assert not (report / "half.html").exists()
    assert not left.exists()


def test_two_writers_at_once_are_refused(tmp_path):
    with replacing(tmp_path / "report") as building:
        (building / "index.html").write_text("first")
        with pytest.raises(RunLockedError, match="Another process"), replacing(tmp_path / "report"):
            pass
    assert (tmp_path / "report" / "index.html").read_text() == "first"


def test_no_permission_is_a_storage_error(small_run, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)  # root may write anywhere, so no chmod
    with pytest.raises(StorageError, match=r"Permission denied.*allow writing"):
        write_report(small_run.folder)


RUN_FILES = ["faces.parquet", "people.parquet", "skipped.parquet", "crops.parquet", "run.json"]


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_missing_file_is_named(small_run, name):
    (small_run.folder / name).unlink()
    with pytest.raises(StorageError, match=f"not a finished run folder: it has no {name}"):
        write_report(small_run.folder)


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_damaged_file_is_named(small_run, name):
    path = small_run.folder / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptFileError, match=name):
        write_report(small_run.folder)
    assert not (small_run.folder / "report").exists()


@pytest.mark.parametrize("name", [name for name in RUN_FILES if name.endswith(".parquet")])
def test_damage_between_a_good_beginning_and_end_is_named(small_run, name):
    path = small_run.folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-30] + content[-8:])
    with pytest.raises(CorruptFileError, match=name):
        write_report(small_run.folder)


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_file_that_must_not_be_read_is_named(small_run, name, monkeypatch):
    """Simulated, since the superuser may read anything."""
    open_table, open_file = pq.ParquetFile, Path.open

    def refuse(path) -> None:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied")

    def table(path, **options):
        refuse(path)
        return open_table(path, **options)

    def file(path, *arguments, **options):
        refuse(path)
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(pq, "ParquetFile", table)
    monkeypatch.setattr(Path, "open", file)
    with pytest.raises(
        StorageError, match=rf"{name} cannot be read: .*Permission denied"
    ) as caught:
        write_report(small_run.folder)
    assert not isinstance(caught.value, CorruptFileError)


def edit(path: Path, column: str, change) -> None:
    table = pq.read_table(path)
    values = change(table[column].to_pylist())
    index = table.schema.get_field_index(column)
    array = pa.array(values, table.schema.field(index).type)
    pq.write_table(table.set_column(index, column, array), path)


@pytest.mark.parametrize(
    ("file", "column", "change", "message"),
    [
        ("faces.parquet", "face_id", lambda v: v[::-1], "does not count"),
        ("faces.parquet", "person_id", lambda v: [9, *v[1:]], "people.parquet"),
        ("faces.parquet", "left", lambda v: [None, *v[1:]], "column left has empty cells"),
        ("faces.parquet", "photo", lambda v: [None, *v[1:]], "no photo"),
        ("people.parquet", "n_faces", lambda v: [1, *v[1:]], "numbers of faces"),
        ("people.parquet", "cover_face_id", lambda v: [10**6, *v[1:]], "cover_face_id"),
        ("people.parquet", "cover_face_id", lambda v: v[::-1], "cover_face_id"),
        ("crops.parquet", "face_id", lambda v: [1, 1, *v[2:]], "there twice"),
        ("crops.parquet", "face_id", lambda v: [-1, *v[1:]], "unknown"),
        ("crops.parquet", "jpeg", lambda v: [b"<svg/>", *v[1:]], "not a JPEG"),
    ],
)
def test_tables_that_do_not_fit_are_refused(small_run, file, column, change, message):
    edit(small_run.folder / file, column, change)
    with pytest.raises(CorruptFileError, match=message) as caught:
        write_report(small_run.folder)
    assert "parquet" in str(caught.value)


def test_faces_without_people_are_no_damage(small_run):
    edit(small_run.folder / "faces.parquet", "person_id", lambda v: [None] * len(v))
    with pytest.raises(StorageError, match=r"nobody has grouped.*fastface embed"):
        write_report(small_run.folder)


def test_a_missing_column_is_named(small_run):
    path = small_run.folder / "faces.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["confidence"]), path)
    with pytest.raises(CorruptFileError, match="no column confidence"):
        write_report(small_run.folder)


def test_no_photo_root_asks_for_one(small_run):
    path = small_run.folder / "run.json"
    info = json.loads(path.read_text())
    del info["photo_root"]
    path.write_text(json.dumps(info))
    with pytest.raises(StorageError, match="photo_root"):
        write_report(small_run.folder)
    assert write_report(small_run.folder, photo_root=small_run.photos).is_file()


class Recorder:
    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self.advances: list[int] = []

    @contextmanager
    def step(self, title, total, unit):
        self.steps.append((title, total))
        yield self

    def advance(self, n=1):
        self.advances.append(n)


def test_progress_counts_up_to_the_total(small_run):
    recorder = Recorder()
    write_report(small_run.folder, progress=recorder)
    assert recorder.steps == [("report", sum(recorder.advances))]
    assert sum(recorder.advances) == 3 * 14
    assert len(recorder.advances) > 14


def test_nan_confidence_is_a_dash(small_run):
    edit(small_run.folder / "faces.parquet", "confidence", lambda v: [float("nan"), *v[1:]])
    page = write_report(small_run.folder).parent / "people" / "0.html"
    html = page.read_text(encoding="utf-8")
    assert "nan" not in html.lower()
    assert html.rindex('id="face-0"') > html.rindex('id="face-7"')
