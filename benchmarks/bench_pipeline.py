"""The whole job, photos to people: photos a second beside dlib's own detector, stage by stage.

Every job runs in processes of its own on the same photos, start-up and report included, in turn
with the others.  Then: how near the overlapped stages come to the slowest of them alone, and the
detectors side by side (``python -m benchmarks detection``).
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import ROOT, bench_detection
from benchmarks.harness import measure_peak_rss, print_table, write_results

WILD = ROOT.parent / "shared" / "faces" / "wild"
YUNET = ROOT.parent / "shared" / "models" / "yunet_n_dynamic.onnx"
FIRST = "dlib's own search, fp32"
DEFAULT = "dlib-hog, fp32"


def jobs() -> dict[str, list[str]]:
    """Return what is compared: the first one is how the job was at first."""
    found = {
        FIRST: ["--detector", "dlib"],
        DEFAULT: [],
        "dlib-hog, int8": ["--precision", "int8"],
    }
    if YUNET.is_file():
        yunet = ["--detector", str(YUNET), "--max-side", "320"]
        found["YuNet 320 px, fp32"] = yunet
        found["YuNet 320 px, int8"] = [*yunet, "--precision", "int8"]
    return found


def start(photos: Path, *arguments: str) -> dict[str, Any]:
    """Run one job in a process of its own and return what it says."""
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        module = [sys.executable, "-m", "benchmarks.pipeline_parts"]
        peak = measure_peak_rss([*module, str(photos), f"{out}/run", *arguments])
        seconds = time.perf_counter() - began
    return {
        **json.loads(peak.stdout.splitlines()[-1]),
        "seconds": seconds,
        "peak_rss_bytes": peak.rss_bytes,
    }


def measure_overlap(photos: Path, n_photos: int, workers: int, precision: str) -> dict[str, Any]:
    """Compare the overlapped stages with what each does alone, and with what the cores allow."""
    common = ["--workers", str(workers), "--precision", precision]
    alone = start(photos, "--stages", *common)
    together = start(photos, *common)["timings"]["find and embed"]
    slowest = max(alone["find"], alone["embed"])
    # As fast as the slowest stage here, but on another device, so that both can keep their pace.
    elsewhere = start(
        photos, "--embed-elsewhere", str(alone["find"] / max(alone["faces"], 1)), *common
    )["timings"]["find and embed"]
    return {
        "find_photos_per_second": n_photos / alone["find"],
        "embed_photos_per_second": n_photos / alone["embed"],
        "together_photos_per_second": n_photos / together,
        "of_the_slowest_stage": slowest / together,
        "of_what_the_cores_allow": (alone["find"] + alone["embed"]) / together,
        "of_the_slowest_stage_embedding_elsewhere": alone["find"] / elsewhere,
    }


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pipeline", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few photos: does it still run?")
    parser.add_argument("--limit", type=int, help="so many photos only")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-detection", action="store_true", help="not the detectors apart")
    options = parser.parse_args(argv)
    if not WILD.is_dir():
        print(f"the photos are not at {WILD}: nothing to measure")
        return 0
    with (WILD / "photos.csv").open(newline="", encoding="utf-8") as file:
        names = sorted(Path(row["photo"]).name for row in csv.DictReader(file))
    names = names[: 6 if options.smoke else options.limit]
    rounds = 1 if options.smoke else options.rounds
    compared = dict(list(jobs().items())[:2]) if options.smoke else jobs()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in compared}
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder)
        for name in names:
            (photos / name).symlink_to(WILD / "photos" / name)
        for _ in range(rounds):
            for name, arguments in compared.items():
                found[name].append(start(photos, *arguments, "--workers", str(options.workers)))
        overlap = measure_overlap(photos, len(names), options.workers, "fp32")
    n = len(names)

    def median(name: str, key: str) -> float:
        return statistics.median(float(job[key]) for job in found[name])

    first = median(FIRST, "seconds")
    print_table(
        ["job", "photos/s", "times the first", "s", "core s", "cores busy", "MiB", "people"],
        [
            [
                name,
                n / median(name, "seconds"),
                first / median(name, "seconds"),
                median(name, "seconds"),
                median(name, "processor_seconds"),
                median(name, "share_of_cores_busy"),
                int(median(name, "peak_rss_bytes") / 2**20),
                str(runs[0]["counts"]["people"]),
            ]
            for name, runs in found.items()
        ],
    )
    print(f"{n} photos, {options.workers} workers, median of {rounds}; MiB: the largest process\n")
    stages = found[DEFAULT][-1]["stages"]
    print_table(
        ["stage", "busy s", "lanes", "utilization"],
        [[k, v["busy_seconds"], str(v["lanes"]), v["utilization"]] for k, v in stages.items()],
    )
    timings = found[DEFAULT][-1]["timings"]
    print(f"{DEFAULT}: {', '.join(f'{k} {v:.2f} s' for k, v in timings.items())}\n")
    print_table(["finding and embedding side by side", ""], [[k, v] for k, v in overlap.items()])
    results = {"photos": n, "workers": options.workers, "jobs": found, "overlap": overlap}
    print(f"written to {write_results('pipeline', results, peers=('dlib-bin', 'onnxruntime'))}\n")
    if options.no_detection or options.smoke:
        return 0
    return bench_detection.main([])
