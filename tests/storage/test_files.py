from __future__ import annotations

from pathlib import Path

import pytest

from fastface.errors import StorageError
from fastface.storage import replacing


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("of yesterday")

    def fail() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "of yesterday"
    assert left_in(tmp_path) == ["labels.csv"]


def test_what_a_killed_process_left_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    (tmp_path / ".labels.csv.part").write_text("a long text of a process that was killed")
    with replacing(path) as part:
        assert part.name == ".labels.csv.part"
        part.write_text("whole")
    assert path.read_text() == "whole"
    assert left_in(tmp_path) == ["labels.csv"]
    assert path.stat().st_mode & 0o077 == 0


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            assert second != first
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert left_in(tmp_path) == ["labels.csv"]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".labels.csv.part").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError), replacing(tmp_path / "labels.csv") as part:
        part.write_text("lost")
    assert (tmp_path / "precious").read_text() == "precious"
