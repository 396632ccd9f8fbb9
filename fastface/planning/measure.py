"""Measure this machine in a minute or two.

Seconds of computing are seconds of processor time of one core, so that other load on the machine
hardly shows.  Work on a cluster is measured on a cluster: one worker of one thread, at two sizes,
which tell what is fixed from what grows with the rows; what the worker does, and what this process
does while workers wait, apart.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastface.backends import get_isa
from fastface.distances import assign
from fastface.errors import FastfaceError, MissingDependencyError
from fastface.graph import NeighborGraph
from fastface.planning.rates import Growth, Rates, Work
from fastface.progress import NullProgress, Progress

__all__ = ["measure_rates", "people_like"]

_SIZES = (8_000, 24_000)
_REGION_ROWS = 8_000
_STEPS = 11
_DISK_BYTES = 256 << 20
_PHOTO = (1200, 1600)  # height, width


def measure_rates(
    *,
    dim: int = 128,
    n_neighbors: int = 80,
    sizes: tuple[int, int] = _SIZES,
    region_rows: int = _REGION_ROWS,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Rates:
    """Measure this machine.

    Parameters
    ----------
    dim : int
        Features of the embeddings to plan for.
    n_neighbors : int
        Neighbours in the graph.
    sizes : tuple of int
        Rows of the two runs of each stage.
    region_rows : int
        Rows of a region.
    folder : path-like, optional
        On the disk to measure; by default that of temporary files.
    progress : Progress, optional
        Where to report.

    Returns
    -------
    Rates

    Raises
    ------
    MissingDependencyError
        If Dask is not installed.

    Notes
    -----
    A worker process is started: a script that calls this needs ``if __name__ == "__main__":``.
    """
    with (progress or NullProgress()).step("rates", _STEPS, "measurements") as step:

        def done(value: Any) -> Any:
            step.advance()
            return value

        write, read = done(_disk_rates(folder))
        find = done(_find_rate())
        embed = done(_embed_rate())
        flop = done(_assign_rate(dim))
        fixed, per_row, approximate = done(_search_rates(dim, n_neighbors, sizes))
        with _one_worker() as client:
            _warm_up(client, dim, n_neighbors)  # on a new machine it compiles, once and for all
        with _one_worker() as client:
            _warm_up(client, dim, n_neighbors)
            base = _of_worker(client, _resident_bytes)
            start = _of_worker(client, time.process_time)
            runs = [_stages(client, n, dim, n_neighbors, region_rows, step.advance) for n in sizes]

    def growth(stage: str, who: int, by: tuple[float, float] = sizes) -> Growth:
        return Growth.through(by, (runs[0].seconds[stage][who], runs[1].seconds[stage][who]))

    sent = [n * run.visits for n, run in zip(sizes, runs, strict=True)]
    for n, rows, run in zip(sizes, sent, runs, strict=True):
        in_region = rows / max(1, round(n / region_rows))
        searching = rows * (fixed + per_row * in_region)
        here, there = run.seconds["graph"]
        run.seconds["graph"] = max(0.0, here - searching), there
    graph, people, attributes = (
        Work(growth(stage, 0, by), growth(stage, 1, by))
        for stage, by in (("graph", (sent[0], sent[1])), ("people", sizes), ("attributes", sizes))
    )
    return Rates(
        _machine(),
        dim,
        n_neighbors,
        region_rows,
        find,
        embed,
        flop,
        runs[1].visits,
        fixed,
        per_row,
        approximate,
        sizes[1],
        start,
        graph,
        people,
        attributes,
        base,
        write,
        read,
    )


def people_like(n: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Return unit rows that lie like faces: some eight of a person, in some 20 dimensions.

    A tenth of the people look like others, and some photos are worse than others: both keep groups
    joining for more turns, which is most of the time that people take.
    """
    rng = np.random.default_rng(seed)
    scale = np.exp(-np.arange(dim) / 36) / (1 + np.arange(dim)) ** 0.25
    scale /= np.sqrt((scale**2).sum())
    noise = np.exp(-np.arange(dim) / 80)
    noise /= np.sqrt((noise**2).sum())
    n_people = max(1, n // 8)
    people = rng.standard_normal((n_people, dim))
    copies = np.flatnonzero(rng.random(n_people) < 0.1)
    people[copies] = 0.6 * people[copies] + 0.8 * people[rng.integers(0, n_people, len(copies))]
    photos = rng.pareto(2.0, n_people) + 1 / 7
    faces = rng.choice(n_people, n, p=photos / photos.sum())
    spread = 0.21 * np.exp(0.2 * rng.standard_normal(n))
    spread[rng.random(n) < 0.03] *= 1.6
    rows = 0.35 * (people * scale)[faces]
    rows += spread[:, None] * rng.standard_normal((n, dim)) * noise
    rows[:, 0] += 0.91
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = rows.astype(np.float32)
    return unit


def _cpu_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@contextmanager
def _one_worker() -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise MissingDependencyError.for_package(
            "distributed", extra="dask", purpose="measuring what a cluster does"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about ports in use
        cluster = LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=60,  # workers that end say much
            memory_limit=None,
        )
    with cluster, Client(cluster) as client:
        yield client


def _of_worker(client: Any, ask: Callable[[], Any]) -> Any:
    (answer,) = client.run(ask).values()
    return answer


@dataclass
class _Run:
    """Processor seconds of the worker and of this process by stage; regions that a row visits."""

    seconds: dict[str, tuple[float, float]]
    visits: float


def _warm_up(client: Any, dim: int, k: int) -> None:
    """Let everything be imported and compiled."""
    _stages(client, 400, dim, k, 200, lambda: None)


def _stages(
    client: Any, n: int, dim: int, k: int, region_rows: int, done: Callable[[], None]
) -> _Run:
    """Measure each stage over `n` rows."""
    from fastface.distributed import AttributeDiscovery, IdentityClustering, NeighborGraph
    from fastface.distributed.regions import count_visits

    seconds: dict[str, tuple[float, float]] = {}

    def measure(stage: str, work: Callable[[], Any]) -> Any:
        there, here = _of_worker(client, time.process_time), time.process_time()
        result = work()
        here = time.process_time() - here
        seconds[stage] = _of_worker(client, time.process_time) - there, here
        done()
        return result

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, people_like(n, dim), allow_pickle=False)
        graph = measure(
            "graph",
            lambda: NeighborGraph.build(
                path,
                n_neighbors=k,
                normalize=True,
                method="approximate",
                region_rows=region_rows,
                client=client,
            ),
        )
        people = IdentityClustering(region_rows=region_rows, client=client)
        measure("people", lambda: people.fit(path, graph=graph))
        measure("attributes", lambda: AttributeDiscovery(client=client).fit(path))
        return _Run(seconds, count_visits(graph.rows, region_rows, client))


def _assign_rate(dim: int) -> float:
    rows, centers = people_like(20_000, dim), people_like(1024, dim, seed=1)
    assign(rows[:512], centers, n_threads=1)
    seconds = _cpu_seconds(lambda: assign(rows, centers, n_threads=1))
    return seconds / (len(rows) * len(centers) * dim)


def _search_rates(dim: int, k: int, sizes: tuple[int, int]) -> tuple[float, float, float]:
    """Return what a row costs in exact graphs, as a line, and in an approximate one."""
    rows = people_like(sizes[1], dim)

    def build(n: int, method: str) -> float:
        return _cpu_seconds(
            lambda: NeighborGraph.build(
                rows[:n], n_neighbors=k, normalize=True, method=method, n_threads=1
            )
        )

    build(min(500, sizes[0]), "exact")
    exact = [build(n, "exact") / n for n in sizes]
    line = Growth.through(sizes, (exact[0], exact[1]))
    return line.fixed, line.per_row, build(sizes[1], "approximate") / sizes[1]


def _find_rate() -> float | None:
    """Return seconds a megapixel of decoding and searching, on a photo of nobody."""
    try:
        from PIL import Image

        from fastface.faces import FaceExtractor

        extractor = FaceExtractor()
        extractor.prepare()
    except (ImportError, FastfaceError):
        return None
    height, width = _PHOTO
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        Image.fromarray(small).resize((width, height)).save(path, quality=90)
        extractor.extract(path)
        seconds = _cpu_seconds(lambda: [extractor.extract(path) for _ in range(3)])
    return seconds / 3 / (height * width / 1e6)


def _embed_rate() -> float | None:
    try:
        from fastface.embedder import Embedder

        embedder = Embedder(n_threads=1, batch_size=32)
    except (ImportError, FastfaceError):
        return None
    height, width = embedder.spec.input_size
    crops = np.random.default_rng(0).integers(0, 256, (32, height, width, 3), np.uint8)
    embedder.embed(crops)
    return _cpu_seconds(lambda: embedder.embed(crops)) / len(crops)


def _disk_rates(folder: str | os.PathLike[str] | None) -> tuple[float, float]:
    block = np.random.default_rng(0).bytes(16 << 20)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        start = time.perf_counter()
        for _ in range(_DISK_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = time.perf_counter() - start
        if hasattr(os, "posix_fadvise"):  # what is read back should come from the disk
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        start = time.perf_counter()
        while file.read(len(block)):
            pass
        read = time.perf_counter() - start
    return _DISK_BYTES / written, _DISK_BYTES / read


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 256 << 20
    return pages * os.sysconf("SC_PAGE_SIZE")


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.machine())}, {get_isa()}"
