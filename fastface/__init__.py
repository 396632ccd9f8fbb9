"""fastface: who is who in a collection of face photos, and what the embedding knows.

Names are imported when they are first used, so that ``import fastface`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastface.attributes import AttributeDiscovery
    from fastface.backends import (
        available_isas,
        get_isa,
        get_num_threads,
        set_isa,
        set_num_threads,
    )
    from fastface.distances import (
        assign,
        nearest_neighbors,
        pairwise_distances,
        radius_neighbors,
    )
    from fastface.embedder import Embedder
    from fastface.graph import NeighborGraph
    from fastface.identities import IdentityClustering
    from fastface.kmeans import KMeans, MiniBatchKMeans, kmeans_plusplus
    from fastface.prepared import prepare

__all__ = [
    "AttributeDiscovery",
    "Embedder",
    "IdentityClustering",
    "KMeans",
    "MiniBatchKMeans",
    "NeighborGraph",
    "__version__",
    "assign",
    "available_isas",
    "get_isa",
    "get_num_threads",
    "kmeans_plusplus",
    "nearest_neighbors",
    "pairwise_distances",
    "prepare",
    "radius_neighbors",
    "set_isa",
    "set_num_threads",
]

_HOME = {
    "AttributeDiscovery": "fastface.attributes",
    "Embedder": "fastface.embedder",
    "IdentityClustering": "fastface.identities",
    "KMeans": "fastface.kmeans",
    "MiniBatchKMeans": "fastface.kmeans",
    "NeighborGraph": "fastface.graph",
    "assign": "fastface.distances",
    "available_isas": "fastface.backends",
    "get_isa": "fastface.backends",
    "get_num_threads": "fastface.backends",
    "kmeans_plusplus": "fastface.kmeans",
    "nearest_neighbors": "fastface.distances",
    "pairwise_distances": "fastface.distances",
    "prepare": "fastface.prepared",
    "radius_neighbors": "fastface.distances",
    "set_isa": "fastface.backends",
    "set_num_threads": "fastface.backends",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fastface' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
