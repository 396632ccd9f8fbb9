"""A job whose photos are found and embedded by the workers of a cluster."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("distributed", reason="the extra 'dask' is not installed")

from distributed import Client, LocalCluster

from fastface.errors import (
    BackendUnavailableError,
    InvalidInputError,
    RunMismatchError,
    StorageError,
)
from fastface.pipeline import cluster as on_cluster

FINAL = ["faces.parquet", "embeddings.npy", "people.parquet", "crops.parquet", "skipped.parquet"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about ports in use, on a busy machine
        cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=False,
            dashboard_address=None,
            memory_limit=None,
        )
    with cluster, Client(cluster) as connection:
        yield connection


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("job", "cluster"):
        monkeypatch.setattr(f"fastface.pipeline.{module}.PHOTOS_PER_SHARD", 50)


@pytest.mark.usefixtures("small_shards")
def test_the_bytes_of_one_process(fakes: ModuleType, client: Client, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 230)
    (photos / "broken.jpg").write_text("bad")
    (photos / "deadly.jpg").write_text("crash")
    here = fakes.fake_run(photos, tmp_path / "here")
    sent: list[Any] = []
    submit = on_cluster.submit

    def noted(*details: Any) -> Any:
        sent.append(details[-1])
        return submit(*details)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_cluster, "submit", noted)
        there = fakes.fake_run(photos, tmp_path / "there", scheduler=client)
    assert sorted(map(len, sent)) == [32, 50, 50, 50, 50]
    for name in FINAL:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    assert (here.n_people, here.n_skipped) == (there.n_people, 2)
    assert not on_cluster._tools, "workers kept what they had loaded"
    with pytest.raises(RunMismatchError):
        fakes.fake_run(photos, tmp_path / "there", scheduler=client, method="components")


@pytest.mark.usefixtures("small_shards")
def test_what_is_there_is_not_made_again(fakes: ModuleType, client: Client, tmp_path: Path) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 120)
    expected = fakes.fake_run(photos, tmp_path / "whole")

    class StoppedError(RuntimeError):
        pass

    class Progress:
        """Stops the job when the first shard is written."""

        def step(self, *_: object, **__: object) -> Any:
            return self

        def __enter__(self) -> Progress:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def advance(self, n: int = 1) -> None:
            raise StoppedError

    with pytest.raises(StoppedError):
        fakes.fake_run(photos, tmp_path / "run", scheduler=client, progress=Progress())
    assert len(list((tmp_path / "run/shards").iterdir())) == 1
    assert fakes.fake_run(photos, tmp_path / "run", scheduler=client).n_faces == expected.n_faces
    for name in FINAL:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_workers_that_cannot_do_it(
    fakes: ModuleType, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = fakes.make_photos(tmp_path / "photos", 3)
    monkeypatch.setattr("fastface.distributed.cluster._PATIENCE", 0.2)
    with pytest.raises(BackendUnavailableError, match="no Dask scheduler answers at 'nowhere'"):
        fakes.fake_run(photos, tmp_path / "run", scheduler="nowhere")
    recipe = on_cluster.Recipe(tmp_path / "absent", object, object, "0", {})  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="does not see the folder"):
        list(on_cluster.embed_shards_on_cluster(client, recipe, {0: ["a.jpg"]}))
    other = on_cluster.Recipe(photos, fakes.FakeExtractor, fakes.FakeEmbedder, "1" * 64, {})
    with pytest.raises(InvalidInputError, match="another model by this name"):
        list(on_cluster.embed_shards_on_cluster(client, other, {0: ["a.jpg"]}))
    monkeypatch.setattr(on_cluster, "deciding_versions", lambda: {"dlib": "0"})
    monkeypatch.setattr(Client, "run", lambda *_, **__: {"tcp://a": {"dlib": "19"}})
    with pytest.raises(InvalidInputError, match=r"has dlib 19, this process has 0"):
        fakes.fake_run(photos, tmp_path / "run", scheduler=client)
