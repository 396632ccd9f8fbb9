"""The run folder alone: who may work in it, and what is left of it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from fastface.errors import CorruptFileError, RunLockedError, RunMismatchError, StorageError
from fastface.pipeline.folder import Job, RunFolder
from fastface.pipeline.schema import PHOTOS


def make_job(photos: dict[str, int] | None = None, **changes: object) -> Job:
    photos = {"a.jpg": 10, "b.jpg": 20} if photos is None else photos
    rows = [{"photo": name, "size": size, "mtime_ns": 1} for name, size in photos.items()]
    versions = {"pillow": changes.pop("pillow", "11.0")}
    parameters = {"detector": "dlib-hog", "upsample": 0, **changes}
    return Job(parameters, versions, pa.Table.from_pylist(rows, PHOTOS))


def finish(folder: Path) -> None:
    for name in ("faces.parquet", "people.parquet", "skipped.parquet", "crops.parquet"):
        (folder / name).write_text("made")
    (folder / "embeddings.npy").write_text("made")
    (folder / "run.json").write_text("{}")


def enter(folder: Path, job: Job, *, force: bool = False) -> None:
    with RunFolder(folder).open(job, force=force):
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    enter(tmp_path / "run", make_job())
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (make_job(detector="yunet"), "detector 'dlib-hog', not 'yunet'"),
        (make_job(upsample=1), "upsample 0, not 1"),
        (make_job(crops=True), "crops None, not True"),
        (make_job({"a.jpg": 10}), r"1 photo removed since \(such as 'b.jpg'\)"),
        (
            make_job({"a.jpg": 10, "b.jpg": 20, "c.jpg": 3, "d.jpg": 4}),
            r"2 photos added since \(such as 'c.jpg'\)",
        ),
        (make_job({"a.jpg": 11, "b.jpg": 20}), r"1 photo changed since \(such as 'a.jpg'\)"),
        (make_job(pillow="12.0"), "pillow '11.0', not '12.0'"),
    ],
)
def test_another_job_is_told_what_differs(folder: Path, job: Job, message: str) -> None:
    before = (folder / "job.json").read_bytes()
    with pytest.raises(RunMismatchError, match=message):
        enter(folder, job)
    assert (folder / "job.json").read_bytes() == before
    enter(folder, make_job())


def test_an_upgrade_does_not_disown_a_finished_run(folder: Path) -> None:
    finish(folder)
    enter(folder, make_job(pillow="12.0"))


def test_photos_differ_even_where_their_list_was_lost(folder: Path) -> None:
    (folder / "photos.parquet").unlink()
    with pytest.raises(RunMismatchError, match="made with other photos"):
        enter(folder, make_job({"a.jpg": 10}))
    enter(folder, make_job())
    assert (folder / "photos.parquet").is_file()


def test_force_removes_what_fastface_made_and_nothing_else(folder: Path) -> None:
    finish(folder)
    (folder / "shards" / "00000000").mkdir(parents=True)
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("old")
    (folder / "attributes").mkdir()
    (folder / "notes.txt").write_text("mine")
    enter(folder, make_job(upsample=1), force=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "job.json",
        "notes.txt",
        "photos.parquet",
        "shards",
    ]
    assert list((folder / "shards").iterdir()) == []
    assert json.loads((folder / "job.json").read_text())["parameters"]["upsample"] == 1


def test_force_killed_half_way_leaves_no_half_shard(folder: Path, monkeypatch) -> None:
    shard = folder / "shards" / "00000000"
    shard.mkdir()
    (shard / "faces.parquet").write_text("made")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            enter(folder, make_job(upsample=1), force=True)
    assert not shard.exists()
    enter(folder, make_job())
    assert not (folder / ".discarded").exists()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("thesis.txt", "precious", StorageError, r"holds 'thesis.txt' and is no run folder"),
        ("photos.parquet", "mine", StorageError, r"holds 'photos.parquet' and is no run folder"),
        ("job.json", "{}", CorruptFileError, "does not describe a run"),
        ("job.json", "not json", CorruptFileError, "is damaged or missing"),
        ("job.json", '{"format": "fastface-run"}', CorruptFileError, "does not describe a run"),
    ],
)
def test_foreign_folders_are_left_alone(
    tmp_path: Path, force: bool, name: str, content: str, error: type, message: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / name).write_text(content)
    (home / "zebra.txt").write_text("mine")
    with pytest.raises(error, match=message):
        enter(home, make_job(), force=force)
    assert (home / name).read_text() == content
    assert (home / "zebra.txt").read_text() == "mine"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(StorageError, match="is a file; give a folder"):
        enter(tmp_path / "run", make_job())


def test_a_folder_in_use_is_refused(folder: Path) -> None:
    with (folder / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunLockedError, match="another process"):
            enter(folder, make_job())
    enter(folder, make_job())


def test_a_file_system_without_locks_is_named(folder: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match="does not lock files"):
        enter(folder, make_job())


def test_leftovers_of_killed_processes_go(folder: Path) -> None:
    ours = [".faces.parquet.x7f.part", ".run.json.abc.part"]
    theirs = [".faces.parquet", "notes.part", ".other.part"]
    for name in ours + theirs:
        (folder / name).write_text("half")
    enter(folder, make_job())
    assert [name for name in ours if (folder / name).exists()] == []
    assert [name for name in theirs if not (folder / name).exists()] == []


def test_a_finished_run_must_be_whole(folder: Path) -> None:
    finish(folder)
    enter(folder, make_job())
    (folder / "embeddings.npy").unlink()
    with pytest.raises(CorruptFileError, match=r"without its embeddings.npy"):
        enter(folder, make_job())
    enter(folder, make_job(), force=True)


@pytest.mark.parametrize("failing", ["open", "mkdir"])
def test_no_permission_is_said_before_any_work(tmp_path: Path, monkeypatch, failing: str) -> None:
    """Simulated, since the superuser may do anything."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, failing, refuse)
    with pytest.raises(StorageError, match=r"cannot write .*run: Permission denied"):
        enter(tmp_path / "run", make_job())


def test_a_report_older_than_the_names_is_not_current(folder: Path) -> None:
    run = RunFolder(folder)
    finish(folder)
    assert not run.report_is_current
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("page")
    assert run.report_is_current
    later = (folder / "report" / "index.html").stat().st_mtime_ns + 1
    os.utime(folder / "people.parquet", ns=(later, later))
    assert not run.report_is_current
