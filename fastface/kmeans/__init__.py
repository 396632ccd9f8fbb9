"""k-means: exact, and the same bits everywhere."""

from __future__ import annotations

from fastface.kmeans.estimator import KMeans
from fastface.kmeans.run import IterationReport

__all__ = ["IterationReport", "KMeans"]
