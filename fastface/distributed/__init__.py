"""The same answers on the workers of a Dask cluster.

Needs the extra ``dask``.
"""

from fastface.distributed.kmeans import KMeans

__all__ = ["KMeans"]
