"""Draw how far apart real faces are beside synthetic ones, and print the same in numbers.

``python scripts/plot_synthetic_people.py [OUT.png]`` needs the labelled embeddings in
``../shared/faces`` and matplotlib; the figure in the documentation was made by it.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
from matplotlib import pyplot as plt

REPO = Path(__file__).resolve().parent.parent
FACES = REPO.parent / "shared" / "faces"
SETS = ("celeba", "lfw")
TITLES = {
    "same": "two photos of one person",
    "different": "two people",
    "mate": "nearest photo of the same person",
    "impostor": "nearest photo of somebody else",
}
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_NEVER = 9.0


def load(name: str) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return unit embeddings of one labelled set and who they are."""
    rows = np.load(FACES / name / "embeddings.npz")["emb"]
    with (FACES / name / "manifest.csv").open(encoding="utf-8", newline="") as file:
        names = [line["identity"] for line in csv.DictReader(file)]
    people = np.unique(names, return_inverse=True)[1].astype(np.int32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), people


def imitate(people: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return synthetic faces of as many people, with as many photos each."""
    sys.path.insert(0, str(REPO))
    from benchmarks.synthetic_people import SyntheticPeople

    synthetic = SyntheticPeople(len(people), int(people.max()) + 1, seed=1)
    synthetic.person_ids = people
    return synthetic.rows(0, len(people))


def distances(
    rows: NDArray[np.float32], people: NDArray[np.int32]
) -> dict[str, NDArray[np.float32]]:
    """Return the four kinds of distance between unit rows."""
    matrix = np.sqrt(np.maximum(0, 2 - 2 * rows @ rows.T))
    same = people[:, None] == people
    pairs = np.triu_indices(len(rows), 1)
    mates = np.where(same, matrix, _NEVER)
    np.fill_diagonal(mates, _NEVER)
    nearest = mates.min(axis=1)
    return {
        "same": matrix[pairs][same[pairs]],
        "different": matrix[pairs][~same[pairs]],
        "mate": nearest[nearest < _NEVER],
        "impostor": np.where(same, _NEVER, matrix).min(axis=1),
    }


def main(out: Path) -> None:
    """Draw one row of panels a set."""
    figure, axes = plt.subplots(len(SETS), len(TITLES), figsize=(13, 5.5), sharex=True)
    for line, name in zip(axes, SETS, strict=True):
        rows, people = load(name)
        both = {"real": distances(rows, people), "synthetic": distances(imitate(people), people)}
        for axis, (kind, title) in zip(line, TITLES.items(), strict=True):
            for source, style in (("real", "-"), ("synthetic", "--")):
                values = both[source][kind]
                axis.hist(
                    values, 80, range=(0, 1), density=True, histtype="step", ls=style, label=source
                )
                shown = " ".join(f"{p:.3f}" for p in np.percentile(values, PERCENTILES))
                print(f"{name:7} {kind:10} {source:10} {shown}")
            axis.set_title(f"{name}: {title}", fontsize=9)
    axes[0, 0].legend(fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("distance of unit vectors")
    figure.tight_layout()
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    target = REPO / "docs" / "images" / "synthetic-people.png"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else target)
