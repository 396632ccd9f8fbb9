"""Fit the confidence of faces to labelled people, and draw how well it holds for others.

``python scripts/calibrate_confidence.py [OUT.svg]`` needs the labelled embeddings in
``../shared/faces`` and matplotlib.  Half of the people of celeba and of lfw, apart and together,
calibrate; the other half, orl, yale and cmu are held out.  The printed weights are those of
``fastface/identities/confidence.py``, and the figure is the one of the documentation.
"""

from __future__ import annotations

import csv
import sys
import zlib
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

mpl.use("Agg")
from matplotlib import pyplot as plt

from fastface import IdentityClustering
from fastface.identities.confidence import certainty, evidence, typical_size

mpl.rcParams.update({"svg.hashsalt": "fastface", "svg.fonttype": "none"})
REPO = Path(__file__).resolve().parent.parent
FACES = REPO.parent / "shared" / "faces"
N_BINS = 10

Labelled = tuple[NDArray[np.float32], NDArray[np.str_]]


def load(name: str, half: int | None = None) -> Labelled:
    """Return embeddings and people of a set, or of half of its people."""
    rows = np.load(FACES / name / "embeddings.npz")["emb"]
    with (FACES / name / "manifest.csv").open(encoding="utf-8", newline="") as file:
        people = np.array([line["identity"] for line in csv.DictReader(file)])
    if half is None:
        return rows, people
    chosen = np.array([zlib.crc32(name.encode()) % 2 == half for name in people])
    return rows[chosen], people[chosen]


def together(half: int) -> Labelled:
    """Return half of the people of two sets as one collection."""
    (a, b), (c, d) = load("celeba", half), load("lfw", half)
    return np.concatenate([a, c]), np.concatenate([b, d])


def is_right(people: NDArray[np.str_], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which faces are with most of their human being, who is most of their person."""
    truth = np.unique(people, return_inverse=True)[1]
    pairs, place, counts = np.unique(
        np.stack([labels, truth], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    most_of_person = np.zeros(int(labels.max()) + 1, np.int64)
    most_of_being = np.zeros(int(truth.max()) + 1, np.int64)
    np.maximum.at(most_of_person, pairs[:, 0], counts)
    np.maximum.at(most_of_being, pairs[:, 1], counts)
    mine = counts[place.ravel()]
    return np.asarray((mine == most_of_person[labels]) & (mine == most_of_being[truth]))


def study(data: Labelled) -> tuple[NDArray[np.float64], NDArray[np.bool_], IdentityClustering]:
    """Group a collection; return its evidence, which faces are right, and the model."""
    model = IdentityClustering().fit(data[0])
    rows = data[0] / np.linalg.norm(data[0], axis=1, keepdims=True)
    labels, cutoff = model.labels_, model.cutoff_
    seen = evidence(
        certainty(rows, labels, model.graph_, cutoff=cutoff),
        np.bincount(labels)[labels],
        cutoff=cutoff,
        typical=typical_size(labels),
    )
    return seen, is_right(data[1], labels), model


def bins(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """Return mean confidence, share that is right, and number of faces by confidence."""
    which = np.minimum((sure * N_BINS).astype(int), N_BINS - 1)
    kept = [which == number for number in range(N_BINS) if (which == number).any()]
    return [(float(sure[k].mean()), float(right[k].mean()), int(k.sum())) for k in kept]


def calibration_error(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over bins of a tenth."""
    return sum(n * abs(mean - share) for mean, share, n in bins(sure, right)) / len(sure)


def main(out: Path) -> None:
    """Fit, print and draw."""
    fitted = [study(load("celeba", 0)), study(load("lfw", 0)), study(together(0))]
    seen = np.concatenate([part[0] for part in fitted])
    right = np.concatenate([part[1] for part in fitted])
    logistic = LogisticRegression(C=10, max_iter=5000).fit(seen[:, 1:], right)
    print("weights", [round(float(w), 2) for w in (logistic.intercept_[0], *logistic.coef_[0])])
    held_out = {
        "celeba": load("celeba", 1),
        "lfw": load("lfw", 1),
        "celeba and lfw together": together(1),
        "orl": load("orl"),
        "yale": load("yale"),
        "cmu": load("cmu"),
    }
    figure, (left, middle) = plt.subplots(1, 2, figsize=(9, 4.4))
    for axis in (left, middle):
        axis.plot([0, 1], [0, 1], color="0.7", lw=1)
        axis.set_xlabel("confidence")
        axis.set_ylabel("share that is right")
        axis.set_xlim(0, 1.02)
        axis.set_ylim(0, 1.02)
    left.set_title("faces, by tenths of confidence", fontsize=10)
    middle.set_title("people, by tenths of confidence", fontsize=10)
    for name, data in held_out.items():
        _, right, model = study(data)
        sure = model.confidence_.astype(np.float64)
        auc = roc_auc_score(right, sure) if 0 < right.mean() < 1 else float("nan")
        error, mean = calibration_error(sure, right), sure.mean()
        sizes = np.bincount(model.labels_)
        print(
            f"{name:24} {right.mean():.3f} right, mean confidence {mean:.3f}, calibration error"
            f" {error:.3f}, area under the ROC curve {auc:.3f}"
        )
        if right.all():
            continue
        points = bins(sure, right)
        x, y, n = zip(*points, strict=True)
        left.plot(x, y, "-", lw=1, alpha=0.6)
        left.scatter(x, y, s=6 + 4 * np.sqrt(n), label=name)
        of_people = np.bincount(model.labels_, sure) / sizes
        share = np.bincount(model.labels_, right) / sizes
        whole = bins(of_people, share)
        x, y, n = zip(*whole, strict=True)
        middle.plot(x, y, "-", lw=1, alpha=0.6)
        middle.scatter(x, y, s=6 + 4 * np.sqrt(n))
    left.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    target = REPO / "docs" / "images" / "confidence.svg"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else target)
