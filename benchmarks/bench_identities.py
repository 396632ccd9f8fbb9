"""Who is who: pairwise and BCubed F of the identity methods beside what people use today.

By default on stored dlib descriptors of labelled crops; with ``--photos`` from whole photos through
the real job, beside dlib's own detector, descriptor and Chinese whispers on the same photos.
Thresholds are fixed: one setting for every set.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ROOT
from benchmarks.harness import print_table, write_results
from fastface import IdentityClustering
from fastface.metrics import bcubed_scores, pairwise_scores

FACES = ROOT.parent / "shared" / "faces"
SETS = ("celeba", "lfw", "orl", "yale", "cmu")
HEADERS = ["set", "method", "faces", "people", "found", "pairwise F", "BCubed F", "seconds"]

Method = Callable[[np.ndarray], np.ndarray]


def dlib_chinese_whispers(embeddings: np.ndarray) -> np.ndarray:
    """Return dlib's own grouping at the threshold its examples use."""
    import dlib

    return np.array(dlib.chinese_whispers_clustering([dlib.vector(row) for row in embeddings], 0.5))


def average_linkage(embeddings: np.ndarray) -> np.ndarray:
    """Return scikit-learn's average linkage on unit vectors."""
    from sklearn.cluster import AgglomerativeClustering

    rows = 1.43 * embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    model = AgglomerativeClustering(None, distance_threshold=0.525, linkage="average")
    return np.asarray(model.fit_predict(rows))


def dbscan(embeddings: np.ndarray) -> np.ndarray:
    """Return scikit-learn's DBSCAN on unit vectors, noise as people of one face."""
    from sklearn.cluster import DBSCAN

    rows = 1.43 * embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = np.asarray(DBSCAN(eps=0.42, min_samples=2).fit_predict(rows))
    noise = labels < 0
    labels[noise] = labels.max() + 1 + np.arange(noise.sum())
    return labels


def ours(method: str) -> Method:
    """Return one of this package's methods, with its defaults."""
    return lambda embeddings: IdentityClustering(method).fit(embeddings).labels_


METHODS: dict[str, Method] = {
    "fastface overlap-linkage": ours("overlap-linkage"),
    "fastface chinese-whispers": ours("chinese-whispers"),
    "dlib chinese whispers": dlib_chinese_whispers,
    "scikit-learn average linkage": average_linkage,
    "scikit-learn DBSCAN": dbscan,
}


def score(name: str, method: str, people: Sequence[str], labels: Any, seconds: float) -> list[Any]:
    """Return one row of the table."""
    return [
        name,
        method,
        len(people),
        len(set(people)),
        len(np.unique(labels)),
        pairwise_scores(people, labels).f,
        bcubed_scores(people, labels).f,
        seconds,
    ]


def crops(sets: Sequence[str]) -> list[list[Any]]:
    """Group the stored descriptors of each set by every method."""
    rows = []
    ours("auto")(np.eye(4))  # compile outside the timing
    ours("chinese-whispers")(np.eye(4))
    for name in sets:
        with np.load(FACES / name / "embeddings.npz", allow_pickle=False) as file:
            embeddings = file["emb"]
        with (FACES / name / "manifest.csv").open(newline="", encoding="utf-8") as file:
            people = [row["identity"] for row in csv.DictReader(file)]
        for method, group in METHODS.items():
            start = time.perf_counter()
            labels = group(embeddings)
            rows.append(score(name, method, people, labels, time.perf_counter() - start))
    return rows


def photos(limit: int | None) -> list[list[Any]]:
    """Run the whole job on labelled photos and score the largest face of each."""
    import pyarrow.parquet as pq

    from fastface.pipeline import run

    with (FACES / "wild" / "photos.csv").open(newline="", encoding="utf-8") as file:
        truth = {Path(r["photo"]).name: r["identity"] for r in csv.DictReader(file)}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "photos"
        source.mkdir()
        for name in sorted(truth)[:limit]:
            (source / name).symlink_to(FACES / "wild" / "photos" / name)
        start = time.perf_counter()
        run(source, Path(folder) / "run", report=False)
        seconds = time.perf_counter() - start
        table = pq.read_table(Path(folder) / "run" / "faces.parquet").to_pydict()
        embeddings = np.load(Path(folder) / "run" / "embeddings.npy", allow_pickle=False)
    largest: dict[str, int] = {}
    for row, (photo, size) in enumerate(zip(table["photo"], table["size"], strict=True)):
        if photo not in largest or size > table["size"][largest[photo]]:
            largest[photo] = row
    kept = list(largest.values())
    people = [truth[photo] for photo in largest]
    labels = np.array(table["person_id"])[kept]
    rows = [score("wild photos", "fastface run", people, labels, seconds)]
    start = time.perf_counter()
    dlib_labels = dlib_chinese_whispers(embeddings)[kept]
    rows.append(
        score(
            "wild photos",
            "dlib chinese whispers on the same faces",
            people,
            dlib_labels,
            time.perf_counter() - start,
        )
    )
    print(f"{len(kept)} of {len(sorted(truth)[:limit])} photos gave a face")
    return rows


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks identities", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sets: does it still run?")
    parser.add_argument("--photos", action="store_true", help="from whole photos to people")
    parser.add_argument("--limit", type=int, help="with --photos: so many photos only")
    options = parser.parse_args(argv)
    if not FACES.is_dir():
        print(f"the labelled photos are not at {FACES}: nothing to score")
        return 0
    if options.photos:
        rows = photos(options.limit)
    else:
        rows = crops(("yale", "cmu") if options.smoke else SETS)
    print_table(HEADERS, rows)
    name = "identities-photos" if options.photos else "identities"
    results = {"rows": [dict(zip(HEADERS, row, strict=True)) for row in rows]}
    print(f"written to {write_results(name, results, peers=['dlib-bin'])}")
    return 0
