"""What `fastface run` prints at its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastface.cli import main
from fastface.cli.describe import describe_people, describe_skipped
from fastface.errors import CorruptFileError, StorageError
from fastface.pipeline import RunResult


def make_run(folder: Path, people: list[list[str]]) -> Path:
    """Write the tables that are read at the end: one list of photos a person, largest first."""
    folder.mkdir()
    rows = sorted((photo, person) for person, photos in enumerate(people) for photo in photos)
    faces = {"photo": [photo for photo, _ in rows], "person_id": [person for _, person in rows]}
    pq.write_table(pa.table(faces), folder / "faces.parquet")
    schema = pa.schema([("person_id", pa.int64()), ("n_faces", pa.int64()), ("name", pa.string())])
    sizes = [{"person_id": i, "n_faces": len(photos)} for i, photos in enumerate(people)]
    pq.write_table(pa.Table.from_pylist(sizes, schema), folder / "people.parquet")
    skipped = {"file": ["x\n.jpg"], "reason": ["truncated"]}
    pq.write_table(pa.table(skipped), folder / "skipped.parquet")
    return folder


def test_people_are_shown_with_their_photos(tmp_path: Path) -> None:
    groups = [["a.jpg", "c.jpg", "ä b.jpg"], ["b.jpg", "c.jpg"], ["d.jpg"]]
    assert list(describe_people(make_run(tmp_path / "run", groups))) == [
        "  person 0, 3 faces: a.jpg, c.jpg, ä b.jpg",
        "  person 1, 2 faces: b.jpg, c.jpg",
        "  1 seen only once: d.jpg",
    ]


def test_names_are_shown_whatever_the_order_of_the_table(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [["a.jpg", "b.jpg", "c.jpg"], ["d.jpg", "e.jpg"], ["f.jpg"]])
    people = pq.read_table(run / "people.parquet").to_pylist()
    people[1]["name"] = "Ada \x1b[2J"
    people[2]["name"] = " "
    pq.write_table(pa.Table.from_pylist(people[::-1]), run / "people.parquet")
    assert list(describe_people(run)) == [
        "  person 0, 3 faces: a.jpg, b.jpg, c.jpg",
        "  Ada \\x1b[2J, 2 faces: d.jpg, e.jpg",
        "  1 seen only once: f.jpg",
    ]


def test_a_damaged_table_is_one_clear_error(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [["a.jpg"]])
    (run / "people.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptFileError, match=r"people.parquet is damaged"):
        list(describe_people(run))


def test_skipped_files_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [])
    assert list(describe_skipped(run)) == ["  1 without a face: x\\n.jpg (truncated)"]
    pq.write_table(pa.table({"file": [], "reason": []}), run / "skipped.parquet")
    assert list(describe_skipped(run)) == []


def test_many_seen_once_are_cut(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[f"{person}.jpg"] for person in range(7)])
    assert list(describe_people(run)) == [
        "  7 seen only once: 0.jpg, 1.jpg, 2.jpg, 3.jpg and 3 more"
    ]


def test_long_lists_are_cut(tmp_path: Path) -> None:
    groups = [[f"{person}-{i}.jpg" for i in range(6)] for person in range(8)]
    lines = list(describe_people(make_run(tmp_path / "run", groups)))
    assert len(lines) == 6
    assert lines[0] == "  person 0, 6 faces: 0-0.jpg, 0-1.jpg, 0-2.jpg, 0-3.jpg and 2 more"
    assert lines[-1] == "  and 3 more with several faces"


def test_nobody_grouped(tmp_path: Path) -> None:
    assert list(describe_people(make_run(tmp_path / "run", []))) == []


def test_names_cannot_command_the_terminal(tmp_path: Path) -> None:
    lines = list(describe_people(make_run(tmp_path / "run", [["\x1b[2J.jpg", "two\nlines.jpg"]])))
    assert lines == ["  person 0, 2 faces: \\x1b[2J.jpg, two\\nlines.jpg"]


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the job be done already, with this outcome."""
    folder = make_run(tmp_path / "run", [["a.jpg", "b.jpg"], ["ü.jpg"]])
    page = folder / "report" / "index.html"
    result = RunResult(folder, 4, 3, 2, 1, page)
    monkeypatch.setattr("fastface.pipeline.run", lambda *_, **__: result)
    return folder


def test_run_ends_with_counts_people_and_page(finished: Path, capsys) -> None:
    assert main(["run", "photos", "--out", str(finished)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "4 photos, 3 faces, 2 people",
        "  person 0, 2 faces: a.jpg, b.jpg",
        "  1 seen only once: ü.jpg",
        "  1 without a face: x\\n.jpg (truncated)",
        f"tables: {finished}",
        f"report: {finished}/report/index.html",
    ]


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageError("cannot write two\nlines")

    monkeypatch.setattr("fastface.pipeline.run", fail)
    assert main(["run", "photos", "--out", "run"]) == 1
    assert capsys.readouterr().err == "fastface: error: cannot write two\\nlines\n"


def test_a_terminal_without_unicode(tmp_path: Path) -> None:
    """Names that stdout's encoding lacks are escaped, not fatal."""
    folder = make_run(tmp_path / "run", [["ä.jpg", "ö.jpg"]])
    code = (
        "import sys; from pathlib import Path; import fastface.pipeline as p\n"
        "folder = Path(sys.argv[1])\n"
        "p.run = lambda *a, **k: p.RunResult(folder, 2, 2, 1, 0, None)\n"
        "from fastface.cli import main; sys.exit(main(['run', 'x', '--out', 'y']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "person 0, 2 faces: \\xe4.jpg, \\xf6.jpg" in done.stdout
