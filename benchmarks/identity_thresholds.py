"""Peers of identity clustering, their thresholds chosen on other people than they are scored on.

Every peer is given the threshold that scores best, by the mean of pairwise and BCubed F, on another
set: on half of the people of celeba for what is scored on lfw, on half of those of lfw for all
other sets.  fastface keeps its one default.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import ROOT
from benchmarks.synthetic_people import SyntheticPeople
from fastface import IdentityClustering
from fastface.metrics import bcubed_scores, pairwise_scores

__all__ = ["PEERS", "choose", "load", "with_distractors"]

FACES = ROOT.parent / "shared" / "faces"
Labels = NDArray[Any]
Peer = Callable[[NDArray[np.float32], float], Labels]


def load(name: str) -> tuple[NDArray[np.float32], list[str]]:
    """Return the embeddings of a labelled set, and who they are."""
    with np.load(FACES / name / "embeddings.npz", allow_pickle=False) as file:
        embeddings = file["emb"]
    with (FACES / name / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return embeddings, [row["identity"] for row in csv.DictReader(file)]


def half(name: str) -> tuple[NDArray[np.float32], list[str]]:
    """Return half of the people of a set."""
    embeddings, people = load(name)
    chosen = [zlib.crc32(person.encode()) % 2 == 0 for person in people]
    return embeddings[chosen], [p for p, kept in zip(people, chosen, strict=True) if kept]


def unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of length one."""
    rows: NDArray[np.float32] = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return rows


def alone(labels: Labels) -> Labels:
    """Make each face that is noise a person of its own."""
    noise = labels < 0
    return np.where(noise, labels.max(initial=-1) + np.cumsum(noise), labels)


def dlib_chinese_whispers(embeddings: NDArray[np.float32], threshold: float) -> Labels:
    """Return dlib's own grouping."""
    import dlib

    rows = [dlib.vector(row) for row in embeddings]
    return np.array(dlib.chinese_whispers_clustering(rows, threshold))


def dbscan(embeddings: NDArray[np.float32], threshold: float) -> Labels:
    """Return scikit-learn's DBSCAN."""
    from sklearn.cluster import DBSCAN

    return alone(DBSCAN(eps=threshold, min_samples=2).fit_predict(unit(embeddings)))


def hdbscan(embeddings: NDArray[np.float32], threshold: float) -> Labels:
    """Return scikit-learn's HDBSCAN; in place of a threshold it has a number of near faces."""
    from sklearn.cluster import HDBSCAN

    model = HDBSCAN(min_cluster_size=2, min_samples=round(threshold), copy=True)
    return alone(model.fit_predict(unit(embeddings).astype(np.float64)))


def average_linkage(embeddings: NDArray[np.float32], threshold: float) -> Labels:
    """Return scikit-learn's average linkage."""
    from sklearn.cluster import AgglomerativeClustering

    model = AgglomerativeClustering(None, distance_threshold=threshold, linkage="average")
    return np.asarray(model.fit_predict(unit(embeddings)))


# Thresholds in the unit of each: dlib's on descriptors as they are, the others on unit rows.
PEERS: dict[str, tuple[Peer, NDArray[np.float64]]] = {
    "dlib Chinese whispers": (dlib_chinese_whispers, np.arange(0.40, 0.601, 0.01)),
    "DBSCAN": (dbscan, np.arange(0.22, 0.401, 0.01)),
    "HDBSCAN": (hdbscan, np.arange(1.0, 6.0)),
    "average linkage": (average_linkage, np.arange(0.30, 0.441, 0.005)),
}


def quality(people: list[str], labels: Labels) -> float:
    """Return the mean of pairwise and BCubed F."""
    return (pairwise_scores(people, labels).f + bcubed_scores(people, labels).f) / 2


def choose(name: str, peer: str) -> tuple[float, str]:
    """Return the threshold of a peer for a set, and the set it was chosen on."""
    source = "celeba" if name == "lfw" else "lfw"
    return best_threshold(source, peer), source


@cache
def best_threshold(source: str, peer: str) -> float:
    """Return the threshold of a peer that is best on half of the people of a set."""
    group, thresholds = PEERS[peer]
    embeddings, people = half(source)
    scores = [quality(people, group(embeddings, threshold)) for threshold in thresholds.tolist()]
    return float(thresholds[int(np.argmax(scores))])


def with_distractors(
    embeddings: NDArray[np.float32], n_distractors: int
) -> tuple[NDArray[np.int64], float]:
    """Group a set hidden among synthetic people around it.

    The synthetic people are turned and spread as the generator's are, and moved so that the mean
    of all rows is where that of the labelled ones is.

    Returns
    -------
    labels : ndarray of int64, shape (n_faces,)
        Of the labelled faces.
    share : float
        Of labelled faces whose person has synthetic ones too.
    """
    rows = unit(embeddings)
    source = SyntheticPeople(n_distractors, max(1, n_distractors // 5), seed=7)
    others = source.rows(0, n_distractors) @ turn(source.rows(0, min(n_distractors, 20000)), rows)
    labels = IdentityClustering().fit(np.concatenate([others, rows])).labels_
    mine, theirs = labels[n_distractors:], np.unique(labels[:n_distractors])
    return mine, float(np.isin(mine, theirs).mean())


def turn(synthetic: NDArray[np.float32], real: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rotation that lays the principal axes of synthetic rows on those of real ones."""
    frames = []
    for rows in (synthetic, real):
        mean = rows.mean(axis=0, dtype=np.float64)
        axis = mean / np.linalg.norm(mean)
        rest = rows.astype(np.float64) - rows @ axis[:, None] * axis
        rest -= rest.mean(axis=0)
        vectors = np.linalg.svd(rest.T @ rest + 1e9 * np.outer(axis, axis))[0]
        vectors[:, 0] *= np.sign(vectors[:, 0] @ axis)
        frames.append(vectors)
    rotation: NDArray[np.float32] = (frames[0] @ frames[1].T).astype(np.float32)
    return rotation
