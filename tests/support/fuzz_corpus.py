"""Make ``tests/fuzz/corpus`` and ``tests/fuzz/run`` anew, where a format has changed.

Usage: ``python tests/support/fuzz_corpus.py``.  Everything is synthetic and of a few kilobytes at
most.  Findings of fuzzing (files named ``found-*``) are kept.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

TESTS = Path(__file__).resolve().parent.parent
CORPUS = TESTS / "fuzz" / "corpus"
RUN = TESTS / "fuzz" / "run"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"for_fuzzing_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put(target: str, name: str, content: bytes) -> None:
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    (CORPUS / target / name).write_bytes(content)


def models() -> None:
    dlib = load(TESTS / "models" / "conftest.py").Dlib
    rng = np.random.default_rng(0)
    two = rng.standard_normal(2)
    network = dlib.network(
        dlib.convolution(rng.standard_normal((2, 3, 3, 3)), two, stride=2),
        dlib.affine(two, two),
        dlib.RELU,
        dlib.pool("max", 2, 1),
        None,
        dlib.convolution(rng.standard_normal((2, 2, 3, 3)), two, padding=1),
        dlib.batch_norm(two, two, two, two**2, 1e-4),
        dlib.ADD,
        dlib.pool("avg", 0, 1),
        dlib.fully_connected(rng.standard_normal((2, 3)), np.zeros(3)),
    )
    put("dlib_network", "every-layer", network)
    n = 31  # planes of one cell
    hog = dlib.integers(2, 1, 0, 0, 8, 0, 8, 8, 1000, 1, 1) + dlib.real(1.0) + dlib.integer(n)
    hog += dlib.reals(0.5, 0.9) + dlib.integer(1) + dlib.integers(-n - 1, -1)
    put("dlib_hog", "one-cell", hog + dlib.reals(*rng.standard_normal(n + 1).round(2)))
    own = load(TESTS / "models" / "test_own_onnx.py")
    # Constants shrunk: a mutation should rather hit structure.
    put("onnx_model", "float", own.network(mix=np.zeros((3, 512), np.float32)).SerializeToString())
    shape = ["n", own.SIZE, own.SIZE, 3]
    put("onnx_model", "uint8", own.network(shape=shape, element=2).SerializeToString())
    outside = own.external(own.network(), location="../secret.bin")
    put("onnx_model", "data-outside", outside.SerializeToString())


def images() -> None:
    picture = np.zeros((8, 12, 3), np.uint8)
    picture[:4, :6] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "<script>"
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, kind, exif=exif)
        put("image", kind.lower(), buffer.getvalue())
    for kind, mode in (("BMP", "RGB"), ("GIF", "P"), ("PNG", "I;16"), ("TIFF", "F")):
        buffer = io.BytesIO()
        Image.fromarray(picture[..., 0]).convert(mode).save(buffer, kind)
        put("image", f"{kind.lower()}-{mode.replace(';', '')}", buffer.getvalue())


def run_folder(work: Path) -> None:
    sys.path.insert(0, str(TESTS / "pipeline"))
    os.environ["PYTHONPATH"] = str(TESTS / "pipeline")
    from fakes import fake_run, make_photos

    from fastface.pipeline import forget

    photos = make_photos(work / "photos", 6)
    fake_run(photos, work / "run")
    forget(work / "run", ["photo 0005.jpg"])
    (work / "run" / ".lock").unlink()
    shutil.rmtree(RUN, ignore_errors=True)
    shutil.copytree(work / "run", RUN)
    for path in RUN.iterdir():
        put("run_folder", path.name, path.name.encode() + b"\n" + path.read_bytes())


def arrays(work: Path) -> None:
    from fastface import AttributeDiscovery, KMeans, NeighborGraph
    from fastface.runtimes.engine_file import EngineInfo, pack_engine
    from fastface.vault import keys
    from fastface.vault.sealed import SealedWriter

    rows = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    NeighborGraph.build(rows, n_neighbors=2).save(work / "graph")
    put("graph", "nine-rows", (work / "graph").read_bytes())
    AttributeDiscovery(1, max_depth=1).fit(np.tile(rows, (8, 1))).save(work / "splits")
    put("splits", "one-split", (work / "splits").read_bytes())
    matrix = np.arange(24, dtype=np.float32).reshape(12, 2)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    fit = KMeans(2, n_init=1, max_iter=2, random_state=0, checkpoint=work / "fit", callback=stop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(KeyboardInterrupt):
            fit.fit(matrix)
    put("checkpoint", "one-step", (work / "fit").read_bytes())
    info = EngineInfo("toy", "0" * 64, "fp32", "tensorrt", "10.3", "sm_89", 8, "{}")
    put("engine", "toy", pack_engine(info, b"machine code"))
    with SealedWriter((work / "sealed").open("wb"), bytes(32)) as file:
        file.write(b"a secret" * 20)
    put("sealed", "short", (work / "sealed").read_bytes())
    keys._SCRYPT = {"n": 2, "r": 1, "p": 1}
    os.environ["FASTFACE_PASSPHRASE"] = "fuzz"
    keys.make_key(work / "encryption.json")
    put("lock", "passphrase", (work / "encryption.json").read_bytes())


def command_lines() -> None:
    for number, line in enumerate(
        [
            "run . --out out --upsample 1 --max-side 800 --workers 1 --method auto --force --quiet",
            "embed . -o out --model model.onnx --spec arcface-112 --precision int8 --threads 2",
            "cluster rows.npy -o labels.csv --neighbors 5 --cutoff estimate --method components",
            "attributes run --labels l.csv --missing ? --cut age=25,65 --name 1=a:b/c --splits 3",
            "report run --photos photos --json",
            "forget run person:Ada photo:a.jpg --photos .",
            "export dlib-resnet --precision fp16 -o model.onnx",
            "models list --json",
            "engines list",
            "doctor . --json",
            "--version",
        ]
    ):
        put("command_line", f"line-{number:02d}", "\0".join(line.split()).encode())


def main() -> None:
    for old in CORPUS.glob("*/*"):
        if not old.name.startswith("found-"):
            old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        models()
        images()
        run_folder(Path(folder))
        arrays(Path(folder))
        command_lines()


if __name__ == "__main__":
    main()
