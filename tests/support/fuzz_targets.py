"""What hostile bytes can reach: each target takes bytes and may raise nothing but `FastfaceError`.

Used by ``tests/fuzz`` for a moment and by ``scripts/fuzz.py`` for as long as one likes.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastface.errors import FastfaceError

CORPUS = Path(__file__).resolve().parent.parent / "fuzz" / "corpus"
# A folder of the process's own, for formats that are read from files only.
_SCRATCH = Path(tempfile.mkdtemp(prefix="fastface-fuzz-"))


def clean_up() -> None:
    shutil.rmtree(_SCRATCH, ignore_errors=True)


def _file(data: bytes, name: str) -> Path:
    path = _SCRATCH / name
    path.write_bytes(data)
    return path


def dlib_network(data: bytes) -> None:
    from fastface.models.dlib import read_network

    read_network(data, name="fuzzed.dat")


def dlib_hog(data: bytes) -> None:
    from fastface.models.dlib.hog import read_hog_detector

    read_hog_detector(data)


def onnx_model(data: bytes) -> None:
    from fastface import models

    os.environ["FASTFACE_CACHE_DIR"] = str(_SCRATCH / "cache")
    models.load(_file(data, "model.onnx"), "arcface-112")
    shutil.rmtree(_SCRATCH / "cache", ignore_errors=True)


def image(data: bytes) -> None:
    from fastface.faces import load_image
    from fastface.report.photos import read_frame

    path = _file(data, "photo.jpg")
    read_frame(path)
    pixels = load_image(path, max_pixels=250_000)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3


def run_folder(data: bytes) -> None:
    """``name\\n`` and the content of that file; the others are those of the corpus."""
    from fastface.pipeline.folder import RunFolder
    from fastface.pipeline.forgotten import Forgotten
    from fastface.pipeline.names import keep_names
    from fastface.pipeline.storage import read_json, read_table
    from fastface.pipeline.summary import read_result
    from fastface.report import write_report
    from fastface.report.run_data import iterate_crops, read_run

    folder = _SCRATCH / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CORPUS.parent / "run", folder)
    name, _, content = data.partition(b"\n")
    known = sorted(path.name for path in folder.iterdir())
    target = folder / (name.decode("latin-1") if name.decode("latin-1") in known else known[0])
    target.write_bytes(content)
    for read in (
        lambda: read_json(target) if target.suffix == ".json" else read_table(target),
        lambda: read_result(RunFolder(folder), reused=True),
        lambda: Forgotten.of(folder),
        lambda: keep_names(folder),
        lambda: list(iterate_crops(folder, len(read_run(folder).faces))),
        # Takes a tenth of a second.
        lambda: write_report(folder, photo_root=folder) if zlib.crc32(data) % 8 == 0 else None,
    ):
        with contextlib.suppress(FastfaceError):
            read()


def graph(data: bytes) -> None:
    from fastface import NeighborGraph

    path = _file(data, "graph")
    for mmap in (True, False):
        with contextlib.suppress(FastfaceError):
            NeighborGraph.load(path, mmap=mmap)


def checkpoint(data: bytes) -> None:
    from fastface import KMeans

    rows = np.arange(24, dtype=np.float32).reshape(12, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        KMeans(2, n_init=1, max_iter=2, random_state=0, checkpoint=_file(data, "fit")).fit(rows)


def splits(data: bytes) -> None:
    from fastface import AttributeDiscovery

    AttributeDiscovery.load(_file(data, "model.npz"))


def engine(data: bytes) -> None:
    from fastface.runtimes.engine_file import read_engine

    read_engine(_file(data, "engine"))


def sealed(data: bytes) -> None:
    from fastface.vault.sealed import SealedReader

    with io.BufferedReader(SealedReader(_file(data, "sealed"), bytes(32))) as file:
        file.read()


def lock(data: bytes) -> None:
    from fastface.vault.keys import unlock

    os.environ.pop("FASTFACE_KEY_FILE", None)
    os.environ["FASTFACE_PASSPHRASE"] = "fuzz"
    unlock(_file(data, "encryption.json"))


def command_line(data: bytes) -> None:
    """Arguments are divided by zero bytes, as in ``/proc/self/cmdline``."""
    from fastface.cli import main

    arguments = [os.fsdecode(part) for part in data.split(b"\0")]
    if any(word.startswith(("build", "test")) for word in arguments):
        return  # would work for minutes, as it should
    work = _SCRATCH / "work"
    work.mkdir(exist_ok=True)
    before = Path.cwd()
    os.chdir(work)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()) as said,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            try:
                code: int | str | None = main(arguments)
            except SystemExit as ended:
                code = ended.code
        assert code in (0, 1, 2, 3), code
        assert "Traceback" not in said.getvalue()
    finally:
        os.chdir(before)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        dlib_network,
        dlib_hog,
        onnx_model,
        image,
        run_folder,
        graph,
        checkpoint,
        splits,
        engine,
        sealed,
        lock,
        command_line,
    )
}


def seeds(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def attempt(target: str, data: bytes) -> bool:
    """Feed bytes to a target; say whether it took them.  Whatever else it raises is a finding."""
    try:
        TARGETS[target](data)
    except FastfaceError:
        return False
    return True
