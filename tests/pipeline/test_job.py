from __future__ import annotations

import json
import os
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
    StorageError,
)
from fastface.models import get_spec
from fastface.pipeline.finish import choose_cutoff
from fastface.pipeline.listing import photos_table

FINAL = ["faces.parquet", "embeddings.npy", "people.parquet", "crops.parquet", "skipped.parquet"]


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


def test_finished_shards_are_not_made_again(fakes, tmp_path: Path) -> None:
    """Stop in the second shard; the next call embeds only the faces of that one."""
    photos = fakes.make_photos(tmp_path / "photos", 300)
    embedded = []

    class Stopping(fakes.FakeEmbedder):
        batches_left = 10

        def embed(self, crops):
            embedded.append(len(crops))
            self.batches_left -= 1
            if self.batches_left == 0:
                raise KeyboardInterrupt
            return super().embed(crops)

    with pytest.raises(KeyboardInterrupt):
        fakes.fake_run(photos, tmp_path / "run", make_embedder=Stopping)
    shards = [p.name for p in (tmp_path / "run/shards").iterdir() if not p.name.startswith(".")]
    assert shards == ["00000000"]
    embedded.clear()
    fakes.fake_run(photos, tmp_path / "run", make_embedder=Stopping)
    # 44 photos are left, 4 of them with two faces (those whose number ends in 0).
    assert sum(embedded) == 44 + 4
    fakes.fake_run(photos, tmp_path / "whole")
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "whole")


def test_results_do_not_depend_on_the_number_of_workers(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 40)
    fakes.fake_run(photos, tmp_path / "one", workers=1)
    fakes.fake_run(photos, tmp_path / "three", workers=3)
    assert final_bytes(tmp_path / "one") == final_bytes(tmp_path / "three")


def test_the_output_may_be_among_the_photos(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 3)
    assert fakes.fake_run(photos, photos / "people").n_photos == 3
    (photos / "people" / "shards.jpg").write_text("1 1")
    assert fakes.fake_run(photos, photos / "people").reused


def test_a_finished_run_is_reused(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 12)
    first = fakes.fake_run(photos, tmp_path / "run")
    before = (tmp_path / "run/faces.parquet").stat().st_mtime_ns
    second = fakes.fake_run(photos, tmp_path / "run")
    assert second.reused
    assert second.n_people == first.n_people
    assert (tmp_path / "run/faces.parquet").stat().st_mtime_ns == before


def test_nothing_to_work_on(fakes, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoFacesError, match=r"no photos in .*empty"):
        fakes.fake_run(tmp_path / "empty", tmp_path / "run")
    (tmp_path / "empty/gone.jpg").symlink_to("nowhere")
    with pytest.raises(NoFacesError, match=r"1 files cannot be used, such as 'gone.jpg'"):
        fakes.fake_run(tmp_path / "empty", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InvalidInputError):
        fakes.fake_run(tmp_path / "absent", tmp_path / "run")
    (tmp_path / "empty/gone.jpg").unlink()
    (tmp_path / "empty/landscape.jpg").write_text("0 0")
    for _ in range(2):
        with pytest.raises(NoFacesError, match=r"no face in 1 photos \(1 no_face\)"):
            fakes.fake_run(tmp_path / "empty", tmp_path / "run")
    assert pq.read_table(tmp_path / "run/skipped.parquet")["reason"].to_pylist() == ["no_face"]
    assert np.load(tmp_path / "run/embeddings.npy", allow_pickle=False).shape == (0, 16)


def test_a_photo_that_vanishes_on_the_way_is_skipped(fakes, tmp_path: Path, monkeypatch) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 3)

    def list_and_lose(listing):
        table = photos_table(listing)
        (photos / "photo 0001.jpg").unlink()
        return table

    monkeypatch.setattr("fastface.pipeline.job.photos_table", list_and_lose)
    result = fakes.fake_run(photos, tmp_path / "run")
    assert (result.n_photos, result.n_faces, result.n_skipped) == (3, 3, 1)


def test_a_model_without_a_cutoff_gets_one(tmp_path: Path) -> None:
    spec = get_spec("arcface-112")
    assert spec.linkage_cutoff is None
    few = np.eye(5, 512, dtype=np.float32)
    # Too few faces to estimate from: cosine distance c is √(2c) on the unit sphere.
    assert choose_cutoff(spec, few) == pytest.approx(np.sqrt(2 * spec.same_person_distance))
    many = np.random.default_rng(0).standard_normal((500, 512)).astype(np.float32)
    estimate = choose_cutoff(spec, many)
    assert 1.1 < estimate < np.sqrt(2)
    dlib = get_spec("dlib-resnet")
    assert choose_cutoff(dlib, many) == pytest.approx(0.55 / 1.43)


def test_embedding_alone(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 12)
    result = fakes.fake_run(photos, tmp_path / "run", group=False)
    faces = pq.read_table(tmp_path / "run/faces.parquet")
    assert result.n_people == 0
    assert faces["person_id"].null_count == len(faces) == 14


def test_a_damaged_shard_is_made_anew(fakes, tmp_path: Path, monkeypatch) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 5)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fastface.pipeline.job.collect", stop)
        with pytest.raises(KeyboardInterrupt):
            fakes.fake_run(photos, tmp_path / "run")
    shard = tmp_path / "run/shards/00000000"
    (shard / "embeddings.npy").write_bytes((shard / "embeddings.npy").read_bytes()[:-10])
    with pytest.warns(
        UserWarning, match=r"shards/00000000: .*embeddings.npy is not what was written"
    ):
        assert fakes.fake_run(photos, tmp_path / "run").n_faces == 6
    fakes.fake_run(photos, tmp_path / "whole")
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "whole")


def test_a_disk_that_damages_every_shard(fakes, tmp_path: Path, monkeypatch) -> None:
    """Made anew once, not for ever."""
    photos = fakes.make_photos(tmp_path / "photos", 5)

    def damaged(*_: object) -> None:
        raise CorruptFileError("not what was written")

    monkeypatch.setattr("fastface.pipeline.shards.ShardStore._compare_checksums", damaged)
    with (
        pytest.warns(UserWarning, match="1 shards are made anew"),
        pytest.raises(CorruptFileError, match="a finished shard is damaged"),
    ):
        fakes.fake_run(photos, tmp_path / "run")


def test_a_finished_run_that_was_damaged_is_refused(fakes, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 5)
    fakes.fake_run(photos, tmp_path / "run")
    path = tmp_path / "run/embeddings.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CorruptFileError, match=r"embeddings\.npy is not what was written"):
        fakes.fake_run(photos, tmp_path / "run")


def test_a_full_disk_keeps_finished_work(fakes, tmp_path: Path, monkeypatch) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 300)
    real = os.fsync
    state = {"left": 14}  # the job, its photos, and the first shard

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


def test_a_disk_that_takes_no_more_bytes(fakes, tmp_path: Path) -> None:
    """Really refused in the middle of a file: the system lets this process write no long ones."""
    photos = fakes.make_photos(tmp_path / "photos", 300)
    code = (
        "import resource, sys; from pathlib import Path; from fakes import fake_run;"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        " fake_run(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(photos), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "StorageError: cannot write " in done.stderr
    assert "Finished work is kept" in done.stderr
    assert not (tmp_path / "run/run.json").exists()
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
