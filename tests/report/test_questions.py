"""Pairs of faces that the report asks about."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastface.errors import CorruptFileError
from fastface.report import write_report


def ask(folder, rows: list[tuple[int, int, bool]]) -> None:
    first, second, same = map(list, zip(*rows, strict=True))
    table = {"face_id": first, "other_face_id": second, "same_person": same}
    pq.write_table(pa.table({**table, "n_faces": [1] * len(rows)}), folder / "questions.parquet")


def test_questions_show_both_faces_and_what_to_type(small_run):
    faces: dict[int, list[int]] = {}
    for face in small_run.faces:
        faces.setdefault(face["person_id"], []).append(face["face_id"])
    ada, stranger, typical = faces[1][0], faces[3][0], faces[0]
    answered = (typical[0], ada, True)  # they are two people by now
    ask(small_run.folder, [(ada, stranger, False), (typical[0], typical[1], True), answered])
    index = write_report(small_run.folder)
    page = (index.parent / "questions.html").read_text(encoding="utf-8")
    assert "2 pairs" in page
    assert "fastface people merge RUN 1 3" in page
    assert "fastface people apart RUN 1 3" in page
    assert f"fastface people split RUN 0 --faces {typical[0]}" in page
    for face in (ada, stranger, *typical[:2]):
        assert f'href="photos/1.html#face-{face}"' in page
    assert "fastface people merge RUN 1 3" in index.read_text(encoding="utf-8")


def test_questions_about_faces_that_are_not_there_are_refused(small_run):
    ask(small_run.folder, [(0, 10**6, False)])
    with pytest.raises(CorruptFileError, match=r"questions\.parquet .*not there"):
        write_report(small_run.folder)
