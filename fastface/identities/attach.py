"""Faces that join people who are there already: late ones, and those of low quality.

The people keep together and apart as they are; new faces join them, or one another, by
neighbour-overlap linkage.  So no new face ever brings two people together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.graph import NeighborGraph
from fastface.identities.kernel import KernelParameters
from fastface.identities.overlap_linkage import overlap_linkage

if TYPE_CHECKING:
    from fastface.identities.methods import Task

__all__ = ["attach", "restricted"]

_BLOCK = 1 << 16


def restricted(graph: NeighborGraph, rows: NDArray[Any]) -> NeighborGraph:
    """Return the graph between some rows alone, numbered in their order.

    Places of a list that other rows held are empty: an infinite distance, to the row itself.
    """
    number = np.full(graph.n_samples, -1, np.int32)
    number[rows] = np.arange(len(rows), dtype=np.int32)
    shape = (len(rows), graph.n_neighbors)
    indices, distances = np.empty(shape, np.int32), np.empty(shape, np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        near = number[graph.indices[rows[block]]]
        gone = near < 0
        order = np.argsort(gone, axis=1, kind="stable")
        own = np.arange(len(rows), dtype=np.int32)[block, None]
        far = np.where(gone, np.float32(np.inf), graph.distances[rows[block]])
        indices[block] = np.take_along_axis(np.where(gone, own, near), order, axis=1)
        distances[block] = np.take_along_axis(far, order, axis=1)
    return replace(graph, indices=indices, distances=distances)


def attach(task: Task, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Let faces without a person join people, or one another.

    Parameters
    ----------
    task : Task
        All faces; `constraints` that the people obey.
    labels : ndarray of int64, shape (n_samples,)
        Person of each face, -1 for those that are to join.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
        Equal where `labels` were equal and not -1, different where they differed.
    """
    parameters = replace(KernelParameters(), cutoff=task.cutoff, group_passes=0)
    return overlap_linkage(
        task.rows,
        task.graph,
        constraints=task.constraints.with_people(labels),
        parameters=parameters,
        n_threads=task.n_threads,
    )
