"""Who is forgotten leaves no byte behind, does not come back, and nobody else is harmed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastface.cli import main
from fastface.errors import InvalidInputError, StorageError
from fastface.pipeline import forget
from fastface.pipeline.traces import Trace, find_traces
from fastface.report import write_report

TABLES = ("faces.parquet", "people.parquet", "crops.parquet", "skipped.parquet", "photos.parquet")


def rows(run: Path, table: str = "faces") -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = pq.read_table(run / f"{table}.parquet").to_pylist()
    return result


def name_person(run: Path, person: int, name: str) -> None:
    table = pq.read_table(run / "people.parquet")
    names = [name if p == person else None for p in table["person_id"].to_pylist()]
    place = table.schema.get_field_index("name")
    pq.write_table(
        table.set_column(place, "name", pa.array(names, pa.string())), run / "people.parquet"
    )


def everything(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def described(run: Path) -> dict[tuple[str, int], tuple[Any, ...]]:
    """Return every face by photo and box, with its person, vector and crop."""
    vectors = np.load(run / "embeddings.npy", allow_pickle=False)
    crops = {row["face_id"]: row["jpeg"] for row in rows(run, "crops")}
    assert len(vectors) == len(crops) == len(rows(run))
    return {
        (face["photo"], face["left"]): (
            face["person_id"], face["confidence"], vectors[i].tobytes(), crops[i],
        )
        for i, face in enumerate(rows(run))
    }  # fmt: skip


def test_a_person_by_name(family, fakes) -> None:
    photos, run = family
    write_report(run)
    name_person(run, 0, "Ada <Lovelace> of 'Ockham'")
    write_report(run)
    before = described(run)
    theirs = {face for face, (person, *_) in before.items() if person == 0}
    removal = forget(run, ["Ada <Lovelace> of 'Ockham'"])
    assert (removal.people, removal.faces, removal.photos) == (1, len(theirs), len(theirs))
    assert removal.vectors + removal.crops + removal.shared == 2 * len(theirs)
    assert removal.vectors >= 4
    after = described(run)
    assert after == {face: known for face, known in before.items() if face not in theirs}
    for content in everything(run).values():
        for face in theirs:
            _, _, vector, crop = before[face]
            assert vector not in content
            assert crop not in content
            assert face[0].encode() not in content
        assert b"Lovelace" not in content
    write_report(run)  # everything still fits together
    assert fakes.fake_run(photos, run).reused


def test_traces_are_found_where_something_was_left(family) -> None:
    """The proof can fail: in a note, a packed file, a table, an escaped page or a file's name."""
    _, run = family
    name_person(run, 0, "Zoë & <Co>")
    face = next(f for f in rows(run) if f["person_id"] == 0)
    vector = np.load(run / "embeddings.npy")[face["face_id"]]
    crop = rows(run, "crops")[face["face_id"]]["jpeg"]
    left = {
        "copy.npy": lambda p: np.save(p, np.stack([vector * 2, vector])),
        "copy.npz": lambda p: np.savez_compressed(p, rows=np.stack([vector] * 50)),
        "odd.bin": lambda p: p.write_bytes(b"abc" + crop + b"def"),
        "copy.parquet": lambda p: pq.write_table(pa.table({"j": [b"x" * 999, crop]}), p),
        "page.html": lambda p: p.write_text("<b>Zoë &amp; &lt;Co&gt;</b>", encoding="utf-8"),
        "note.json": lambda p: p.write_text(json.dumps(["Zoë & <Co>"])),
        "Zoë & <Co>.txt": lambda p: p.write_text("nothing"),
    }
    for name, write in left.items():
        write(run / name)
    with pytest.raises(StorageError, match="still holds something of what was forgotten") as error:
        forget(run, ["0"])
    for name in left:
        assert f"{name}: " in str(error.value)
    for name in list(left)[1:]:
        (run / name).unlink()
    with pytest.raises(StorageError, match=r"forgotten: copy\.npy: vector\. fastface"):
        forget(run, ["0"])
    (run / "copy.npy").unlink()
    assert forget(run, ["0"]).people == 1
    assert not (run / ".forgetting").exists()


def test_one_face_of_a_photo(family, fakes) -> None:
    """The photo stays for the other who is on it, and the face does not come back."""
    photos, run = family
    pair = [f for f in rows(run) if f["photo"].endswith("-9.jpg")]
    assert len(pair) == 2
    gone, stays = pair
    forget(run, [str(gone["person_id"])])
    assert [f["left"] for f in rows(run) if f["photo"] == stays["photo"]] == [stays["left"]]
    assert stays["photo"] in {row["photo"] for row in rows(run, "photos")}
    (photos / "new.jpg").write_text("1 4")
    result = fakes.fake_run(photos, run, force=True)
    boxes = [f["left"] for f in rows(run) if f["photo"] == stays["photo"]]
    assert boxes == [stays["left"]]
    assert result.n_photos == 20
    forget(run, [str(next(f for f in rows(run) if f["photo"] == stays["photo"])["person_id"])])
    fakes.fake_run(photos, run, force=True)
    assert stays["photo"] not in {f["photo"] for f in rows(run)}
    assert stays["photo"] not in {row["photo"] for row in rows(run, "photos")}


def test_photos_stay_away_until_asked_for(family, fakes) -> None:
    photos, run = family
    first, second = rows(run, "photos")[0]["photo"], rows(run, "photos")[5]["photo"]
    removal = forget(run, [first, str(photos / second), "bad.jpg"])
    assert removal.photos == 3
    assert rows(run, "skipped") == []
    assert fakes.fake_run(photos, run).reused
    (photos / "copy of it.jpg").write_bytes((photos / second).read_bytes() + b"\n")
    os.rename(photos / second, photos / "another name.jpg")
    result = fakes.fake_run(photos, run, force=True)
    seen = {row["photo"] for row in rows(run, "photos")}
    assert {first, second, "another name.jpg", "bad.jpg"} & seen == set()
    assert "copy of it.jpg" in seen  # other content
    assert result.n_photos == 17
    again = fakes.fake_run(photos, run, force=True, include_forgotten=True)
    assert again.n_photos == 20
    assert not (run / "forgotten.json").exists()
    assert fakes.fake_run(photos, run).reused


def test_the_list_holds_no_name_and_no_vector(family) -> None:
    _, run = family
    name_person(run, 1, "Grace Hopper")
    forget(run, ["Grace Hopper", "bad.jpg"])
    content = json.loads((run / "forgotten.json").read_text())
    assert "Grace" not in json.dumps(content)
    assert content["photos"]
    for photo in content["photos"]:
        assert set(photo) == {"sha256", "size", "boxes"}


def test_other_peoples_rows_stay_as_they_were(family) -> None:
    _, run = family
    name_person(run, 1, "Grace")
    table = pq.read_table(run / "people.parquet")
    pq.write_table(
        table.append_column("note", pa.array(["mine"] * table.num_rows)), run / "people.parquet"
    )
    before = {p["person_id"]: p for p in rows(run, "people")}
    cover = next(f for f in rows(run) if f["face_id"] == before[1]["cover_face_id"])
    forget(run, [cover["photo"]])
    after = {p["person_id"]: p for p in rows(run, "people")}
    assert after.keys() == before.keys()
    assert after[1]["n_faces"] == before[1]["n_faces"] - 1
    assert (after[1]["name"], after[1]["note"]) == ("Grace", "mine")
    faces = rows(run)
    for person in after.values():
        assert faces[person["cover_face_id"]]["person_id"] == person["person_id"]
    listed = [row["photo"] for row in rows(run, "photos")]
    assert all(listed[face["photo_id"]] == face["photo"] for face in faces)


def test_everybody(family) -> None:
    _, run = family
    removal = forget(run, [f"person:{p['person_id']}" for p in rows(run, "people")])
    assert removal.faces == 19
    assert rows(run) == rows(run, "people") == rows(run, "crops") == []
    assert not (run / "report").exists()


def test_what_is_not_clear_is_asked(family) -> None:
    photos, run = family
    before = everything(run)
    name_person(run, 0, "bad.jpg")
    name_person_twice = pq.read_table(run / "people.parquet").to_pylist()
    for what, message in [
        (["nobody"], "nothing in this run is called 'nobody'"),
        (["bad.jpg"], "is a person and a photo: say person:bad.jpg or photo:bad.jpg"),
        ([], "say whom or what"),
        (["../photos/../etc/passwd"], "nothing in this run"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            forget(run, what)
    for person in name_person_twice:
        person["name"] = "Twin" if person["person_id"] < 2 else None
    pq.write_table(pa.Table.from_pylist(name_person_twice), run / "people.parquet")
    with pytest.raises(InvalidInputError, match=r"2 people are called 'Twin'.*numbers, of 0, 1"):
        forget(run, ["Twin"])
    os.rename(photos, photos.with_name("moved"))
    with pytest.raises(StorageError, match=r"not in .*photos any more.*--photos FOLDER"):
        forget(run, ["0"])
    now = everything(run)
    assert {n for n in now if now[n] != before.get(n)} == {"people.parquet"}
    assert forget(run, ["0"], photos=photos.with_name("moved")).people == 1
    with pytest.raises(StorageError, match="is no run folder"):
        forget(photos.with_name("moved"), ["0"])


def test_a_photo_that_is_gone_is_told(family, capsys) -> None:
    photos, run = family
    (photos / "bad.jpg").unlink()
    assert main(["forget", str(run), "bad.jpg"]) == 0
    assert "no longer there, so not known if they come back: bad.jpg" in capsys.readouterr().out


def test_the_command(family, capsys) -> None:
    _, run = family
    (run / "attributes").mkdir()
    assert main(["forget", str(run), "0"]) == 0
    text = capsys.readouterr().out
    assert "removed 1 people, 6 photos, 6 faces" in text
    assert "no trace of" in text
    assert "attributes/ showed them and is gone" in text
    assert main(["forget", str(run), "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["people"] == 1
    assert main(["forget", str(run), "0"]) == 1
    assert "nothing in this run is called '0'" in capsys.readouterr().err


def test_an_unfinished_run(family, fakes, monkeypatch) -> None:
    photos, _ = family
    run = photos.with_name("stopped")
    monkeypatch.setattr("fastface.pipeline.job.PHOTOS_PER_SHARD", 4)
    monkeypatch.setattr("fastface.pipeline.forgetting.PHOTOS_PER_SHARD", 4)
    with monkeypatch.context() as patch:
        patch.setattr("fastface.pipeline.job.collect", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fakes.fake_run(photos, run)
    name = rows(run, "photos")[9]["photo"]
    with pytest.raises(StorageError, match="does not say where the photos are"):
        forget(run, [name])
    removal = forget(run, [name], photos=photos)
    assert removal.shards == 3  # of five; two are before it
    result = fakes.fake_run(photos, run)
    fresh = fakes.fake_run(photos, photos.with_name("fresh"))
    assert result.n_photos == fresh.n_photos - 1
    assert name not in {face["photo"] for face in rows(run)}


def killed_at(step: int, run: Path, what: list[str]) -> bool:
    """Forget in a fork that is killed before its `step`-th change of a name; say whether it was."""
    pid = os.fork()
    if pid == 0:
        left = [step]

        def counted(original):
            def call(*args: object, **options: object) -> object:
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return original(*args, **options)

            return call

        for name in ("replace", "unlink", "rename"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            forget(run, what)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("follower", ["the same command", "the job"])
def test_killed_anywhere_it_is_finished_by_what_comes_next(
    family, fakes, tmp_path: Path, follower: str
) -> None:
    photos, run = family
    expected = Path(shutil.copytree(run, tmp_path / "expected"))
    forget(expected, ["1"])
    kills = 0
    for step in range(0, 200, 4 if follower == "the same command" else 11):
        victim = Path(shutil.copytree(run, tmp_path / "victim"))
        if not killed_at(step, victim, ["1"]):
            break
        kills += 1
        committed = (victim / ".forgetting").exists()
        if follower == "the same command":
            forget(victim, ["1"])
        else:
            assert fakes.fake_run(photos, victim, report=True, workers=1).reused
        if committed or follower == "the same command":
            wanted = everything(expected)
            assert everything(victim).keys() == wanted.keys(), step
            assert {n for n, c in everything(victim).items() if c != wanted[n]} == set(), step
        shutil.rmtree(victim)
    assert kills > (7 if follower == "the same command" else 1)


def test_needles_in_every_position(tmp_path: Path, monkeypatch) -> None:
    """Also across the borders of the blocks that are read."""
    monkeypatch.setattr("fastface.pipeline.traces._BLOCK", 64)
    random = np.random.default_rng(0)
    needle = random.bytes(100)
    for start in range(0, 140, 7):
        (tmp_path / "file").write_bytes(random.bytes(start) + needle + random.bytes(90))
        assert find_traces(tmp_path, [Trace.of("crop", needle)]) == ["file: crop"], start
        assert find_traces(tmp_path, [Trace.of("crop", needle[::-1])]) == []
    (tmp_path / "file").write_bytes(needle[:-1] + b"\0")
    assert find_traces(tmp_path, [Trace.of("crop", needle)]) == []
