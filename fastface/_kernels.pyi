"""Compiled kernels; call them through `fastface.backends`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

def available_isas() -> list[str]: ...
def set_isa(name: str) -> bool: ...
def active_isa() -> str: ...
def nearest(
    x: NDArray[Any],
    y: NDArray[Any],
    k: int,
    metric: str,
    exclude_self: bool,
    n_threads: int,
    memory_limit: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32], int, int]: ...
def radius(
    x: NDArray[Any],
    y: NDArray[Any],
    radius: float,
    metric: str,
    exclude_self: bool,
    n_threads: int,
    memory_limit: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...
def pairwise(
    x: NDArray[Any], y: NDArray[Any], out: NDArray[np.float32], metric: str, n_threads: int
) -> None: ...
def accumulate(
    x: NDArray[Any],
    labels: NDArray[np.int32],
    previous: NDArray[np.int32] | None,
    factors: NDArray[np.float64] | None,
    masses: NDArray[np.float64] | None,
    scales: NDArray[np.float64],
    mass_scale: float,
    low_scale: float,
    sums: NDArray[np.int64],
    mass: NDArray[np.int64],
    n_threads: int,
) -> int: ...
def own_distances(
    x: NDArray[Any], centers: NDArray[Any], labels: NDArray[np.int32], metric: str, n_threads: int
) -> NDArray[np.float64]: ...
def row_norms(x: NDArray[Any], n_threads: int) -> NDArray[np.float64]: ...
def column_range(x: NDArray[Any], n_threads: int) -> NDArray[np.float64]: ...
def column_moments(
    x: NDArray[Any], scales: NDArray[np.float64], low_scale: float, n_threads: int
) -> NDArray[np.int64]: ...

class Pruner:
    def __init__(
        self, n_rows: int, n_centers: int, metric: str, n_threads: int, keep_rows: bool
    ) -> None: ...
    @staticmethod
    def bytes_per_row(dim: int, n_centers: int, keep_rows: bool) -> int: ...
    @property
    def n_groups(self) -> int: ...
    def begin(self, centers: NDArray[Any], names: NDArray[np.int32]) -> None: ...
    def assign(
        self, x: NDArray[Any], first_row: int, anew: bool, labels: NDArray[np.int32]
    ) -> tuple[int, int]: ...
    def look_inside(
        self,
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.int32],
    ]: ...

class PreparedCandidates:
    def __init__(self, y: NDArray[Any], metric: str, n_threads: int) -> None: ...
    def nearest(
        self,
        x: NDArray[Any],
        k: int,
        exclude_self: bool,
        n_threads: int,
        memory_limit: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], int, int]: ...
    def radius(
        self, x: NDArray[Any], radius: float, exclude_self: bool, n_threads: int, memory_limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...

class Seeder:
    def __init__(
        self, x: NDArray[Any], weights: NDArray[np.float64] | None, metric: str, n_threads: int
    ) -> None: ...
    @property
    def nearest(self) -> NDArray[np.float64]: ...
    def begin(self, center: NDArray[Any]) -> float: ...
    def set_scale(self, scale: float) -> int: ...
    def locate(self, target: int) -> int: ...
    def evaluate(self, candidates: NDArray[Any]) -> list[int]: ...
    def accept(self, which: int) -> None: ...

def resample_photo(image: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]: ...
def resample_plane(source: NDArray[np.float32], target: NDArray[np.float32]) -> None: ...
def halve_photo(image: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
def sample_photo(
    image: NDArray[np.uint8], origin: complex, step: complex, size: int, rounding: float
) -> NDArray[np.uint8]: ...
def gradient_directions() -> NDArray[np.uint8]: ...

class HogSearch:
    def __init__(
        self,
        planes: NDArray[np.int32],
        parts: NDArray[np.int32],
        row_filters: NDArray[np.float32],
        column_filters: NDArray[np.float32],
    ) -> None: ...
    def run(
        self, image: NDArray[np.uint8], levels: int, least: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]: ...

class Exclusions:
    def __init__(
        self, offsets: NDArray[np.int64], items: NDArray[np.int32], count: int
    ) -> None: ...

class NeighborShares:
    def __init__(
        self,
        indices: NDArray[np.int32],
        distances: NDArray[np.float32],
        cutoff: float,
        smallest_radius: float,
        radius_factor: float,
        radius_neighbors: int,
        n_threads: int,
    ) -> None: ...
    @staticmethod
    def from_rows(
        offsets: NDArray[np.int64], columns: NDArray[np.int32], values: NDArray[np.float32]
    ) -> NeighborShares: ...
    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...

def average_linkage(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    x: NDArray[np.float32],
    shares: NeighborShares,
    labels: NDArray[np.int32],
    n_groups: int,
    exclusions: Exclusions,
    cutoff: float,
    overlap_weight: float,
    longest_edge: float,
    stop: float,
    fewest: int,
    n_threads: int,
) -> NDArray[np.int32]: ...
def probable_links(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    k: int,
    sigma: float,
    farthest: float,
    theta: float,
    n_threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...
def rank_order_links(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    k: int,
    threshold: float,
    n_threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...
def join_links(
    first: NDArray[np.int32], second: NDArray[np.int32], exclusions: Exclusions
) -> NDArray[np.int32]: ...
def chinese_whispers(
    offsets: NDArray[np.int64],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    exclusions: Exclusions,
    order: NDArray[np.int64],
    max_sweeps: int,
) -> NDArray[np.int32]: ...
def map_equation(
    offsets: NDArray[np.int64],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    exclusions: Exclusions,
    seed: int,
) -> tuple[NDArray[np.int32], float]: ...
def code_length(
    offsets: NDArray[np.int64],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    labels: NDArray[np.int32],
) -> float: ...
def nearness(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    x: NDArray[np.float32],
    labels: NDArray[np.int32],
    n_people: int,
    alone: float,
    nobody: float,
    n_candidates: int,
    n_threads: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]: ...

class EncodedRows:
    def __init__(
        self,
        x: NDArray[Any],
        order: NDArray[np.int32],
        shift: NDArray[np.float64],
        n_threads: int,
    ) -> None: ...
    def refine(
        self, source: NDArray[np.uint32], target: NDArray[np.uint32], fan: int, n_threads: int
    ) -> int: ...

GROUP_ROWS: int
ONE_WAY: int
MUTUAL: int

def edge_directions(
    indices: NDArray[np.int32], distances: NDArray[np.float32], below: float, n_threads: int
) -> NDArray[np.uint8]: ...
def row_order(x: NDArray[Any], n_threads: int) -> NDArray[np.int32]: ...

class SelfJoin:
    def __init__(
        self,
        x: NDArray[Any],
        order: NDArray[np.int32],
        shift: NDArray[np.float64],
        rotation: NDArray[np.float64],
        n_threads: int,
    ) -> None: ...
    def exactly(
        self,
        metric: str,
        distances: NDArray[np.float32],
        indices: NDArray[np.int32],
        n_threads: int,
    ) -> None: ...
    def nearby(self, n_visited: int, lists: NDArray[np.uint32], n_threads: int) -> None: ...

def settle(
    x: NDArray[Any],
    order: NDArray[np.int32],
    lists: NDArray[np.uint32],
    metric: str,
    places: NDArray[np.int32],
    distances: NDArray[np.float32],
    indices: NDArray[np.int32],
    n_threads: int,
) -> None: ...
def spatial_signs(
    rows: NDArray[np.float64], starts: NDArray[np.int64], n_threads: int
) -> NDArray[np.float64]: ...
def two_means_of_each(
    rows: NDArray[np.float64],
    starts: NDArray[np.int64],
    n_starts: int,
    seed: int,
    n_threads: int,
) -> NDArray[np.int8]: ...
