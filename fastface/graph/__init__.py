"""The neighbour graph that every identity method reads."""

from __future__ import annotations

from fastface.graph.neighbors import NeighborGraph
from fastface.graph.rows import unit_rows

__all__ = ["NeighborGraph", "unit_rows"]
