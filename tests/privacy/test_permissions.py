"""Whoever made a run folder may read it, and nobody else, whatever the umask is."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastface import AttributeDiscovery, KMeans, NeighborGraph
from fastface.cli import main
from fastface.errors import StorageError
from fastface.pipeline.folder import RunFolder
from fastface.private import ExposedWarning, exposed
from fastface.report import write_report


@pytest.fixture(autouse=True)
def _permissive_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    paths = [folder, *folder.rglob("*")]
    return {str(p.relative_to(folder.parent)): stat.S_IMODE(p.lstat().st_mode) for p in paths}


def assert_private(folder: Path) -> None:
    open_ones = {name: oct(mode) for name, mode in modes(folder).items() if mode & 0o077}
    assert open_ones == {}


def test_a_finished_run(finished_run: Path) -> None:
    assert_private(finished_run)
    assert len(modes(finished_run)) > 20  # tables, report, crops


def test_an_unfinished_run(fakes, photos: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fastface.pipeline.job.collect", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fakes.fake_run(photos, tmp_path / "deep" / "run")
    assert (tmp_path / "deep" / "run" / "shards" / "00000000" / "embeddings.npy").is_file()
    assert_private(tmp_path / "deep")


def test_what_the_library_writes_on_request(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    NeighborGraph.build(rows, n_neighbors=5).save(tmp_path / "graph")
    AttributeDiscovery(2, max_depth=1).fit(rows).save(tmp_path / "model.npz")
    KMeans(3, n_init=1, max_iter=2, checkpoint=tmp_path / "fit").fit(rows)
    written = {name: mode for name, mode in modes(tmp_path).items() if name != tmp_path.name}
    assert written
    assert set(written.values()) == {0o600}


@pytest.mark.filterwarnings("ignore:Only one sample")
def test_attributes(finished_run: Path) -> None:
    assert main(["attributes", str(finished_run), "--quiet"]) == 0
    assert (finished_run / "attributes" / "means").is_dir()
    assert_private(finished_run)


def test_a_folder_of_the_users_is_left_as_it_is(fakes, photos: Path, tmp_path: Path) -> None:
    """Files in it are closed all the same; names alone can then be seen."""
    (tmp_path / "run").mkdir(mode=0o755)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fakes.fake_run(photos, tmp_path / "run")
    found = modes(tmp_path / "run")
    assert found.pop("run") == 0o755
    assert not [name for name, mode in found.items() if mode & 0o077]


def test_what_is_open_is_told(finished_run: Path, fakes, photos: Path, capsys) -> None:
    finished_run.chmod(0o755)
    (finished_run / "embeddings.npy").chmod(0o644)
    with pytest.warns(ExposedWarning, match=r"read 1 files and folders in .*embeddings.npy: chmod"):
        fakes.fake_run(photos, finished_run)
    assert main(["doctor", str(finished_run)]) == 0
    text = capsys.readouterr().out
    assert "2 files and folders open to other users" in text
    assert "chmod -R go=" in text
    finished_run.chmod(0o700)  # closes all that is in it
    assert exposed(finished_run) == []
    assert main(["doctor", str(finished_run)]) == 0
    assert "its owner's alone" in capsys.readouterr().out
    assert main(["doctor", str(finished_run / "nowhere")]) == 1
    assert "is no folder" in capsys.readouterr().err


def test_a_lock_that_is_a_link_is_not_followed(fakes, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="symbolic link"):
        fakes.fake_run(photos, tmp_path / "run")
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_folder_may_be_a_link(fakes, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")
    fakes.fake_run(photos, tmp_path / "run")
    assert RunFolder(tmp_path / "real").finished


def test_reports_of_before_are_replaced_by_private_ones(finished_run: Path) -> None:
    index = finished_run / "report" / "index.html"
    index.chmod(0o666)
    write_report(finished_run)
    assert_private(finished_run)
