"""The whole job, photos to people: photos a second, stage by stage, cores busy, peak memory."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ROOT
from benchmarks.harness import measure_peak_rss, print_table, write_results

WILD = ROOT.parent / "shared" / "faces" / "wild"


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pipeline", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few photos: does it still run?")
    parser.add_argument("--limit", type=int, help="so many photos only")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(argv)
    if not WILD.is_dir():
        print(f"the photos are not at {WILD}: nothing to measure")
        return 0
    with (WILD / "photos.csv").open(newline="", encoding="utf-8") as file:
        names = sorted(Path(row["photo"]).name for row in csv.DictReader(file))
    names = names[: 6 if options.smoke else options.limit]
    with tempfile.TemporaryDirectory() as folder:
        photos, out = Path(folder) / "photos", Path(folder) / "run"
        photos.mkdir()
        for name in names:
            (photos / name).symlink_to(WILD / "photos" / name)
        command = [sys.executable, "-m", "fastface", "run", str(photos), "--out", str(out)]
        peak = measure_peak_rss([*command, "--quiet", "--workers", str(options.workers)])
        info = json.loads((out / "run.json").read_text(encoding="utf-8"))
    rate = len(names) / info["wall_seconds"]
    print_table(["stage", "seconds"], [[k, float(v)] for k, v in info["timings"].items()])
    print(
        f"{len(names)} photos, {info['counts']['faces']} faces: {rate:.1f} photos/s,"
        f" cores busy {info['share_of_cores_busy']:.0%},"
        f" largest process {peak.rss_bytes / 2**20:.0f} MiB"
    )
    results = {
        "photos": len(names),
        "photos_per_second": rate,
        "peak_rss_bytes": peak.rss_bytes,
        "workers": options.workers,
        **info,
    }
    print(f"written to {write_results('pipeline', results)}")
    return 0
