"""Group embeddings of any origin by person, and score the grouping against known people.

The vectors are made up: 60 people around directions of their own, with 2 to 30 faces each,
about as near to each other as dlib's embeddings of one person are.  For a network whose distances
are larger or smaller, pass its ``cutoff``.
"""

from __future__ import annotations

import numpy as np

from fastface import IdentityClustering
from fastface.metrics import bcubed_scores, pairwise_scores


def make_embeddings(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return unit rows (n, 128) and the person of each."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(60), rng.integers(2, 31, size=60))
    centers = rng.standard_normal((60, 128))
    rows = centers[people] + 0.25 * rng.standard_normal((len(people), 128))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), people


def main() -> None:
    """Group, score, print."""
    X, people = make_embeddings()
    found = IdentityClustering().fit(X)
    print(f"{len(X)} faces, {found.labels_.max() + 1} people found, {people.max() + 1} true")
    print("pairwise", pairwise_scores(people, found.labels_))
    print("BCubed  ", bcubed_scores(people, found.labels_))


if __name__ == "__main__":
    main()
