"""k-means: exact, and the same bits everywhere."""

from __future__ import annotations

from fastface.kmeans.batch_run import BatchReport
from fastface.kmeans.estimator import KMeans
from fastface.kmeans.judge import ClusteringQuality
from fastface.kmeans.minibatch import MiniBatchKMeans
from fastface.kmeans.plusplus import kmeans_plusplus
from fastface.kmeans.quality import clustering_quality, inertia_curve
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
