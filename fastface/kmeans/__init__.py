"""k-means: exact, and the same bits everywhere."""

from __future__ import annotations

from fastface.kmeans.estimator import KMeans
from fastface.kmeans.minibatch import BatchReport, MiniBatchKMeans
from fastface.kmeans.plusplus import kmeans_plusplus
from fastface.kmeans.quality import ClusteringQuality, clustering_quality, inertia_curve
from fastface.kmeans.run import IterationReport

__all__ = [
    "BatchReport",
    "ClusteringQuality",
    "IterationReport",
    "KMeans",
    "MiniBatchKMeans",
    "clustering_quality",
    "inertia_curve",
    "kmeans_plusplus",
]
