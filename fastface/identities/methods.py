"""The methods by name, and what each is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastface.errors import InvalidInputError
from fastface.graph import NeighborGraph
from fastface.identities.chinese_whispers import chinese_whispers
from fastface.identities.components import components
from fastface.identities.constraints import Constraints
from fastface.identities.density import dbscan, hdbscan
from fastface.identities.kernel import KernelParameters
from fastface.identities.map_equation import fc_es, map_equation
from fastface.identities.overlap_linkage import overlap_linkage
from fastface.identities.plain_kmeans import plain_kmeans
from fastface.identities.rank_order import rank_order
from fastface.validation import check_integer

__all__ = ["AUTO", "METHODS", "Task", "group_faces", "resolve"]

AUTO = "overlap-linkage"

# Distances as multiples of the cutoff.  dlib's examples link descriptors nearer than 0.5, where the
# cutoff is 0.55; that of DBSCAN is the one its scores in the docs were measured with, and that of
# components a cautious one: single links merge people.
WHISPERS_THRESHOLD = 0.5 / 0.55
DBSCAN_THRESHOLD = 0.42 / 0.55
COMPONENTS_THRESHOLD = 0.40 / 0.55


@dataclass(frozen=True)
class Task:
    """What a method is given.

    Attributes
    ----------
    rows : ndarray of float32, shape (n_samples, n_features)
        Unit vectors.
    graph : NeighborGraph
        Their neighbours.
    constraints : Constraints
        To be respected.
    cutoff : float
        Distance beyond which two faces are hardly ever one person.
    n_people : int or None
        For methods that want it.
    random_state : int
        Of methods that draw.
    n_threads : int
        Results do not depend on it.
    device : str
        Where links, components and means are found, and faces whisper; nor do they on this.
    """

    rows: NDArray[np.float32]
    graph: NeighborGraph
    constraints: Constraints
    cutoff: float
    n_people: int | None
    random_state: int
    n_threads: int
    device: str = "cpu"


def _overlap_linkage(task: Task) -> NDArray[np.int64]:
    parameters = replace(KernelParameters(), cutoff=task.cutoff)
    return overlap_linkage(
        task.rows,
        task.graph,
        constraints=task.constraints,
        parameters=parameters,
        n_threads=task.n_threads,
    )


def _map_equation(task: Task) -> NDArray[np.int64]:
    return map_equation(
        task.rows,
        task.graph,
        parameters=replace(KernelParameters(), cutoff=task.cutoff),
        constraints=task.constraints,
        seed=task.random_state,
        n_threads=task.n_threads,
    )


def _fc_es(task: Task) -> NDArray[np.int64]:
    return fc_es(
        task.graph,
        cutoff=task.cutoff,
        constraints=task.constraints,
        seed=task.random_state,
        n_threads=task.n_threads,
        device=task.device,
    )


def _chinese_whispers(task: Task) -> NDArray[np.int64]:
    threshold = WHISPERS_THRESHOLD * task.cutoff
    return chinese_whispers(
        task.graph,
        threshold=threshold,
        constraints=task.constraints,
        seed=task.random_state,
        device=task.device,
    )


def _rank_order(task: Task) -> NDArray[np.int64]:
    return rank_order(task.graph, constraints=task.constraints, n_threads=task.n_threads)


def _dbscan(task: Task) -> NDArray[np.int64]:
    return dbscan(
        task.graph, threshold=DBSCAN_THRESHOLD * task.cutoff, constraints=task.constraints
    )


def _hdbscan(task: Task) -> NDArray[np.int64]:
    return hdbscan(task.graph, constraints=task.constraints)


def _components(task: Task) -> NDArray[np.int64]:
    return components(
        task.graph,
        threshold=COMPONENTS_THRESHOLD * task.cutoff,
        constraints=task.constraints,
        device=task.device,
    )


def _kmeans(task: Task) -> NDArray[np.int64]:
    if task.n_people is None:
        raise InvalidInputError("method='kmeans' needs n_people; the other methods find it")
    return plain_kmeans(
        task.rows,
        task.graph,
        n_people=check_integer(task.n_people, name="n_people", low=1, high=len(task.rows)),
        constraints=task.constraints,
        seed=task.random_state,
        device=task.device,
        n_threads=task.n_threads,
    )


METHODS: dict[str, Callable[[Task], NDArray[np.int64]]] = {
    "overlap-linkage": _overlap_linkage,
    "map-equation": _map_equation,
    "fc-es": _fc_es,
    "chinese-whispers": _chinese_whispers,
    "rank-order": _rank_order,
    "dbscan": _dbscan,
    "hdbscan": _hdbscan,
    "components": _components,
    "kmeans": _kmeans,
}


def resolve(method: str, n_people: int | None) -> str:
    """Return the name of the method that will be used, or refuse."""
    if method == "auto":
        method = AUTO
    if method not in METHODS:
        raise InvalidInputError(
            f"unknown method {method!r}; choose 'auto' or one of {', '.join(METHODS)}"
        )
    if (method == "kmeans") != (n_people is not None):
        raise InvalidInputError(
            f"method={method!r} with n_people={n_people}: 'kmeans' needs a number of people, and"
            " the other methods find it"
        )
    return method


def group_faces(method: str, task: Task, *, last: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Group by a method, faces that are to come last attached to what the others make.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    task : Task
        What to group.
    last : ndarray of bool, shape (n_samples,), optional
        Faces that join people, or one another, when all others are grouped: they never bring two
        people together.

    Returns
    -------
    ndarray of int64, shape (n_samples,)
    """
    if last is None or not last.any():
        return METHODS[method](task)
    if last.all():
        raise InvalidInputError("every face is below min_quality: lower it")
    from fastface.identities.attach import attach, restricted

    first = np.flatnonzero(~last)
    part = replace(
        task,
        rows=np.ascontiguousarray(task.rows[first]),
        graph=restricted(task.graph, first),
        constraints=task.constraints.of_some(first),
    )
    labels = np.full(len(task.rows), -1, np.int64)
    labels[first] = METHODS[method](part)
    return attach(task, labels)
