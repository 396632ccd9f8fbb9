"""Names, links, archives and files made to do harm."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.lib import format as npy
from PIL import Image

import fastface
from fastface import AttributeDiscovery, NeighborGraph
from fastface.cli import main
from fastface.errors import CorruptFileError, FastfaceError, StorageError
from fastface.faces import find_photos
from fastface.pipeline.storage import read_json, read_table
from fastface.report import write_report

PACKAGE = Path(fastface.__file__).parent

NAMES = [
    "<script>document.title='taken'</script>",
    '"><img src=x onerror=alert(1)>',
    "../../etc/passwd",
    "line\nbreak and \x1b[31mred\x1b[0m",
    "\u202egpj.exe",
    "javascript:alert(1)",
    "{{ 7 * 7 }} {% include '/etc/passwd' %}",
    "' onmouseover='alert(1)",
]


# ---------------------------------------------------------------- nothing on disk is run


FORBIDDEN = {"pickle", "cPickle", "dill", "shelve", "marshal", "cloudpickle", "joblib", "yaml"}


def unsafe_calls(source: str) -> list[str]:
    """Return what could run what it reads, by line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            )
            found += [f"{node.lineno}: {m}" for m in modules if m and m.split(".")[0] in FORBIDDEN]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        reads = name in ("np.load", "npy.read_array", "np.save", "npy.write_array", "np.lib.format")
        if reads and options.get("allow_pickle") != "False":
            found.append(f"{node.lineno}: {name} without allow_pickle=False")
        if name in ("eval", "exec", "torch.load", "os.system", "__import__"):
            found.append(f"{node.lineno}: {name}")
    return found


def test_no_file_is_unpickled_or_run() -> None:
    found = {
        str(path.relative_to(PACKAGE)): calls
        for path in PACKAGE.rglob("*.py")
        if (calls := unsafe_calls(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line", ["import pickle", "from joblib import dump", "np.load(f)", "np.save(f, a)",
             "np.load(f, allow_pickle=True)", "torch.load(f)", "eval(text)"],
)  # fmt: skip
def test_the_check_itself(line: str) -> None:
    assert unsafe_calls(line)
    assert unsafe_calls("np.load(f, allow_pickle=False)") == []


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("sprung",)


def test_a_pickle_in_disguise_is_refused(finished_run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    trap = np.array([Trap()], dtype=object)
    np.save(tmp_path / "rows.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "splits.npz", about=trap, allow_pickle=True)
    shutil.copy(tmp_path / "rows.npy", finished_run / "embeddings.npy")
    for attempt in (
        lambda: NeighborGraph.load(tmp_path / "splits.npz"),
        lambda: AttributeDiscovery.load(tmp_path / "splits.npz"),
    ):
        with pytest.raises(FastfaceError):
            attempt()
    for command in (
        ["cluster", "rows.npy", "-o", "labels.npy"],
        ["attributes", str(finished_run)],
        ["forget", str(finished_run), "0"],
    ):
        assert main([*command, "--quiet"]) == 1, command
    assert not (tmp_path / "sprung").exists()


# ---------------------------------------------------------------- files that claim too much


def test_a_table_that_claims_too_much(tmp_path: Path, monkeypatch) -> None:
    bomb = tmp_path / "faces.parquet"
    pq.write_table(pa.table({"face_id": pa.array(np.zeros(3_000_000, np.int64))}), bomb)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(CorruptFileError, match=r"claims 3,000,000 rows"):
        read_table(bomb)
    long = tmp_path / "people.parquet"
    texts = pa.DictionaryArray.from_arrays(np.arange(900) % 2, ["x" * 5000, "y" * 5000])
    pq.write_table(pa.table({"person_id": np.arange(900), "name": texts.cast(pa.string())}), long)
    assert read_table(long).schema.field("name").type == pa.string()
    monkeypatch.setattr("fastface.vault.tables._TEXT_BYTES", 1_000_000)
    with pytest.raises(CorruptFileError, match="the texts in name are too long"):
        read_table(long)


def test_json_that_is_too_large_or_too_deep(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "run.json"
    path.write_text("[" * 200_000)
    with pytest.raises(CorruptFileError):
        read_json(path)
    with path.open("wb") as file:
        file.truncate(1 << 29)  # sparse: costs no disk
    with pytest.raises(CorruptFileError, match="536,870,912 bytes, more than"):
        read_json(path)


@pytest.mark.parametrize("mmap", [True, False])
def test_archives_that_lie(tmp_path: Path, mmap: bool) -> None:
    """Huge shapes, names that climb, packed bombs: refused without the memory they ask for."""
    rows = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    NeighborGraph.build(rows, n_neighbors=2).save(tmp_path / "graph")
    with zipfile.ZipFile(tmp_path / "graph") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    changed = next(name for name in members if name.endswith(".npy"))
    header = {"descr": "<i4", "fortran_order": False, "shape": (1 << 40, 1 << 20)}
    with (tmp_path / "header").open("wb") as file:
        npy.write_array_header_1_0(file, header)
    huge = (tmp_path / "header").read_bytes()
    for replaced in ({changed: huge + bytes(100)}, {changed: huge}, {"../../climb.npy": huge}):
        with zipfile.ZipFile(tmp_path / "bad", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in (members | replaced).items():
                archive.writestr(name, content)
        with pytest.raises(CorruptFileError):
            NeighborGraph.load(tmp_path / "bad", mmap=mmap)
    assert not (tmp_path.parent.parent / "climb.npy").exists()


# ---------------------------------------------------------------- names and links


@pytest.fixture
def hostile_run(family: tuple[Path, Path]) -> Path:
    """Names of people and photos replaced by hostile ones, as another program may write them."""
    photos, run = family
    people = pq.read_table(run / "people.parquet").to_pylist()
    for person, name in zip(people, NAMES * 2, strict=False):
        person["name"] = name
    pq.write_table(pa.Table.from_pylist(people), run / "people.parquet")
    faces = pq.read_table(run / "faces.parquet")
    old = sorted(set(faces["photo"].to_pylist()))
    new = dict(zip(old, [f"{i} {name}.jpg" for i, name in enumerate(NAMES)], strict=False))
    new[old[8]] = "../../outside.jpg"
    renamed = [new.get(name, name) for name in faces["photo"].to_pylist()]
    faces = faces.set_column(faces.schema.get_field_index("photo"), "photo", pa.array(renamed))
    pq.write_table(faces, run / "faces.parquet")
    skipped = [{"file": name, "reason": name, "message": name} for name in NAMES]
    pq.write_table(pa.Table.from_pylist(skipped), run / "skipped.parquet")
    info = json.loads((run / "run.json").read_text())
    info["model"] = dict.fromkeys(("name", "licence", "licence_url"), NAMES[0])
    info["parameters"] |= {NAMES[1]: NAMES[0]}
    (run / "run.json").write_text(json.dumps(info))
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = NAMES[0]
    Image.new("RGB", (40, 30)).save(photos / "0 x.jpg", exif=exif)
    return run


def test_hostile_names_stay_text_and_inside(hostile_run: Path) -> None:
    index = write_report(hostile_run)
    pages = list(index.parent.rglob("*.html"))
    assert len(pages) > 4
    for page in pages:
        html = page.read_text(encoding="utf-8")
        for wrong in ("<script", "<img src=x", "onerror=alert(1)>", "\x1b", "\u202e", "49 "):
            assert wrong not in html, (page.name, wrong)
        assert 'href="javascript:' not in html
        assert not re.search(r'(href|src)="[^"]*outside', html)
        assert 'http-equiv="Content-Security-Policy"' in html
    assert {p.name for p in hostile_run.iterdir()} >= {"report", "run.json"}


@pytest.mark.filterwarnings("ignore:Only one sample")
def test_hostile_names_on_the_page_of_attributes(hostile_run: Path, capsys) -> None:
    command = ["attributes", str(hostile_run), "--quiet", "--splits", "2"]
    command += ["--name", f"1={NAMES[0].replace('/', '|')}:a<b/c"]
    assert main(command) == 0
    html = (hostile_run / "attributes" / "index.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert 'http-equiv="Content-Security-Policy"' in html
    assert "\x1b" not in capsys.readouterr().out


def test_the_browser_runs_nothing_and_asks_nobody(
    hostile_run: Path, chromium: str, tmp_path: Path
) -> None:
    """Under its policy the page draws itself; all it asks the network for is nothing."""
    index = write_report(hostile_run)
    log = tmp_path / "net.json"
    done = subprocess.run(
        [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
         "--virtual-time-budget=2000", "--enable-logging=stderr", "--v=0",
         f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", index.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "taken" not in done.stdout.split("</title>")[0]
    assert "Content Security Policy" not in done.stderr  # nothing of its own was blocked
    asked = json.loads(log.read_text(encoding="utf-8", errors="replace"))
    ours = [e for e in asked["events"] if "passwd" in str(e) or "alert" in str(e)]
    assert [e for e in ours if "http" in str(e.get("params", {}).get("url", ""))] == []


def test_terminals_are_not_obeyed(hostile_run: Path, capsys) -> None:
    main(["forget", str(hostile_run), "nobody \x1b[31m\u202e"])
    main(["report", str(hostile_run), "--quiet"])
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert "\u202e" not in told.out + told.err
    assert "nobody" in told.err


@pytest.mark.parametrize(
    "name", ["shards", "embeddings.npy", "report", "attributes", ".forgetting"]
)
def test_links_in_a_run_folder_harm_nothing_outside(
    family: tuple[Path, Path], fakes, tmp_path: Path, name: str
) -> None:
    photos, run = family
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("years of work")
    (outside / "00000000").mkdir()
    (outside / "00000000" / "thesis.txt").write_text("years of work")
    target = outside / "precious.txt" if name == "embeddings.npy" else outside
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    before = {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()}
    for attempt in (
        lambda: fakes.fake_run(photos, run, report=True),
        lambda: main(["forget", str(run), "0"]),
        lambda: fakes.fake_run(photos, run, report=True, force=True),
    ):
        with contextlib.suppress(StorageError):
            attempt()
    assert {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()} == before


def test_links_among_photos(tmp_path: Path) -> None:
    """Links out of the folder are followed, as documented, and what is no photo gives no face."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "secret.jpg").symlink_to("/etc/passwd")
    (photos / "loop").symlink_to(photos)
    (photos / "null.jpg").symlink_to("/dev/zero")
    (photos / "gone.jpg").symlink_to("nowhere")
    listing = find_photos(photos)
    assert listing.photos == ["secret.jpg"]
    assert {s.reason for s in listing.skipped} == {"not_a_file", "unreadable"}
    run = tmp_path / "run"
    assert main(["run", str(photos), "--out", str(run), "--quiet", "--workers", "1"]) == 3
    (row,) = [r for r in read_table(run / "skipped.parquet").to_pylist() if "secret" in r["file"]]
    assert row["reason"] == "not_an_image"
    assert "root" not in row["message"]
    assert all(b"root:" not in p.read_bytes() for p in run.rglob("*") if p.is_file())


# ---------------------------------------------------------------- nobody is told

HOOK = """
import os, sys

def note(event, args):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo",
                 "socket.gethostbyname", "urllib.Request"):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{event} {args!r}\\n")

sys.addaudithook(note)
"""


def test_a_run_tells_nobody(tmp_path: Path) -> None:
    """Neither Python, in any process of the job, nor what it loads opens a connection."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    log, trace = tmp_path / "network.log", tmp_path / "trace.log"
    crops = tmp_path / "crops"
    crops.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 256, (150, 150, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(crops / f"{i}.png")
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "hook"),
        "NETWORK_LOG": str(log),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    environment.pop("ORT_DISABLE_TELEMETRY")  # which fastface must set
    tracer = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)]
    command = [sys.executable, "-m", "fastface", "run", str(crops), "--quiet", "--workers", "1"]
    traced = shutil.which("strace") is not None
    command += ["--crops", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [*(tracer if traced else []), *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not log.exists(), log.read_text()
    if traced:
        assert [line for line in trace.read_text().splitlines() if "AF_INET" in line] == []
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    # ONNX Runtime would prepare here what it sends after some seconds.
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*")) == []
    probe = "import socket; s = socket.socket(socket.AF_INET, 2); s.connect(('127.0.0.1', 9))"
    subprocess.run([sys.executable, "-c", probe], env=environment, check=True)
    assert "socket.connect" in log.read_text()  # the hook works
