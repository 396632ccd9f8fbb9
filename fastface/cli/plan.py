"""``fastface plan``: what a job will take on a cluster."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastface.cli.output import print_json
from fastface.errors import InvalidInputError

if TYPE_CHECKING:
    from fastface.planning import Stage

_HEADERS = ("stage", "time", "memory", "at least", "disk", "network", "money", "waits for")


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "plan",
        parents=[common],
        help="predict time, memory, disk, network and money of a large job",
        description="Predict a job on a cluster from the rates that `fastface bench` measured on"
        " a machine of its kind.",
    )
    parser.add_argument("--faces", type=_count, required=True, metavar="N", help="such as 1e9")
    parser.add_argument("--dim", type=_count, default=128, metavar="D", help="(%(default)s)")
    parser.add_argument("--neighbors", type=_count, default=80, metavar="K", help="(%(default)s)")
    parser.add_argument(
        "--region-rows", type=_count, default=20_000, metavar="N", help="(%(default)s)"
    )
    parser.add_argument(
        "--people-rows", type=_count, default=200_000, metavar="N", help="(%(default)s)"
    )
    parser.add_argument(
        "--photos",
        type=_count,
        default=0,
        metavar="N",
        help="0: embeddings are given (%(default)s)",
    )
    parser.add_argument(
        "--megapixels", type=float, default=2.0, metavar="M", help="of a photo (%(default)s)"
    )
    parser.add_argument(
        "--clusters", type=_count, default=0, metavar="K", help="of k-means; 0: none (%(default)s)"
    )
    parser.add_argument("--workers", type=_count, default=1, metavar="N", help="(%(default)s)")
    parser.add_argument("--cores", type=_count, default=8, metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--memory", default="32GiB", metavar="BYTES", help="of a worker (%(default)s)"
    )
    parser.add_argument(
        "--network", type=float, default=10.0, metavar="GBIT", help="Gbit/s (%(default)s)"
    )
    parser.add_argument(
        "--disk", type=float, metavar="MB", help="MB/s of a worker's disk (as measured)"
    )
    parser.add_argument(
        "--price", type=float, default=0.0, metavar="P", help="of a worker an hour (%(default)s)"
    )
    parser.add_argument(
        "--rates", default="rates.json", metavar="FILE", help="of `fastface bench` (%(default)s)"
    )
    parser.set_defaults(call=call)


def _count(text: str) -> int:
    """Read 1000000, 1e6 or 1_000_000."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not (0 <= value < 1e15 and value == int(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 0 or more")
    return int(value)


def call(options: argparse.Namespace) -> int:
    """Predict and say."""
    from fastface.planning import Cluster, Job, load_rates, memory_of_caller, predict
    from fastface.validation import check_bytes

    for name in ("faces", "dim", "neighbors", "region_rows", "people_rows", "workers", "cores"):
        if getattr(options, name) < 1:
            raise InvalidInputError(f"--{name.replace('_', '-')} must be at least 1")
    for name in ("network", "megapixels"):
        if not getattr(options, name) > 0:
            raise InvalidInputError(f"--{name} must be above 0")
    if options.price < 0 or (options.disk is not None and not options.disk > 0):
        raise InvalidInputError("--price must be 0 or more, --disk above 0")
    memory = check_bytes(options.memory, name="--memory")
    job = Job(
        options.faces,
        options.dim,
        options.neighbors,
        options.region_rows,
        options.people_rows,
        options.clusters,
        options.photos,
        options.megapixels,
    )
    cluster = Cluster(
        options.workers,
        options.cores,
        memory,
        options.network * 1e9 / 8,
        None if options.disk is None else options.disk * 1e6,
        options.price,
    )
    rates = load_rates(options.rates)
    stages = predict(job, cluster, rates)
    if options.json:
        rest = {**_total(stages), "memory_of_caller": memory_of_caller(job)}
        print_json({"stages": [asdict(stage) for stage in stages], **rest})
        return 0
    for line in _table(stages):
        print(line)
    total = _total(stages)
    print(f"in all: {_time(total['seconds'])}, {total['money']:,.2f} for the machines")
    print(f"memory of the process that asks: {_bytes(memory_of_caller(job))}")
    if rates.dim != job.dim:
        print(f"(rates of {rates.dim} features, scaled; `fastface bench --dim {job.dim}` is surer)")
    short = [stage.name for stage in stages if stage.least_memory > memory]
    if short:
        print(
            f"too little memory for {', '.join(short)}: give workers more, fewer cores, or a"
            " smaller --region-rows"
        )
    return 0


def _total(stages: list[Stage]) -> dict[str, float]:
    return {
        "seconds": sum(stage.seconds for stage in stages),
        "money": sum(stage.money for stage in stages),
    }


def _table(stages: list[Stage]) -> list[str]:
    cells = [list(_HEADERS)] + [
        [
            stage.name,
            _time(stage.seconds),
            _bytes(stage.memory),
            _bytes(stage.least_memory),
            _bytes(stage.disk),
            _bytes(stage.network),
            f"{stage.money:,.2f}",
            stage.bound,
        ]
        for stage in stages
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEADERS))]
    return [
        "  ".join(
            cell.ljust(width) if i in (0, len(_HEADERS) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _time(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _bytes(count: float) -> str:
    for size, unit in ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
