"""How sure a face's place is, without any label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastface import _kernels
from fastface.graph import NeighborGraph
from fastface.identities.kernel import lists

__all__ = ["Certainty", "certainty", "face_confidence"]

# Other people looked at: the first so many in a face's neighbour list.
_CANDIDATES = 8


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

    @property
    def confidence(self) -> NDArray[np.float32]:
        """``1/2 + (other - own) / (2 max(other, own))``."""
        larger = np.maximum(self.own, self.other)
        gap = self.other - self.own
        ratio = np.divide(gap, larger, out=np.zeros(len(larger)), where=larger > 0)
        confidence: NDArray[np.float32] = (0.5 + 0.5 * ratio).astype(np.float32)
        return confidence


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
        _CANDIDATES,
        n_threads,
    )
    return Certainty(np.sqrt(own), np.sqrt(other), runner_up)


def face_confidence(
    X: NDArray[np.float32],
    labels: NDArray[np.int64],
    graph: NeighborGraph,
    *,
    cutoff: float,
    n_threads: int = 1,
) -> NDArray[np.float32]:
    """Compare each face's distance to its own person with that to the next best.

    With the distances `a` and `b` of `Certainty`, the confidence is ``1/2 + (b - a) / (2 max(a,
    b))``: 1/2 when the two are as near, towards 1 when the own person is much nearer.  It orders
    faces by doubt.

    Parameters
    ----------
    X, labels, graph, cutoff, n_threads
        As for `certainty`.

    Returns
    -------
    ndarray of float32, shape (n_samples,)
        In [0, 1].
    """
    return certainty(X, labels, graph, cutoff=cutoff, n_threads=n_threads).confidence
