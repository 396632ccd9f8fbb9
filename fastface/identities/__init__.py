"""Who is who: grouping embeddings into people over one neighbour graph."""

from __future__ import annotations

from fastface.identities.estimator import IdentityClustering

__all__ = ["IdentityClustering"]
