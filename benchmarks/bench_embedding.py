"""Faces a second from crop to vector, beside dlib itself and the bare runtime sessions.

``--parity-all`` compares, live, every crop of ../shared/faces with dlib's own descriptor instead:
about ten faces a second, because that is dlib's speed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import ROOT
from benchmarks.harness import Timing, compare, print_table, ratios, write_results
from fastface import Embedder, models

FACES = ROOT.parent / "shared" / "faces"
PEERS = ("dlib-bin", "onnxruntime", "openvino", "onnx")
DLIB, BARE, OURS = "dlib", "onnxruntime session", "Embedder"
# What a conversion must reach on every crop.
LOWEST_COSINE, LARGEST_DIFFERENCE = 0.999999, 1e-5

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def crop_files() -> list[Path]:
    """Return every labelled crop there is, in order of set and name."""
    return sorted(FACES.glob("*/crops/*.jpg"))


def read_crops(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Decode crops into one array (n, 150, 150, 3)."""
    from PIL import Image

    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def sample_crops(count: int) -> tuple[NDArray[np.uint8], str]:
    """Return crops spread over all sets, or smooth noise where there are none, and which it was."""
    rng = np.random.default_rng(0)
    if files := crop_files():
        chosen = rng.choice(len(files), size=min(count, len(files)), replace=False)
        return read_crops([files[i] for i in sorted(chosen)]), "../shared/faces"
    coarse = rng.integers(0, 256, size=(count, 15, 15, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=1).repeat(10, axis=2), "generated"


def dlib_embed() -> Embed | None:
    """Return dlib's own batch call with the same weights, if dlib is installed."""
    try:
        import dlib
    except ImportError:
        return None
    weights = models.get_spec("dlib-resnet").weights
    assert weights is not None
    path = importlib.metadata.distribution(weights.distribution).locate_file(weights.file)
    network = dlib.face_recognition_model_v1(str(path))
    return lambda crops: np.asarray(network.compute_face_descriptor(list(crops)), dtype=np.float32)


def bare_session(path: Path, batch_size: int, n_threads: int, *, spin: bool) -> Embed:
    """Return a plain loop over an ONNX Runtime session: nothing checked, nothing copied."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def embed(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = (crops[i : i + batch_size] for i in range(0, len(crops), batch_size))
        return np.concatenate([session.run(None, {"crops": batch})[0] for batch in batches])

    return embed


def is_installed(distribution: str) -> bool:
    """Return whether a distribution is there to be measured."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def disagreement(found: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[float, float]:
    """Return the lowest cosine and the largest absolute difference over all rows."""
    a, b = found.astype(np.float64), reference.astype(np.float64)
    cosine = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return float(cosine.min()), float(np.abs(a - b).max())


def is_close(cosine: float, difference: float) -> bool:
    """Return whether two sets of vectors agree as well as they must."""
    return cosine >= LOWEST_COSINE and difference <= LARGEST_DIFFERENCE


def measure(options: argparse.Namespace) -> int:
    """Time everybody on the same crops in turn, check that they agree, and print the ratios."""
    crops, source = sample_crops(options.crops)
    embedder = Embedder(batch_size=options.batch_size, n_threads=options.threads)
    n_threads = embedder.n_threads_
    session = (embedder.model.onnx_path, options.batch_size, n_threads)
    candidates: dict[str, Embed] = {
        OURS: embedder.embed,
        BARE: bare_session(*session, spin=False),
        f"{BARE}, spinning": bare_session(*session, spin=True),
    }
    if is_installed("openvino"):
        candidates["Embedder, openvino"] = Embedder(
            runtime="openvino", batch_size=options.batch_size, n_threads=n_threads
        ).embed
    counts = dict.fromkeys(candidates, len(crops))
    if (peer := dlib_embed()) is not None:
        candidates[DLIB] = peer
        counts[DLIB] = min(options.dlib_crops, len(crops))

    seen = {name: candidates[name](crops[: counts[name]]) for name in candidates}
    against = DLIB if DLIB in seen else BARE
    reference = seen[against]
    parity = {name: disagreement(e[: len(reference)], reference) for name, e in seen.items()}

    calls = {
        name: (lambda embed=embed, part=crops[: counts[name]]: embed(part))
        for name, embed in candidates.items()
    }
    totals = compare(calls, rounds=options.rounds, warmup=0)
    # Seconds a face, since dlib gets fewer crops than the rest.
    timings = {
        name: Timing(name, tuple(s / counts[name] for s in timing.seconds))
        for name, timing in totals.items()
    }
    factors = {peer: ratios(timings, against=peer) for peer in dict.fromkeys((against, BARE))}
    print(
        f"{len(crops)} crops from {source}, batches of {options.batch_size}, "
        f"{n_threads} threads, median of {options.rounds} rounds; differences are from {against}"
    )
    print_table(
        ["candidate", "faces/s", *(f"times {peer}" for peer in factors), "cosine", "difference"],
        [
            [name, timing.rate(1), *(factors[p][name] for p in factors), f"{parity[name][0]:.9f}",
             parity[name][1]]
            for name, timing in timings.items()
        ],
    )  # fmt: skip
    results = {
        "crops": len(crops), "source": source, "crops_each": counts, "rounds": options.rounds,
        "batch_size": options.batch_size, "n_threads": n_threads,
        "faces_per_second": {name: timing.rate(1) for name, timing in timings.items()},
        "seconds_per_face": timings, "ratios": factors, "parity_with": against, "parity": parity,
        "model_sha256": embedder.model.sha256,
    }  # fmt: skip
    name = "embedding-smoke" if options.smoke else "embedding"
    print(write_results(name, results, peers=PEERS))
    wrong = [name for name, values in parity.items() if not is_close(*values)]
    if wrong:
        print(f"not the same vectors as {against}: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def batches(paths: Sequence[Path], size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield crops, `size` at a time."""
    for start in range(0, len(paths), size):
        yield read_crops(paths[start : start + size])


def check_all(options: argparse.Namespace) -> int:
    """Compare every crop there is with dlib, live, runtime by runtime."""
    files, reference = crop_files(), dlib_embed()
    if not files or reference is None:
        print("needs ../shared/faces and dlib", file=sys.stderr)
        return 2
    runtimes = ["onnxruntime", *(["openvino"] if is_installed("openvino") else [])]
    embedders = {name: Embedder(runtime=name, n_threads=options.threads) for name in runtimes}
    worst = dict.fromkeys(runtimes, (1.0, 0.0))
    start, done = time.perf_counter(), 0
    for crops in batches(files, 64):
        expected = reference(crops)
        for name, embedder in embedders.items():
            cosine, difference = disagreement(embedder.embed(crops), expected)
            worst[name] = min(worst[name][0], cosine), max(worst[name][1], difference)
        done += len(crops)
        rate = done / (time.perf_counter() - start)
        print(f"\r{done} of {len(files)} crops, {rate:.1f}/s", end="", file=sys.stderr)
    print(file=sys.stderr)
    print_table(
        ["runtime", "crops", "lowest cosine", "largest difference"],
        [[name, done, f"{values[0]:.9f}", values[1]] for name, values in worst.items()],
    )
    results: dict[str, Any] = {"crops": done, "lowest_cosine_and_largest_difference": worst}
    print(write_results("embedding-parity", results, peers=PEERS))
    return 0 if all(is_close(*values) for values in worst.values()) else 1


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks embedding", description=__doc__)
    parser.add_argument("--crops", type=int, default=256, help="crops for all but dlib (256)")
    parser.add_argument("--dlib-crops", type=int, default=32, help="crops for dlib (32)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None, help="all cores unless given")
    parser.add_argument("--smoke", action="store_true", help="tiny: does it still run?")
    parser.add_argument("--parity-all", action="store_true", help="every crop against dlib")
    options = parser.parse_args(argv)
    if options.smoke:
        options.crops, options.dlib_crops, options.rounds = 32, 4, 2
    return options


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    options = parse(argv)
    return check_all(options) if options.parity_all else measure(options)
