"""How sure a face's place is, without any label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastface import _kernels
from fastface.graph import NeighborGraph
from fastface.identities.kernel import lists

__all__ = [
    "CANDIDATES",
    "Certainty",
    "certainty",
    "evidence",
    "face_confidence",
    "probability",
    "typical_size",
]

# Other people looked at: the first so many in a face's neighbour list.
CANDIDATES = 8
# Of `evidence`; fitted by ``scripts/calibrate_confidence.py`` to half of the people of two labelled
# collections, and of both together.
_WEIGHTS = (2.79, -6.79, 6.93, 0.92, 1.98, 2.16, 1.72)


@dataclass(frozen=True)
class Certainty:
    """How near faces are to their own and to other people.

    Attributes
    ----------
    own : ndarray of float64, shape (n_samples,)
        Root mean square distance to the other faces of its person; the cutoff where there are none.
    other : ndarray of float64, shape (n_samples,)
        The same to the nearest other person; twice the cutoff where there is none nearer.
    runner_up : ndarray of int32, shape (n_samples,)
        That person, or -1.
    """

    own: NDArray[np.float64]
    other: NDArray[np.float64]
    runner_up: NDArray[np.int32]


def certainty(
    X: NDArray[np.float32],
    labels: NDArray[np.int64],
    graph: NeighborGraph,
    *,
    cutoff: float,
    n_threads: int = 1,
) -> Certainty:
    """Measure each face's distance to its own person and to the next best.

    Parameters
    ----------
    X : ndarray of float32, shape (n_samples, n_features)
        Unit rows.
    labels : ndarray of int64, shape (n_samples,)
        People, numbered from 0.
    graph : NeighborGraph
        Neighbours of the rows: who else is looked at.
    cutoff : float
        Distance beyond which two faces are hardly ever one person.
    n_threads : int
        Threads.

    Returns
    -------
    Certainty
    """
    own, other, runner_up = _kernels.nearness(
        *lists(graph),
        X,
        labels.astype(np.int32),
        int(labels.max()) + 1,
        cutoff**2,
        (2 * cutoff) ** 2,
        CANDIDATES,
        n_threads,
    )
    return Certainty(np.sqrt(own), np.sqrt(other), runner_up)


def typical_size(labels: NDArray[np.int64]) -> float:
    """Return how many faces the person of a face has, in the mean over faces."""
    return float(np.bincount(labels)[labels].mean())


def face_confidence(
    certain: Certainty, labels: NDArray[np.int64], *, cutoff: float, typical: float
) -> NDArray[np.float32]:
    """Return the probability that each face is with its own person, and the person whole around it.

    A face is right when its person's faces are mostly of the same human being, and no other person
    has more faces of that human being.  The logistic model wants four things: how far the face is
    from its own person, how far from the next best, how many faces its person has beside what is
    usual in this collection, and whether it is alone.

    Parameters
    ----------
    certain : Certainty
        Distances of the faces.
    labels : ndarray of int64, shape (n_samples,)
        People, numbered from 0; all faces of each.
    cutoff : float
        Distance beyond which two faces are hardly ever one person.
    typical : float
        `typical_size` of the whole collection.

    Returns
    -------
    ndarray of float32, shape (n_samples,)
        In [0, 1].
    """
    return probability(certain, np.bincount(labels)[labels], cutoff=cutoff, typical=typical)


def probability(
    certain: Certainty, counts: NDArray[np.int64], *, cutoff: float, typical: float
) -> NDArray[np.float32]:
    """Return the same of faces whose people have so many faces (`counts`)."""
    scores = evidence(certain, counts, cutoff=cutoff, typical=typical) @ np.array(_WEIGHTS)
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(scores, -30, 30)))
    return found.astype(np.float32)


def evidence(
    certain: Certainty, counts: NDArray[np.int64], *, cutoff: float, typical: float
) -> NDArray[np.float64]:
    """Return what the logistic model of `face_confidence` weighs.

    Returns
    -------
    ndarray of float64, shape (n_samples, 7)
        A constant; distance to the own person, to the next best, and size for faces with company;
        whether alone, distance to the next best and size for faces alone.  Distances are multiples
        of the cutoff; sizes are binary logarithms of multiples of the usual size.
    """
    alone = counts == 1
    size = np.log2(counts / typical)
    own, other = certain.own / cutoff, certain.other / cutoff
    together = [np.where(alone, 0, column) for column in (own, other, size)]
    single = [np.where(alone, column, 0) for column in (np.ones(len(size)), other, size)]
    return np.stack([np.ones(len(size)), *together, *single], axis=1)
