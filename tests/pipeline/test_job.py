from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fastface.errors import (
    CorruptFileError,
    InvalidInputError,
    NoFacesError,
    RunLockedError,
    RunMismatchError,
    StorageError,
)

FINAL = ["faces.parquet", "embeddings.npy", "people.parquet", "crops.parquet", "skipped.parquet"]


@pytest.fixture(name="fakes")
def _fakes(_fakes_in_workers):
    import fakes

    return fakes


def final_bytes(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FINAL}


def test_what_a_run_leaves(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 40)
    (photos / "broken.jpg").write_text("bad")
    (photos / "empty scene.jpg").write_text("0 0")
    result = fakes.fake_run(photos, tmp_path / "run")
    assert (result.n_photos, result.n_faces, result.n_skipped) == (42, 44, 2)
    assert not result.reused

    faces = pq.read_table(tmp_path / "run/faces.parquet")
    embeddings = np.load(tmp_path / "run/embeddings.npy", mmap_mode="r", allow_pickle=False)
    assert faces["face_id"].to_pylist() == list(range(44))
    assert faces["photo"].to_pylist() == sorted(faces["photo"].to_pylist())
    assert embeddings.shape == (44, 16)
    assert embeddings.dtype == np.float32
    # Two faces of one photo look alike here and are two people all the same.
    pairs = list(zip(faces["photo_id"].to_pylist(), faces["person_id"].to_pylist(), strict=True))
    assert len(set(pairs)) == len(pairs)

    people = pq.read_table(tmp_path / "run/people.parquet").to_pylist()
    assert [p["person_id"] for p in people] == list(range(result.n_people))
    sizes = np.bincount(faces["person_id"].to_numpy())
    assert [p["n_faces"] for p in people] == sizes.tolist() == sorted(sizes, reverse=True)
    for person in people:
        assert faces["person_id"][person["cover_face_id"]].as_py() == person["person_id"]

    skipped = pq.read_table(tmp_path / "run/skipped.parquet").to_pylist()
    assert [(s["file"], s["reason"]) for s in skipped] == [
        ("broken.jpg", "not_an_image"),
        ("empty scene.jpg", "no_face"),
    ]
    crops = pq.read_table(tmp_path / "run/crops.parquet")
    assert crops["face_id"].to_pylist() == list(range(44))
    assert all(jpeg.startswith(b"\xff\xd8") for jpeg in crops["jpeg"].to_pylist())
    info = json.loads((tmp_path / "run/run.json").read_text())
    assert info["counts"] == {"photos": 42, "faces": 44, "people": result.n_people, "skipped": 2}
    assert info["model"]["name"] == "fake"
    assert 0 <= info["share_of_cores_busy"] <= 1
    assert not (tmp_path / "run/shards").exists()


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bits(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 600)
    fakes.fake_run(photos, tmp_path / "undisturbed")
    expected = final_bytes(tmp_path / "undisturbed")
    command = [sys.executable, fakes.__file__, str(photos), str(tmp_path / "run")]
    moments = random.Random(0)
    kills = 0
    for _ in range(4):
        process = subprocess.Popen(command)
        try:
            process.wait(timeout=moments.uniform(1.0, 6.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 1
    subprocess.run(command, check=True)
    assert final_bytes(tmp_path / "run") == expected


def test_finished_shards_are_not_made_again(fakes, tmp_path: Path, monkeypatch) -> None:
    """Stop after the first shard; the second call reads only the photos of the others."""
    photos = fakes.make_photos(tmp_path / "photos", 300)
    calls = []

    class Stopping(fakes.FakeEmbedder):
        def embed(self, crops):
            calls.append(len(crops))
            if len(calls) == 10:
                raise KeyboardInterrupt
            return super().embed(crops)

    with pytest.raises(KeyboardInterrupt):
        fakes.fake_run(photos, tmp_path / "run", make_embedder=Stopping)
    shards = [p.name for p in (tmp_path / "run/shards").iterdir() if not p.name.startswith(".")]
    assert shards == ["00000000"]
    made = (tmp_path / "run/shards/00000000/embeddings.npy").stat().st_mtime_ns
    calls.clear()
    calls.extend([0] * 100)
    fakes.fake_run(photos, tmp_path / "run", make_embedder=Stopping)
    assert sum(calls) < 100
    assert made
    fakes.fake_run(photos, tmp_path / "whole")
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "whole")


def test_a_finished_run_is_reused(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 12)
    first = fakes.fake_run(photos, tmp_path / "run")
    before = (tmp_path / "run/faces.parquet").stat().st_mtime_ns
    second = fakes.fake_run(photos, tmp_path / "run")
    assert second.reused
    assert second.n_people == first.n_people
    assert (tmp_path / "run/faces.parquet").stat().st_mtime_ns == before


def test_other_parameters_or_photos_are_refused(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 12)
    fakes.fake_run(photos, tmp_path / "run")
    before = final_bytes(tmp_path / "run")
    with pytest.raises(RunMismatchError, match="method 'auto', not 'chinese-whispers'"):
        fakes.fake_run(photos, tmp_path / "run", method="chinese-whispers")
    (photos / "new.jpg").write_text("1 3")
    with pytest.raises(RunMismatchError, match=r"1 photos added since \(such as 'new.jpg'\)"):
        fakes.fake_run(photos, tmp_path / "run")
    assert final_bytes(tmp_path / "run") == before
    (tmp_path / "run/notes.txt").write_text("mine")
    assert fakes.fake_run(photos, tmp_path / "run", force=True).n_photos == 13
    assert (tmp_path / "run/notes.txt").read_text() == "mine"


def test_foreign_folders_are_left_alone(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 3)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").write_text("precious")
    for force in (False, True):
        with pytest.raises(StorageError, match=r"holds 'thesis.txt' and is no run folder"):
            fakes.fake_run(photos, tmp_path / "home", force=force)
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["thesis.txt"]
    with pytest.raises(StorageError, match="is a file"):
        fakes.fake_run(photos, tmp_path / "home/thesis.txt")


def test_a_folder_in_use_is_refused(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 3)
    fakes.fake_run(photos, tmp_path / "run")
    with (tmp_path / "run/.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunLockedError, match="another process"):
            fakes.fake_run(photos, tmp_path / "run")
    assert fakes.fake_run(photos, tmp_path / "run").reused


def test_a_photo_that_ends_its_worker_costs_only_itself(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 30)
    (photos / "photo 0013.jpg").write_text("crash")
    result = fakes.fake_run(photos, tmp_path / "run")
    assert result.n_skipped == 1
    skipped = pq.read_table(tmp_path / "run/skipped.parquet").to_pylist()
    assert [(s["file"], s["reason"]) for s in skipped] == [("photo 0013.jpg", "crashed")]
    assert result.n_faces == 29 + 3


def test_nothing_to_work_on(fakes, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoFacesError, match="no photos"):
        fakes.fake_run(tmp_path / "empty", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InvalidInputError):
        fakes.fake_run(tmp_path / "absent", tmp_path / "run")
    (tmp_path / "empty/landscape.jpg").write_text("0 0")
    for _ in range(2):
        with pytest.raises(NoFacesError, match="no face in 1 photos"):
            fakes.fake_run(tmp_path / "empty", tmp_path / "run")
    assert pq.read_table(tmp_path / "run/skipped.parquet")["reason"].to_pylist() == ["no_face"]
    assert np.load(tmp_path / "run/embeddings.npy", allow_pickle=False).shape == (0, 16)


def test_embedding_alone(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 12)
    result = fakes.fake_run(photos, tmp_path / "run", group=False)
    faces = pq.read_table(tmp_path / "run/faces.parquet")
    assert result.n_people == 0
    assert faces["person_id"].null_count == len(faces) == 14


def test_a_damaged_shard_is_named(fakes, tmp_path: Path, monkeypatch) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 5)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fastface.pipeline.job.collect", stop)
        with pytest.raises(KeyboardInterrupt):
            fakes.fake_run(photos, tmp_path / "run")
    shard = tmp_path / "run/shards/00000000"
    (shard / "embeddings.npy").write_bytes((shard / "embeddings.npy").read_bytes()[:-10])
    with pytest.raises(CorruptFileError, match=r"remove .*00000000 and run the same command again"):
        fakes.fake_run(photos, tmp_path / "run")
    for path in shard.iterdir():
        path.unlink()
    shard.rmdir()
    assert fakes.fake_run(photos, tmp_path / "run").n_faces == 6


def test_a_full_disk_keeps_finished_work(fakes, tmp_path: Path, monkeypatch) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 300)
    real = os.fsync
    state = {"left": 8}

    def full(handle: int) -> None:
        state["left"] -= 1
        if state["left"] < 0:
            raise OSError(28, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"No space left.*Finished work is kept"):
            fakes.fake_run(photos, tmp_path / "run")
    assert (tmp_path / "run/shards/00000000").is_dir()
    fakes.fake_run(photos, tmp_path / "run")
    fakes.fake_run(photos, tmp_path / "whole")
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "whole")


@pytest.mark.parametrize(
    "options", [{"method": "magic"}, {"workers": 0}, {"workers": "two"}], ids=str
)
def test_bad_parameters(fakes, tmp_path: Path, options: dict[str, object]) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 2)
    with pytest.raises(InvalidInputError):
        fakes.fake_run(photos, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
