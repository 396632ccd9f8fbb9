"""k-means++ and k-means‖ over partitions: the same choices as over all rows in one place."""

from __future__ import annotations

import uuid
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends.kmeans_protocol import Seeder
from fastface.distributed.cluster import Partitions
from fastface.distributed.partition import Recipe
from fastface.kmeans.candidates import mass_scale
from fastface.kmeans.lloyd import Matrix
from fastface.kmeans.randomness import Draws

if TYPE_CHECKING:
    from fastface.distributed.rows import DistributedRows

__all__ = ["DistributedCandidates", "DistributedSeeding"]


class DistributedCandidates:
    """The candidate pool of all partitions.

    Parameters
    ----------
    partitions : Partitions
        The rows.
    recipe : Recipe
        How they are treated.
    first : ndarray of shape (1, n_features)
        First candidate.
    """

    def __init__(self, partitions: Partitions, recipe: Recipe, first: Matrix) -> None:
        self._partitions = partitions
        self._recipe = recipe
        self._name = uuid.uuid4().hex
        self._rounds = [partitions.share(first)]

    def add(self, centers: Matrix) -> None:
        """Take more candidates."""
        self._rounds = [*self._rounds, self._partitions.share(centers)]

    def largest(self) -> float:
        """Return the largest weighted distance to the nearest candidate."""
        return float(max(self._ask("largest")))

    def potential(self, scale: float) -> int:
        """Return the sum of the weighted distances, each rounded to a multiple of 1 / `scale`."""
        return sum(self._ask("potential", scale))

    def draw(self, draws: Draws, round_: int, scale: float, rate: float) -> Matrix:
        """Return rows, each drawn with the probability `rate` times its part of the potential."""
        return np.concatenate(self._ask("draw", draws, round_, scale, rate))

    def masses(self) -> NDArray[np.float64]:
        """Return the weight of the rows nearest to each candidate, exact up to one rounding."""
        r = self._recipe
        scale = mass_scale(r.largest_weight, r.columns.n_rows) if r.weighted else 1.0
        result: NDArray[np.float64] = sum(self._ask("mass_sums")) / scale
        return result

    def _ask(self, question: str, *details: Any) -> list[Any]:
        return self._partitions.ask(self._recipe, question, self._name, self._rounds, *details)


class DistributedSeeding:
    """Rows on workers, for k-means++ to choose among.

    Parameters
    ----------
    partitions : Partitions
        The rows.
    recipe : Recipe
        How they are treated.
    rows : DistributedRows
        Their owner.
    """

    def __init__(self, partitions: Partitions, recipe: Recipe, rows: DistributedRows) -> None:
        self._partitions = partitions
        self._recipe = recipe
        self._rows = rows
        self._seen: dict[int, Matrix] = {}  # rows that came along when they were located

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """Return the weight of every row; None is one each."""
        return self._rows.weights()

    def __len__(self) -> int:
        return self._rows.shape[0]

    def take(self, rows: NDArray[np.int64]) -> Matrix:
        """Return some rows, in that order."""
        if all(int(row) in self._seen for row in rows):
            return np.stack([self._seen[int(row)] for row in rows])
        return self._rows.take(rows)

    def seeder(self) -> Seeder:
        """Return what k-means++ asks about the rows."""
        return _DistributedSeeder(self._partitions, self._recipe)

    def locate(self, seeder: Seeder, targets: list[int]) -> NDArray[np.int64]:
        """Return `Seeder.locate` of every target, in one go."""
        assert isinstance(seeder, _DistributedSeeder)  # noqa: S101
        found = seeder.locate_all(targets)
        self._seen = dict(found)
        return np.array([index for index, _ in found], np.int64)


class _DistributedSeeder:
    """Asks partitions, and brings those up to date that have missed something."""

    def __init__(self, partitions: Partitions, recipe: Recipe) -> None:
        self._partitions = partitions
        self._recipe = recipe
        self._chosen: list[Matrix] = []
        self._scale = 1.0
        self._potentials: list[int] = []
        self._evaluated: list[list[int]] = []

    def begin(self, center: Matrix) -> float:
        """Take the first center; return the largest weighted distance to it."""
        self._chosen = [center[0]]
        return float(max(self._partitions.ask(self._recipe, "seed_begin", center)))

    def set_scale(self, scale: float) -> int:
        """Count in multiples of 1 / `scale` from now on; return the potential."""
        self._scale = scale
        self._potentials = self._partitions.ask(
            self._recipe, "seed_potential", self._chosen[0][None], scale
        )
        return sum(self._potentials)

    def locate(self, target: int) -> int:
        """Return the first row at which the running sum of the potential exceeds `target`."""
        return self.locate_all([target])[0][0]

    def locate_all(self, targets: list[int]) -> list[tuple[int, Matrix]]:
        """Return such a row for each of several targets: its index and its values."""
        ends = list(accumulate(self._potentials))
        owners = [next(i for i, end in enumerate(ends) if target < end) for target in targets]
        found: list[Any] = [None] * len(targets)
        for owner in sorted(set(owners)):
            mine = [i for i, one in enumerate(owners) if one == owner]
            start = ends[owner] - self._potentials[owner]
            inside = [targets[i] - start for i in mine]
            indices, rows = self._insist(owner, "seed_locate", inside)
            for i, index, row in zip(mine, indices, rows, strict=True):
                found[i] = int(index), row
        return found

    def evaluate(self, candidates: Matrix) -> list[int]:
        """Return the potential after adding one candidate, for each of them."""
        answers = self._partitions.ask(
            self._recipe, "seed_evaluate", *self._latest(), self._scale, candidates
        )
        for i, answer in enumerate(answers):
            if answer is None:
                answers[i] = self._insist(i, "seed_evaluate", candidates)
        self._candidates, self._evaluated = candidates, answers
        return [sum(each) for each in zip(*answers, strict=True)]

    def accept(self, which: int) -> None:
        """Add a candidate of the last `evaluate`."""
        self._chosen.append(self._candidates[which])
        self._potentials = [each[which] for each in self._evaluated]

    def _latest(self) -> tuple[int, Matrix]:
        return len(self._chosen), np.stack(self._chosen[-1:])

    def _insist(self, number: int, question: str, detail: Any) -> Any:
        for count, latest in (self._latest(), (len(self._chosen), np.stack(self._chosen))):
            answer = self._partitions.ask_one(
                number, self._recipe, question, count, latest, self._scale, detail
            )
            if answer is not None:
                return answer
        raise AssertionError("a partition that was told everything knows everything")
