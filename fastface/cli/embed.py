"""``fastface embed``: photos in, vectors out."""

from __future__ import annotations

import argparse
from typing import Any

from fastface.cli.job_options import add_job_options, call_job
from fastface.cli.output import print_json, printable


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "embed",
        parents=[common],
        help="find and embed faces, without grouping them",
        description="Like run, but stops at embeddings.npy and faces.parquet.",
    )
    add_job_options(parser)
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the job up to the embeddings."""
    result = call_job(options, group=False, report=False)
    if options.json:
        print_json(
            {"folder": str(result.folder), "photos": result.n_photos, "faces": result.n_faces}
        )
    else:
        vectors = printable(str(result.folder / "embeddings.npy"))
        print(f"{result.n_photos} photos, {result.n_faces} faces: {vectors}")
    return 0
