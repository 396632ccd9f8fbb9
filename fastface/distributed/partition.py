"""What a worker does with its part of the rows.

A worker keeps what it knows of a partition between questions, but nobody depends on that: every
question carries what is needed to find the same answer from the rows alone.  So a worker may die,
and a partition may move to another one, at any time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.kmeans_protocol import Seeder
from fastface.backends.registry import get_backend
from fastface.errors import InvalidInputError, StorageError
from fastface.kmeans.assigners import make_assigner
from fastface.kmeans.candidates import Candidates
from fastface.kmeans.empty import Farthest, farthest_rows
from fastface.kmeans.lloyd import ClusterSums, Matrix, Problem, inertia_of, move_rows
from fastface.kmeans.owner import assign_all
from fastface.kmeans.randomness import Draws
from fastface.kmeans.rows import ColumnRange, RowBlocks, measure, moment_sums
from fastface.kmeans.seeding import SeedingRows

__all__ = ["FileRows", "Recipe", "ShardRows", "Survey", "ask", "forget", "open_rows", "survey"]


@dataclass(frozen=True)
class FileRows:
    """Some rows of a ``.npy`` file that every worker can open, mapped when they are needed."""

    path: str
    start: int
    stop: int

    def open(self) -> NDArray[Any]:
        """Return the rows, mapped."""
        try:
            rows: NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StorageError(
                f"worker cannot map {self.path}: {error}; every worker has to see the file under"
                " this path"
            ) from error
        return rows[self.start : self.stop]


@dataclass(frozen=True)
class ShardRows:
    """The rows of several files, one after another."""

    parts: tuple[FileRows, ...]

    def open(self) -> NDArray[Any]:
        """Return the rows, in memory."""
        return np.concatenate([part.open() for part in self.parts])


@dataclass(frozen=True)
class Recipe:
    """How all partitions of a fit are to be treated.

    Attributes
    ----------
    key : str
        Of the fit.
    metric : str
        What is minimised.
    device : str
        Where dense steps run.
    n_threads : int
        Threads of a step.
    algorithm : str
        How rows find their center.
    n_clusters : int
        Number of centers.
    spare : int or None
        Bytes that the bounds of one partition may take.
    columns : ColumnRange
        Of all partitions together.
    largest_weight : float
        Of all partitions together.
    weighted : bool
        Whether weights differ from one.
    """

    key: str
    metric: str
    device: str
    n_threads: int
    algorithm: str
    n_clusters: int
    spare: int | None
    columns: ColumnRange
    largest_weight: float
    weighted: bool


@dataclass(frozen=True)
class Survey:
    """What has to be known of all partitions before any is worked on."""

    columns: ColumnRange
    largest_weight: float
    all_one: bool

    def merge(self, other: Survey) -> Survey:
        """Return the survey of both."""
        return Survey(
            self.columns.merge(other.columns),
            max(self.largest_weight, other.largest_weight),
            self.all_one and other.all_one,
        )


def open_rows(source: Any) -> NDArray[Any]:
    """Return the rows of a partition, which are here or in files."""
    rows = source.open() if isinstance(source, (FileRows, ShardRows)) else source
    if rows.dtype not in (np.float16, np.float32, np.float64):
        rows = rows.astype(np.float64)
    return np.ascontiguousarray(rows)


def survey(source: Any, weights: Any, first_row: int, device: str, n_threads: int) -> Survey:
    """Look at one partition for the first time.

    Raises
    ------
    InvalidInputError
        If a value or a weight cannot be used.
    """
    rows = RowBlocks(open_rows(source), first_row=first_row)
    columns = measure(rows, get_backend(device).kmeans, n_threads)
    if weights is None:
        return Survey(columns, 1.0, True)
    checked = _weights_of(weights, len(rows))
    usable = np.isfinite(checked) & (checked >= 0.0) & (checked <= 1e150)
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0])
        raise InvalidInputError(
            f"sample_weight[{first_row + row}] is {checked[row]}; weights must be finite, at least"
            " 0 and at most 1e150"
        )
    return Survey(columns, float(checked.max()), bool((checked == 1.0).all()))


def _weights_of(weights: Any, n_rows: int) -> NDArray[np.float64]:
    checked: NDArray[np.float64] = np.ascontiguousarray(weights, dtype=np.float64)
    if checked.shape != (n_rows,):
        raise InvalidInputError(
            f"sample_weight must be divided like X: got a part of shape {checked.shape} for"
            f" {n_rows} rows"
        )
    return checked


class Partition:
    """The rows of one partition, with what is remembered of them.

    Parameters
    ----------
    source : ndarray or FileRows
        The rows.
    weights : ndarray or None
        Their weights.
    first_row : int
        Index of the first row among those of all partitions.
    recipe : Recipe
        How to treat them.
    """

    def __init__(self, source: Any, weights: Any, first_row: int, recipe: Recipe) -> None:
        rows = RowBlocks(open_rows(source), first_row=first_row)
        self.problem = Problem.over(
            rows,
            get_backend(recipe.device).kmeans,
            recipe.metric,
            _weights_of(weights, len(rows)) if recipe.weighted else None,
            n_threads=recipe.n_threads,
            columns=recipe.columns,
            largest_weight=recipe.largest_weight,
        )
        self.busy = threading.Lock()  # of a question asked twice, when a worker seemed lost
        self._grid = self.problem.grid()
        self._assigner = make_assigner(
            recipe.algorithm, self.problem, recipe.n_clusters, recipe.spare
        )
        self._at: int | None = None  # number of the step that labels belong to
        self._labels: NDArray[np.int32] | None = None
        self._previous: NDArray[np.int32] | None = None
        self._candidates: tuple[str, int, Candidates] | None = None
        self._seeder: tuple[int, Seeder] | None = None

    def step(
        self, number: int, centers: Matrix, since: int | None, before: Matrix | None
    ) -> tuple[ClusterSums, int]:
        """Assign rows to the centers of a step; return what that changes in the sums, and moves.

        Parameters
        ----------
        number : int
            Of the step.
        centers : ndarray of shape (n_clusters, n_features)
            Its centers.
        since : int or None
            Number of the step that the sums belong to so far; None if they begin with this one.
        before : ndarray or None
            Its centers.
        """
        self._go_to(number, centers, since, before)
        assert self._labels is not None  # noqa: S101
        change = ClusterSums.zeros(*centers.shape)
        moved = sum(
            move_rows(self.problem, self._grid, part, chunk, self._labels, self._previous, change)
            for part, chunk in self.problem.rows
        )
        return change, moved

    def farthest(self, number: int, centers: Matrix, count: int) -> Farthest:
        """Return the rows farthest from their center in a step."""
        labels = self.labels(number, centers)
        return farthest_rows(self.problem, self._grid, centers, labels, count)

    def inertia(self, number: int, centers: Matrix) -> Fraction:
        """Return the inertia of a step's labels."""
        return inertia_of(self.problem, centers, self.labels(number, centers))

    def labels(self, number: int, centers: Matrix) -> NDArray[np.int32]:
        """Return the labels of a step."""
        self._go_to(number, centers, self._at, None)
        assert self._labels is not None  # noqa: S101
        return self._labels

    def _go_to(
        self, number: int, centers: Matrix, since: int | None, before: Matrix | None
    ) -> None:
        if self._at == number:
            return
        if since is None:
            self._assigner.forget()
            self._labels = None
        elif self._at != since:
            assert before is not None  # noqa: S101
            self._assigner.forget()
            self._labels = self._assign(before, None)
        self._at = None  # should this fail half way
        labels = self._assign(centers, self._labels)
        self._previous, self._labels, self._at = self._labels, labels, number

    def _assign(self, centers: Matrix, previous: NDArray[np.int32] | None) -> NDArray[np.int32]:
        return assign_all(self.problem, centers, self._assigner, previous)

    def moments(self) -> NDArray[np.int64]:
        """Return the sums that variances are made of."""
        p = self.problem
        return moment_sums(p.rows, p.columns, p.kernels, p.n_threads)

    def take(self, rows: NDArray[np.int64]) -> Matrix:
        """Return copies of some rows, numbered within the partition."""
        return self.problem.rows.take(rows)

    def largest(self, pool: str, rounds: list[Matrix]) -> float:
        """Return the largest weighted distance to the candidates of k-means‖."""
        return self._pool(pool, rounds).largest()

    def potential(self, pool: str, rounds: list[Matrix], scale: float) -> int:
        """Return the potential that the candidates of k-means‖ leave."""
        return self._pool(pool, rounds).potential(scale)

    def draw(
        self, pool: str, rounds: list[Matrix], draws: Draws, round_: int, scale: float, rate: float
    ) -> Matrix:
        """Return the rows that a round of k-means‖ draws."""
        return self._pool(pool, rounds).draw(draws, round_, scale, rate)

    def mass_sums(self, pool: str, rounds: list[Matrix]) -> NDArray[np.int64]:
        """Return the masses of the candidates, as integers."""
        return self._pool(pool, rounds).mass_sums()

    def _pool(self, pool: str, rounds: list[Matrix]) -> Candidates:
        """Return a pool that has seen all rounds of candidates."""
        name, done, candidates = self._candidates or ("", 0, None)
        if candidates is None or name != pool or done > len(rounds):
            done, candidates = 1, Candidates(self.problem, rounds[0])
        for more in rounds[done:]:
            candidates.add(more)
        self._candidates = pool, len(rounds), candidates
        return candidates

    def seed_begin(self, first: Matrix) -> float:
        """Return the largest weighted distance to the first center of k-means++."""
        return self._first_seeder(first)[1]

    def seed_potential(self, first: Matrix, scale: float) -> int:
        """Return the potential of the first center, counted in multiples of 1 / `scale`."""
        seeder, _ = self._first_seeder(first)
        potential = int(seeder.set_scale(scale))
        self._seeder = 1, seeder
        return potential

    def seed_locate(
        self, count: int, latest: Matrix, scale: float, targets: list[int]
    ) -> tuple[NDArray[np.int64], Matrix] | None:
        """Return the rows on which numbers below the potential fall, and where they are.

        `count` centers are chosen, of which `latest` are the last.  A partition that has missed
        more than those answers None, and wants to be asked with all.
        """
        seeder = self._seeded(count, latest, scale)
        if seeder is None:
            return None
        rows = np.array([seeder.locate(target) for target in targets], np.int64)
        return rows + self.problem.rows.first_row, self.take(rows)

    def seed_evaluate(
        self, count: int, latest: Matrix, scale: float, candidates: Matrix
    ) -> list[int] | None:
        """Return the potential after adding one candidate, for each of them; or None, likewise."""
        seeder = self._seeded(count, latest, scale)
        return None if seeder is None else seeder.evaluate(candidates)

    def _first_seeder(self, first: Matrix) -> tuple[Seeder, float]:
        self._seeder = None
        p = self.problem
        rows = SeedingRows(p.rows.X, p.weights, p.metric, p.kernels, p.n_threads)
        seeder = rows.seeder()
        return seeder, seeder.begin(first)

    def _seeded(self, count: int, latest: Matrix, scale: float) -> Seeder | None:
        """Return a seeder that has accepted all centers, if that can be had."""
        if self._seeder is None or self._seeder[0] > count:
            if len(latest) < count:
                return None
            self.seed_potential(latest[:1], scale)
        assert self._seeder is not None  # noqa: S101
        done, seeder = self._seeder
        if count - done > len(latest):
            return None
        for center in latest[len(latest) - (count - done) :]:
            seeder.evaluate(center[None])
            seeder.accept(0)
        self._seeder = count, seeder
        return seeder


_held: dict[tuple[str, int], Partition] = {}
_lock = threading.Lock()


def ask(
    source: Any, weights: Any, first_row: int, recipe: Recipe, question: str, *details: Any
) -> Any:
    """Answer a question about one partition: the name and the arguments of a method of it."""
    place = recipe.key, first_row
    with _lock:
        partition = _held.get(place)
    if partition is None:
        made = Partition(source, weights, first_row, recipe)
        with _lock:
            partition = _held.setdefault(place, made)
    with partition.busy:
        return getattr(partition, question)(*details)


def forget(key: str) -> None:
    """Let go of everything that belongs to a fit."""
    with _lock:
        for place in [place for place in _held if place[0] == key]:
            del _held[place]
