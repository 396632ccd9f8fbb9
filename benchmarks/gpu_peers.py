"""The same iterations of k-means by other libraries on one GPU, from the same centers.

Every peer gets its rows where it works on them, in the GPU's memory (FAISS takes them from the
host), and ends when the GPU has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

__all__ = ["PEERS", "Task", "peer_calls"]

Call = Callable[[], object]


@dataclass(frozen=True)
class Task:
    """Iterations of k-means.

    Attributes
    ----------
    x : ndarray of float32, shape (n_samples, n_features)
        Rows.
    start : ndarray of float32, shape (n_clusters, n_features)
        Centers to start from.
    n_iter : int
        Iterations.
    """

    x: np.ndarray
    start: np.ndarray
    n_iter: int

    @property
    def flops(self) -> float:
        """Return 2 n K d of all iterations: what TFLOP/s are counted by."""
        return 2.0 * self.x.size * len(self.start) * self.n_iter


def _cuml(task: Task) -> dict[str, Call]:
    import cupy
    from cuml.cluster import KMeans

    there = cupy.asarray(task.x)
    model = KMeans(
        n_clusters=len(task.start), init=task.start, n_init=1, max_iter=task.n_iter, tol=0.0
    )

    def run() -> None:
        model.fit(there)
        cupy.cuda.get_current_stream().synchronize()

    return {"cuml": run}


def _faiss(task: Task) -> dict[str, Call]:
    import faiss

    if not getattr(faiss, "get_num_gpus", lambda: 0)():
        raise RuntimeError("this FAISS was built without GPUs, or sees none")
    (n, dim), k = task.x.shape, len(task.start)
    options = {"niter": task.n_iter, "gpu": True, "max_points_per_centroid": n}
    return {
        "faiss-gpu": lambda: faiss.Kmeans(dim, k, **options).train(
            task.x, init_centroids=task.start
        )
    }


def _tensors(task: Task) -> tuple[Any, Any, Any]:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("this PyTorch was built without CUDA, or sees no GPU")
    return torch, torch.from_numpy(task.x).cuda(), torch.from_numpy(task.start).cuda()


def _torch(task: Task) -> dict[str, Call]:
    torch, x, start = _tensors(task)
    block = max(1, (1 << 28) // len(start))  # a gigabyte of scores at a time

    def lloyd() -> None:
        centers = start
        for _ in range(task.n_iter):
            halves = 0.5 * (centers * centers).sum(1)
            labels = torch.cat([(rows @ centers.T - halves).argmax(1) for rows in x.split(block)])
            sums = torch.zeros_like(centers).index_add_(0, labels, x)
            counts = torch.bincount(labels, minlength=len(start)).clamp(min=1)
            centers = sums / counts[:, None]
        torch.cuda.synchronize()

    return {"torch": lloyd}


def _flashlib(task: Task) -> dict[str, Call]:
    torch, x, start = _tensors(task)
    from flashlib import flash_kmeans

    def runner(rows: Any, centers: Any) -> Call:
        def run() -> None:
            flash_kmeans(
                rows, len(centers), max_iters=task.n_iter, tol=0.0, init_centroids=centers[None]
            )
            torch.cuda.synchronize()

        return run

    half = x.bfloat16(), start.bfloat16()
    return {"flashlib": runner(x, start), "flashlib bf16": runner(*half)}


def _flash_kmeans(task: Task) -> dict[str, Call]:
    torch, x, start = _tensors(task)
    from flash_kmeans import batch_kmeans_Euclid

    def run() -> None:
        batch_kmeans_Euclid(
            x[None],
            len(start),
            max_iters=task.n_iter,
            tol=0.0,
            init_centroids=start[None].clone(),
        )
        torch.cuda.synchronize()

    return {"flash-kmeans": run}


# Name: module that has to be there, and what makes the calls.
PEERS: dict[str, tuple[str, Callable[[Task], dict[str, Call]]]] = {
    "cuml": ("cuml", _cuml),
    "faiss-gpu": ("faiss", _faiss),
    "torch": ("torch", _torch),
    "flashlib": ("flashlib", _flashlib),
    "flash-kmeans": ("flash_kmeans", _flash_kmeans),
}


def peer_calls(task: Task, names: Sequence[str]) -> tuple[dict[str, Call], dict[str, str]]:
    """Return what peers do, and why those that are left out are.

    Parameters
    ----------
    task : Task
        The same for all.
    names : sequence of str
        Some of `PEERS`.
    """
    calls: dict[str, Call] = {}
    left_out: dict[str, str] = {}
    for name in names:
        module, make = PEERS[name]
        if find_spec(module) is None:
            left_out[name] = f"{module} is not installed"
            continue
        try:
            made = make(task)
            for call in made.values():
                call()  # compiles, and shows whether it works on this GPU
        except Exception as error:
            left_out[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        else:
            calls |= made
    return calls, left_out
