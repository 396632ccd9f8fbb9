"""Time, memory, disk, network and money of each stage, from rates and the size of the job."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastface.distributed.regions import EXACT_ROWS
from fastface.errors import InvalidInputError
from fastface.planning.rates import Growth, Rates

__all__ = ["Cluster", "Job", "Stage", "memory_of_caller", "predict"]

_PARTITION_BYTES = 64 << 20  # of a file, as fastface.distributed cuts it
_TASK_SECONDS = 5e-4  # of the scheduler, which works on one task after the other
_SHARES = 30  # entries of a face's row of shares, about
_CROP_BYTES = 6_000  # JPEG of a crop
_PHOTO_BYTES_PER_MEGAPIXEL = 400_000
_ITERATIONS = 20  # of k-means
_MOST_CELLS = 1 << 16
_CELLS_OF_REGION = 64
_APPROXIMATE_GROWTH = 0.1
_MOST_PARTITIONS = 1024
_SEARCHED = 50_000  # rows that are searched for attributes
_DEPTH = 3  # of their tree
_IN_REGIONS = 0.65  # of the work on people, where one worker had the only region and one did not
_CALLER_BYTES = 4 + 2 * 40  # a face: its region; two copies of its link in a forest
_LATE_STAGES = 3  # turns of joining that are more than a look


@dataclass(frozen=True)
class Cluster:
    """Machines that are alike.

    Attributes
    ----------
    workers, cores : int
        Machines, and cores of each that work.
    memory : int
        Bytes of each.
    network : float
        Bytes a second of each machine.
    disk : float or None
        Bytes a second of each machine's disk; None takes the rates'.
    price : float
        Of a machine for an hour, in whatever money.
    """

    workers: int
    cores: int
    memory: int
    network: float
    disk: float | None = None
    price: float = 0.0


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes
    ----------
    faces, dim, n_neighbors : int
        Embeddings, their features, and neighbours in the graph.
    region_rows : int
        Faces of a region of the graph.
    people_rows : int
        Faces of a region where people are found.
    clusters : int
        Of k-means; 0 for none.
    photos : int
        Photos to find the faces in; 0 where embeddings are given.
    megapixels : float
        Of a photo.
    """

    faces: int
    dim: int
    n_neighbors: int = 80
    region_rows: int = 20_000
    people_rows: int = 200_000
    clusters: int = 0
    photos: int = 0
    megapixels: float = 2.0


@dataclass(frozen=True)
class Stage:
    """What a stage takes.

    Attributes
    ----------
    name : str
        Of the stage.
    cpu_seconds : float
        Of all cores together.
    seconds : float
        On the clock.
    memory : float
        Bytes that a worker needs to hold nothing on disk.
    least_memory : float
        Bytes without which tasks do not run.
    disk : float
        Bytes that lie on disks afterwards, and what spills in between.
    network : float
        Bytes that travel.
    money : float
        Price.
    bound : str
        What it waits for most: ``"cores"``, ``"caller"`` (the process that asks), ``"network"``,
        ``"disk"`` or ``"scheduler"``.
    """

    name: str
    cpu_seconds: float
    seconds: float
    memory: float
    least_memory: float
    disk: float
    network: float
    money: float
    bound: str


def predict(job: Job, cluster: Cluster, rates: Rates) -> list[Stage]:
    """Predict a job.

    Parameters
    ----------
    job : Job
        What.
    cluster : Cluster
        Where.
    rates : Rates
        Measured on such a machine; widths other than theirs are scaled in proportion.

    Returns
    -------
    list of Stage
        In the order in which they run.

    Raises
    ------
    InvalidInputError
        If photos are to be read and the rates do not tell how long that takes.
    """
    stages = []
    if job.photos:
        if rates.find_per_megapixel is None or rates.embed_per_face is None:
            raise InvalidInputError(
                "these rates do not tell how long photos take: install fastface[faces] and run"
                " `fastface bench` again, or plan for given embeddings (without --photos)"
            )
        stages += [_find(job, cluster, rates), _embed(job, cluster, rates)]
    stages += [_start(cluster, rates), _graph(job, cluster, rates), _people(job, cluster, rates)]
    stages.append(_attributes(job, cluster, rates))
    if job.clusters:
        stages.append(_kmeans(job, cluster, rates))
    return stages


def memory_of_caller(job: Job) -> float:
    """Return the bytes that the process that asks for people holds, beside what it imports.

    It knows the region of every face, and the forest of what hangs together.

    Parameters
    ----------
    job : Job
        What.
    """
    return job.faces * float(_CALLER_BYTES)


def _stage(
    name: str,
    cluster: Cluster,
    rates: Rates,
    *,
    cpu: float,
    held: float,
    task: float,
    kept: float = 0.0,
    travels: float = 0.0,
    read: float = 0.0,
    tasks: float = 0.0,
    caller: float = 0.0,
    crowding: float = 1.0,
) -> Stage:
    """Put a stage together.

    `cpu` are seconds of all workers, `caller` those of the process that asks.  `held` are bytes on
    all workers together, `task` those of one task, `kept` go to disk for good, `read` come from it.
    Work that cannot be divided evenly takes `crowding` times as long.
    """
    least = rates.memory_base + task * cluster.cores
    memory = least + held / cluster.workers
    spilled = max(0.0, memory - cluster.memory) * cluster.workers
    slowest = cluster.disk or min(rates.write_bytes, rates.read_bytes)
    times = {
        "cores": cpu / (cluster.workers * cluster.cores) * crowding,
        "caller": caller,
        "network": travels * (1 - 1 / cluster.workers) / (cluster.network * cluster.workers),
        "disk": (kept + read + 2 * spilled) / (slowest * cluster.workers),
        "scheduler": tasks * _TASK_SECONDS,
    }
    bound = max(times, key=lambda what: times[what])
    # Cores wait while rows travel or spill, and for the process that asks: only what a scheduler
    # does is beside the work.
    beside = times.pop("scheduler")
    seconds = max(sum(times.values()), beside)
    money = seconds / 3600 * cluster.workers * cluster.price
    return Stage(name, cpu + caller, seconds, memory, least, kept + spilled, travels, money, bound)


def _crowding(pieces: int, cluster: Cluster, share: float = 1.0) -> float:
    """Return how much longer work takes of which a share comes in so many equal pieces."""
    slots = cluster.workers * cluster.cores
    rounds = math.ceil(pieces / slots) / pieces * slots
    return 1 - share + share * rounds


def _start(cluster: Cluster, rates: Rates) -> Stage:
    cpu = rates.start * cluster.workers
    # A worker's threads wait for the first of them to load and compile.
    return _stage("start", cluster, rates, cpu=cpu, held=0, task=0, crowding=cluster.cores)


def _find(job: Job, cluster: Cluster, rates: Rates) -> Stage:
    per_photo = (rates.find_per_megapixel or 0.0) * job.megapixels
    return _stage(
        "find faces",
        cluster,
        rates,
        cpu=job.photos * per_photo,
        held=0,
        task=job.megapixels * 12e6,
        read=job.photos * job.megapixels * _PHOTO_BYTES_PER_MEGAPIXEL,
        kept=job.faces * _CROP_BYTES,
        tasks=job.photos / 256,
    )


def _embed(job: Job, cluster: Cluster, rates: Rates) -> Stage:
    return _stage(
        "embed",
        cluster,
        rates,
        cpu=job.faces * (rates.embed_per_face or 0.0),
        held=0,
        task=200e6,
        kept=job.faces * job.dim * 4,
        travels=job.faces * (job.dim * 4 + _CROP_BYTES),
    )


def _graph(job: Job, cluster: Cluster, rates: Rates) -> Stage:
    n, d, k = job.faces, job.dim, job.n_neighbors
    regions = max(1, round(n / job.region_rows))
    # With two regions a row may be sent to one other; with many, to as many as were measured.
    measured = max(2, round(rates.approximate_rows / rates.region_rows))
    visits = 1 + (rates.visits - 1) * (1 - 1 / regions) / (1 - 1 / measured)
    in_region = n / regions * visits
    search = rates.search_fixed + rates.search_per_row * in_region * d / rates.dim
    if in_region > EXACT_ROWS:
        # The local builder's passes grow a little faster than the rows that it is given.
        wider = (in_region / rates.approximate_rows) ** _APPROXIMATE_GROWTH
        search = rates.search_approximate * wider * d / rates.dim
    cells = min(_MOST_CELLS, regions * _CELLS_OF_REGION)
    per_list = k / rates.n_neighbors
    beside = rates.graph.workers
    cpu = n * visits * (search * per_list + beside.per_row * per_list) + beside.fixed
    cpu += n * cells * d * rates.assign_per_flop
    partitions = _partitions(job, cluster)
    return _stage(
        "neighbour graph",
        cluster,
        rates,
        cpu=cpu,
        held=n * k * (8 + 12 * visits),
        task=in_region * (8 * d + 28 * k),
        read=n * (2 + visits) * d * 4,
        travels=n * visits * (d * 4 + 12 * k),
        tasks=2 * partitions * regions + 6 * partitions,
        caller=rates.graph.caller.seconds(n * visits),
        crowding=_crowding(regions, cluster),
    )


def _people(job: Job, cluster: Cluster, rates: Rates) -> Stage:
    n, d, k = job.faces, job.dim, job.n_neighbors
    regions = max(1, round(n / job.people_rows))
    face = d * 4 + 8 * k + 12 * _SHARES
    cpu = _scaled(rates.people.workers, n, k / rates.n_neighbors * (1 + d / rates.dim) / 2)
    return _stage(
        "people",
        cluster,
        rates,
        cpu=cpu,
        held=n * (face + 8 * k + 60),
        task=min(n, job.people_rows) * (3 * face + 24 * k),
        travels=n * (3 * face + 8 * k),
        tasks=_LATE_STAGES * 5 * regions**2 + 2 * regions * _partitions(job, cluster),
        caller=rates.people.caller.seconds(n),
        crowding=_crowding(regions, cluster, _IN_REGIONS),
    )


def _attributes(job: Job, cluster: Cluster, rates: Rates) -> Stage:
    n, d, width = job.faces, job.dim, job.dim / rates.dim
    # Measured where all rows are searched: once for the splits, and once on each level of a tree.
    searched = min(n, _SEARCHED) + sum(
        2**depth * min(n / 2**depth, _SEARCHED) for depth in range(_DEPTH)
    )
    search = _scaled(rates.attributes.caller, searched, width / (1 + _DEPTH))
    sample = _SEARCHED * job.dim * 4.0
    return _stage(
        "attributes",
        cluster,
        rates,
        cpu=_scaled(rates.attributes.workers, n, width),
        held=job.faces * 14.0,
        task=min(_PARTITION_BYTES, n * d * 4.0 / _partitions(job, cluster)) * 3,
        read=job.faces * job.dim * 4.0 * 4,
        travels=8 * sample,
        tasks=30 * _partitions(job, cluster),
        caller=search,
    )


def _kmeans(job: Job, cluster: Cluster, rates: Rates) -> Stage:
    n, d, k = job.faces, job.dim, job.clusters
    partitions = _partitions(job, cluster)
    return _stage(
        f"k-means, {k} clusters",
        cluster,
        rates,
        cpu=_ITERATIONS * n * k * d * rates.assign_per_flop,
        held=n * 8.0,
        task=_PARTITION_BYTES + 16.0 * k * d,
        read=_ITERATIONS * n * d * 4.0,
        travels=_ITERATIONS * cluster.workers * k * d * 24.0,
        tasks=_ITERATIONS * partitions * 1.2,
    )


def _scaled(growth: Growth, rows: float, factor: float) -> float:
    return growth.fixed + growth.per_row * rows * factor


def _partitions(job: Job, cluster: Cluster) -> int:
    by_size = min(math.ceil(job.faces * job.dim * 4 / _PARTITION_BYTES), _MOST_PARTITIONS)
    return max(by_size, 4 * cluster.workers * cluster.cores)
