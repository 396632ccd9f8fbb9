"""The same answers on the workers of a Dask cluster.

Needs the extra ``dask``; `embed` also what embedding needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastface.distributed.attributes import AttributeDiscovery
from fastface.distributed.graph import NeighborGraph
from fastface.distributed.identities import IdentityClustering
from fastface.distributed.kmeans import KMeans

if TYPE_CHECKING:
    from fastface.distributed.embedding import embed

__all__ = ["AttributeDiscovery", "IdentityClustering", "KMeans", "NeighborGraph", "embed"]


def __getattr__(name: str) -> Any:
    if name == "embed":  # models and runtimes are no business of those who only cluster
        from fastface.distributed.embedding import embed

        return embed
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
