"""``fastface bench``: how fast this machine is, for `fastface plan`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastface.cli.output import choose_progress, print_json, printable
from fastface.errors import StorageError


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "bench",
        parents=[common],
        help="measure what this machine can do, for plan",
        description="Measure this machine in a minute or two; `fastface plan` reads the file.",
    )
    parser.add_argument(
        "--out", "-o", default="rates.json", metavar="FILE", help="where to (%(default)s)"
    )
    parser.add_argument(
        "--dim", type=int, default=128, metavar="D", help="features of embeddings (%(default)s)"
    )
    parser.add_argument(
        "--neighbors", type=int, default=80, metavar="K", help="neighbours of a face (%(default)s)"
    )
    parser.add_argument("--folder", metavar="FOLDER", help="on the disk that is to be measured")
    parser.add_argument("--force", action="store_true", help="replace an existing FILE")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Measure, write, say."""
    from fastface.planning import measure_rates, save_rates
    from fastface.validation import check_integer

    target = Path(options.out)
    if target.exists() and not options.force:
        raise StorageError(f"{target} is there already: give another --out, or --force")
    rates = measure_rates(
        dim=check_integer(options.dim, name="--dim", low=1),
        n_neighbors=check_integer(options.neighbors, name="--neighbors", low=1, high=1000),
        folder=options.folder,
        progress=choose_progress(options),
    )
    save_rates(rates, target)
    if options.json:
        print_json(asdict(rates))
        return 0
    print(rates.machine)
    for line in (
        _rate("find faces", rates.find_per_megapixel, "megapixels"),
        _rate("embed", rates.embed_per_face, "faces"),
        _rate("nearest of 50,000", rates.search_fixed + 50_000 * rates.search_per_row, "faces"),
        _rate("people", rates.people.workers.per_row, "faces"),
        f"compare rows: {2e-9 / rates.assign_per_flop:.0f} GFLOP/s a core",
        f"disk: {rates.write_bytes / 1e6:.0f} MB/s written, {rates.read_bytes / 1e6:.0f} read",
    ):
        print(line)
    print(f"rates: {printable(str(target))}")
    return 0


def _rate(name: str, seconds: float | None, unit: str) -> str:
    if seconds is None:
        return f"{name}: not installed"
    if seconds <= 0:
        return f"{name}: too fast to measure"
    return f"{name}: {1 / seconds:,.1f} {unit}/s a core"
