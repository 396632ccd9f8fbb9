from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_images import png_bomb
from PIL import Image

import fastface
from fastface.cli import main
from fastface.progress import NullProgress, TerminalProgress


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = np.repeat(np.eye(5, 32), 6, axis=0) + rng.standard_normal((30, 32)) * 0.03
    np.save(tmp_path / "embeddings.npy", rows.astype(np.float32))
    return tmp_path / "embeddings.npy"


def test_cluster_writes_labels(embeddings: Path, tmp_path: Path, capsys) -> None:
    expected = np.repeat(np.arange(5), 6)
    for name in ("labels.npy", "labels.csv", "labels.parquet"):
        assert main(["cluster", str(embeddings), "--out", str(tmp_path / name)]) == 0
    assert "30 rows, 5 people" in capsys.readouterr().out
    assert np.load(tmp_path / "labels.npy").tolist() == expected.tolist()
    table = pq.read_table(tmp_path / "labels.parquet")
    assert table["person_id"].to_pylist() == expected.tolist()
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert lines[0] == "row,person_id,confidence"
    assert [int(line.split(",")[1]) for line in lines[1:]] == expected.tolist()


def test_cluster_reads_parquet(embeddings: Path, tmp_path: Path, capsys) -> None:
    rows = np.load(embeddings)
    pq.write_table(pa.table({"embedding": rows.tolist()}), tmp_path / "in.parquet")
    out = str(tmp_path / "out.npy")
    assert main(["cluster", str(tmp_path / "in.parquet"), "-o", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"rows": 30, "people": 5, "method": "overlap-linkage"}


def test_cluster_estimates_a_cutoff(tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((40, 64))
    np.save(tmp_path / "in.npy", np.repeat(centers, 5, 0) + rng.standard_normal((200, 64)) * 0.3)
    command = ["cluster", str(tmp_path / "in.npy"), "-o", str(tmp_path / "out.npy"), "--force"]
    assert main(command) == 0
    assert main([*command, "--cutoff", "estimate"]) == 0
    told = capsys.readouterr()
    assert "200 rows, 40 people" in told.out.splitlines()[1]
    assert told.out.splitlines()[0] != told.out.splitlines()[1]
    assert told.err.count("people: 3/3 steps") == 2
    with pytest.raises(SystemExit) as stop:
        main([*command, "--cutoff", "some"])
    assert stop.value.code == 2


def test_cluster_never_overwrites(embeddings: Path, tmp_path: Path, capsys) -> None:
    target = tmp_path / "labels.npy"
    target.write_bytes(b"mine")
    assert main(["cluster", str(embeddings), "-o", str(target)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert target.read_bytes() == b"mine"
    assert main(["cluster", str(embeddings), "-o", str(target), "--force"]) == 0
    assert np.load(target).shape == (30,)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "a.npy", "no matrix of numbers"),
        (b"junk", "a.npy", "no matrix of numbers"),
        (b"junk", "a.parquet", "no matrix of numbers"),
        (b"junk", "a.txt", "must end in .npy or .parquet"),
        (None, "absent.npy", "no file"),
    ],
)
def test_cluster_bad_files(content, name, message, tmp_path: Path, capsys) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["cluster", str(tmp_path / name), "-o", str(tmp_path / "out.npy")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fastface: error: ")
    assert message in error
    assert "Traceback" not in error


def test_cluster_reads_no_damaged_parquet(tmp_path: Path, capsys) -> None:
    """Its first bytes and its end are whole: what is between them is not."""
    pq.write_table(pa.table({"embedding": [[1.0, 2.0], [3.0, 4.0]]}), tmp_path / "in.parquet")
    content = (tmp_path / "in.parquet").read_bytes()
    (tmp_path / "in.parquet").write_bytes(content[:-30] + content[-8:])
    assert main(["cluster", str(tmp_path / "in.parquet"), "-o", str(tmp_path / "out.npy")]) == 1
    assert "in.parquet cannot be read: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.empty((0, 8)), "X has 0 rows"),
        (np.ones(8), "got shape (8,)"),
        (np.ones((2, 3, 4)), "got shape (2, 3, 4)"),
        (np.array([["a", "b"]]), "dtype <U1"),
        (np.ones((3, 4), complex), "dtype complex128"),
        (np.array([[1, np.inf], [0, 1]]), "X[0, 1] is inf"),
        (np.zeros((3, 4)), "all zero"),
    ],
    ids=["no rows", "vector", "three axes", "text", "complex", "infinite", "zero"],
)
def test_cluster_names_what_is_wrong_with_a_matrix(rows, message, tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "in.npy", rows)
    assert main(["cluster", str(tmp_path / "in.npy"), "-o", str(tmp_path / "out.npy")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.npy").exists()


def test_cluster_refuses_pickles_and_bad_values(tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    rows = np.ones((4, 3))
    rows[2, 1] = np.nan
    np.save(tmp_path / "nan.npy", rows)
    out = ["-o", str(tmp_path / "out.npy")]
    assert main(["cluster", str(tmp_path / "objects.npy"), *out]) == 1
    assert main(["cluster", str(tmp_path / "nan.npy"), *out]) == 1
    assert "X[2, 1] is nan" in capsys.readouterr().err
    assert not (tmp_path / "out.npy").exists()


def test_run_exit_codes(tmp_path: Path, capsys) -> None:
    (tmp_path / "photos").mkdir()
    assert main(["run", str(tmp_path / "photos"), "--out", str(tmp_path / "run")]) == 3
    assert main(["run", str(tmp_path / "absent"), "--out", str(tmp_path / "run")]) == 1
    assert main(["run", str(tmp_path), "-o", str(tmp_path / "r"), "--model", "magic"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert "no photos" in errors[0]
    assert not (tmp_path / "run").exists()
    with pytest.raises(SystemExit) as stop:
        main(["run"])
    assert stop.value.code == 2


def test_interrupt_exits_with_130(monkeypatch, tmp_path: Path, capsys) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastface.pipeline.run", stop)
    assert main(["run", str(tmp_path), "-o", str(tmp_path / "run")]) == 130
    assert "goes on where it was" in capsys.readouterr().err


def test_only_what_goes_on_is_said_to_go_on(embeddings: Path, monkeypatch, capsys) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastface.IdentityClustering.fit", stop)
    out = embeddings.with_name("out.npy")
    assert main(["cluster", str(embeddings), "-o", str(out)]) == 130
    assert capsys.readouterr().err == "\nfastface: stopped\n"
    assert not out.exists()


def spoil(folder: Path, photo: Path) -> dict[str, str]:
    """Put files that give no face beside photos, and return the reason of each."""
    (folder / "text.jpg").write_text("not a photo")
    (folder / "zero.png").write_bytes(b"")
    (folder / "half.jpg").write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    (folder / "bomb.png").write_bytes(png_bomb(60_000, 60_000))
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "up").symlink_to("..")
    Image.new("RGB", (200, 200), "blue").save(folder / "sky.png")
    return {
        "text.jpg": "not_an_image",
        "zero.png": "empty",
        "half.jpg": "truncated",
        "bomb.png": "too_large",
        "loop.jpg": "unreadable",
        "sky.png": "no_face",
    }


def vary(folder: Path, photo: Path) -> set[str]:
    """Put one photo beside the others in all kinds of pixels, and return the names."""
    with Image.open(photo) as image:
        image.convert("L").save(folder / "grey.jpg", quality=95)
        image.convert("CMYK").save(folder / "ink.jpg", quality=95)
        image.quantize(256).save(folder / "palette.png")
        deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "16 bits.png")
    return {"grey.jpg", "ink.jpg", "palette.png", "16 bits.png"}


@pytest.mark.slow
def test_photos_to_people(shared_faces: Path, tmp_path: Path, capsys) -> None:
    """The real thing: dlib's detector, the default model, the report."""
    photos = tmp_path / "photos with ünïcode"
    photos.mkdir()
    wild = sorted((shared_faces / "wild" / "photos").iterdir())[:12]
    for photo in wild:
        (photos / photo.name).symlink_to(photo)
    expected = spoil(photos, wild[0])
    kinds = vary(photos, wild[3])
    out = tmp_path / "run"
    assert main(["run", str(photos), "--out", str(out), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["photos"] == 12 + 4 + 5  # the loop is no photo
    assert found["faces"] >= 15
    assert Path(found["report"]).is_file()
    skipped = pq.read_table(out / "skipped.parquet").to_pylist()
    assert not [row for row in skipped if str(tmp_path) in row["message"]]
    assert expected.items() <= {row["file"]: row["reason"] for row in skipped}.items()
    faces = pq.read_table(out / "faces.parquet").to_pylist()
    people = {face["person_id"] for face in faces if face["photo"] in {wild[3].name, *kinds}}
    assert kinds <= {face["photo"] for face in faces}
    assert len(people) == 1
    assert main(["run", str(photos), "--out", str(out)]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main(["report", str(out), "--json"]) == 0


def test_doctor(capsys) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["instruction_set"] in found["instruction_sets"] == list(fastface.available_isas())
    assert "dlib-resnet" in [model["name"] for model in found["models"]]
    assert "onnxruntime" in found["runtimes"]
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "kernels: " in printed
    assert "\ndevices: cpu\n" in printed


def test_doctor_tells_of_a_cache_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [line for line in found["advice"] if f"{tmp_path / 'file'} is no folder" in line]
    monkeypatch.setenv("FASTFACE_CACHE_DIR", str(tmp_path / "new" / "cache"))
    assert main(["doctor", "--json"]) == 0
    assert "FASTFACE_CACHE_DIR" not in capsys.readouterr().out


def test_run_into_a_place_that_cannot_be_written(tmp_path: Path, capsys) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "run"
    assert main(["run", str(tmp_path / "photos"), "--out", str(out), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"fastface: error: cannot write {out}")
    assert error.count("\n") == 1
    assert (tmp_path / "file").read_text() == "in the way"


def test_report_of_nothing(tmp_path: Path, capsys) -> None:
    assert main(["report", str(tmp_path)]) == 1
    assert "is not a finished run folder" in capsys.readouterr().err


def test_help_is_light() -> None:
    code = (
        "import sys; from fastface.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numba', 'sklearn', 'scipy', 'onnxruntime', 'dlib', 'pyarrow', 'PIL'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY []\n")
    assert "exit codes" in done.stdout


def test_progress_on_a_terminal_is_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with TerminalProgress(stream).step("faces", 4, "photos", done=1) as step:
        step.advance(3)
    assert "faces: 100%|" in stream.getvalue()
    assert "4/4 [" in stream.getvalue()
    assert " photos/s]" in stream.getvalue()
    assert "\r" in stream.getvalue()


def test_progress_in_a_pipe_is_plain_lines() -> None:
    stream = io.StringIO()
    with TerminalProgress(stream).step("faces", 3, "photos") as step:
        for _ in range(3):
            step.advance()
    assert stream.getvalue().startswith("faces: 3/3 photos, ")
    assert "\r" not in stream.getvalue()
    with NullProgress().step("faces", 3, "photos") as silent:
        silent.advance()


def test_the_default_of_max_side_is_that_of_the_detectors() -> None:
    from fastface.cli import job_options
    from fastface.faces import DEFAULT_MAX_SIDE

    assert job_options._MAX_SIDE == DEFAULT_MAX_SIDE
