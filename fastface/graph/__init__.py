"""The neighbour graph that every identity method reads."""

from __future__ import annotations

from fastface.graph.neighbors import NeighborGraph

__all__ = ["NeighborGraph"]
