"""People over the workers of a cluster: regions of faces, and turns of joining over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastface.distributed import faces as of_faces
from fastface.distributed import region_tasks as tasks
from fastface.distributed.cluster import Shared, gather, submit
from fastface.distributed.faces import Forest
from fastface.distributed.inputs import DividedRows
from fastface.distributed.joining import (
    join_bin,
    merge_forests,
    pick,
    places_of_bins,
    plan_bins,
)
from fastface.distributed.regions import divide_space
from fastface.distributed.searching import Search
from fastface.identities.kernel import KernelParameters

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Grouping", "Limits"]

Names = NDArray[np.int64]

_STAGES = 8  # in which groups of a component too large are joined
_WAITING_PER_THREAD = 3  # tasks that hold much


@dataclass(frozen=True)
class Limits:
    """How much comes together on one worker.

    Attributes
    ----------
    region_rows : int
        Faces of a region, about.
    component_rows : int
        Faces that may hang together and still be joined as a whole.
    """

    region_rows: int
    component_rows: int


class Grouping:
    """Faces in regions on workers, and the group of each.

    Parameters
    ----------
    rows : DividedRows
        Embeddings.
    lists : sequence of Future
        Neighbour lists of each partition.
    photos : sequence
        Photos of each partition, or None of each.
    limits : Limits
        How to divide.
    parameters : KernelParameters
        Constants of the method.
    seed : int
        Of the division; the answer does not depend on it.
    n_threads : int
        Threads of a task.
    client : distributed.Client
        The cluster.
    """

    def __init__(
        self,
        rows: DividedRows,
        lists: Iterable[Future],
        photos: Iterable[Any],
        limits: Limits,
        parameters: KernelParameters,
        seed: int,
        n_threads: int,
        client: Client,
    ) -> None:
        self._client = client
        self._rows = rows
        self._parameters = parameters
        self._n_threads = n_threads
        self._limits = limits
        self.is_exact = True
        search = Search(0, "euclidean", True, "auto", n_threads)
        cells, region_of, self._n = divide_space(rows, search, limits.region_rows, 1, seed, client)
        homes = [submit(client, tasks.home_regions, one, region_of) for one in cells]
        owners = np.concatenate(gather(client, homes))
        self._owners = Shared(client, owners)
        parts = list(zip(rows.sources, rows.first_rows, lists, photos, homes, strict=True))
        regions = [
            submit(
                client,
                tasks.region_of_parts,
                [submit(client, tasks.part_of_region, *part, region, search) for part in parts],
            )
            for region in range(self._n)
        ]
        wanted = self._each(
            tasks.neighbors_elsewhere, regions, parameters.cutoff, self._owners, self._n
        )
        self._faces = [
            submit(client, of_faces.make_faces, region, answers, parameters, n_threads)
            for region, answers in zip(
                regions, self._exchange(of_faces.answer_lists, regions, wanted), strict=True
            )
        ]
        self._neighbors = self._each(
            tasks.neighbors_elsewhere, self._faces, np.inf, self._owners, self._n
        )
        self._labels = self._each(tasks.own_names, self._faces)

    def join_first(self, must_link: Names) -> None:
        """Let faces that must be one person be one group; pairs of (face, first of its group)."""
        if len(must_link):
            self._relabel(must_link[:, 0], must_link[:, 1])

    def take_turns(self, cannot_link: Names) -> None:
        """Join groups until nothing is left to join."""
        cannot = Shared(self._client, cannot_link)
        for turn in range(1 + self._parameters.group_passes):
            merged = self._take_turn(turn, cannot)
            if turn > 0 and not merged:
                break

    def _take_turn(self, turn: int, cannot_link: Shared) -> bool:
        p = self._parameters
        stop = p.stop if turn == 0 else p.stop_between_groups
        allowed: Names | None = None
        any_merged = False
        for _ in range(_STAGES):
            forest = self._forest(stop)
            if allowed is not None:
                forest = tasks.among(forest, allowed)
            usual = min(self._limits.region_rows, self._limits.component_rows)
            plan = plan_bins(forest, stop, most=self._limits.component_rows, usual=usual)
            if not plan.stops:
                break
            names, bins = Shared(self._client, plan.names), Shared(self._client, plan.bins)
            near = self._near()
            places = [
                submit(self._client, places_of_bins, labels, names, bins) for labels in self._labels
            ]

            def joined(
                number: int,
                near: list[Future] = near,
                places: list[Future] = places,
                plan: Any = plan,
            ) -> Future:
                parts = [
                    submit(self._client, pick, *held, number)
                    for held in zip(self._faces, self._labels, near, places, strict=True)
                ]
                return submit(
                    self._client, join_bin, parts, turn, plan.stops[number], cannot_link, p,
                    self._n_threads,
                )  # fmt: skip

            found = self._in_waves(joined, len(plan.stops))
            old = np.concatenate([one[0] for one in found])
            new = np.concatenate([one[1] for one in found])
            self._relabel(old, new)
            any_merged |= len(old) > 0
            if not len(plan.oversized):
                break
            self.is_exact = False
            if not len(old):
                break
            allowed = np.unique(tasks.renamed(plan.oversized, *tasks.in_order_of_old(old, new)))
        return any_merged

    def _forest(self, stop: float) -> Forest:
        near = self._near()
        owned = self._owned_sums(near, with_shares=True)
        longest = self._parameters.longest_edge * self._parameters.cutoff
        pairs = [
            submit(self._client, of_faces.pairs_of, faces, labels, around, longest)
            for faces, labels, around in zip(self._faces, self._labels, near, strict=True)
        ]
        asked = self._each(tasks.groups_of_pairs, pairs, self._owners, self._n)
        forests = [
            submit(self._client, of_faces.forest_of, pair, parts, self._parameters, stop)
            for pair, parts in zip(
                pairs, self._exchange(tasks.answer_sums, owned, asked, own=True), strict=True
            )
        ]
        return merge_forests(gather(self._client, forests), -np.inf)

    def _owned_sums(self, near: list[Future], *, with_shares: bool) -> list[Future]:
        sums = [
            submit(self._client, tasks.sums, faces, labels, around, with_shares)
            for faces, labels, around in zip(self._faces, self._labels, near, strict=True)
        ]
        return [
            submit(
                self._client,
                of_faces.join_sums,
                [
                    submit(self._client, of_faces.group_sums, one, self._owners, region)
                    for one in sums
                ],
            )
            for region in range(self._n)
        ]

    def _near(self) -> list[Future]:
        """Return the labels of all neighbours that are in other regions."""
        held = [
            submit(self._client, tasks.own_labels, faces, labels)
            for faces, labels in zip(self._faces, self._labels, strict=True)
        ]
        answers = self._exchange(tasks.answer_labels, held, self._neighbors)
        return [submit(self._client, tasks.together, parts) for parts in answers]

    def _relabel(self, old: Names, new: Names) -> None:
        old, new = tasks.in_order_of_old(old, new)
        there = Shared(self._client, old), Shared(self._client, new)
        self._labels = self._each(tasks.renamed, self._labels, *there)

    def people(self) -> tuple[Names, Names]:
        """Return all groups by the name of their first face, and how many faces each has."""
        parts = gather(self._client, self._each(tasks.count, self._labels))
        names, codes = np.unique(np.concatenate([p[0] for p in parts]), return_inverse=True)
        sizes = np.zeros(len(names), np.int64)
        np.add.at(sizes, codes, np.concatenate([p[1] for p in parts]))
        return names, sizes

    def confidence(self, cutoff: float, typical: float) -> list[Future]:
        """Return the confidence of the faces of each region; `typical` is the usual size."""
        near = self._near()
        owned = self._owned_sums(near, with_shares=False)
        triples = list(zip(self._faces, self._labels, near, strict=True))
        asked = [
            submit(self._client, tasks.people_near, *t, self._owners, self._n) for t in triples
        ]
        return [
            submit(self._client, of_faces.confidence_of, *triple, parts, cutoff, typical)
            for triple, parts in zip(
                triples, self._exchange(tasks.answer_sums, owned, asked, own=True), strict=True
            )
        ]

    def in_order(self, names: Names, numbers: Names, confidence: list[Future]) -> list[Future]:
        """Return people by number, and confidence, in the partitions of the rows."""
        there = Shared(self._client, names), Shared(self._client, numbers)
        numbered = self._each(tasks.renamed, self._labels, *there)
        held = [
            submit(self._client, tasks.with_names, *one)
            for one in zip(self._faces, numbered, confidence, strict=True)
        ]
        return [
            submit(
                self._client,
                tasks.ordered,
                [submit(self._client, tasks.cut, one, first, first + size) for one in held],
                first,
                size,
            )
            for first, size in zip(self._rows.first_rows, self._rows.sizes, strict=True)
        ]

    def _each(self, work: Callable[..., Any], items: Iterable[Any], *details: Any) -> list[Future]:
        return [submit(self._client, work, item, *details) for item in items]

    def _exchange(
        self,
        answer: Callable[..., Any],
        held: list[Future],
        asked: list[Future],
        *,
        own: bool = False,
    ) -> list[list[Future]]:
        """Let every region ask all (others); return the answers that each gets."""
        return [
            [
                submit(self._client, answer, held[there], asked[here], there)
                for there in range(self._n)
                if own or there != here
            ]
            for here in range(self._n)
        ]

    def _in_waves(self, work: Callable[[int], Future], count: int) -> list[Any]:
        """Start tasks that hold much a few at a time, and return their results."""
        at_once = _WAITING_PER_THREAD * sum(self._client.nthreads().values())
        results: list[Any] = []
        for start in range(0, count, at_once):
            futures = [work(number) for number in range(start, min(count, start + at_once))]
            results += gather(self._client, futures)
        return results
