"""``fastface run``: photos in, people out."""

from __future__ import annotations

import argparse
from itertools import chain
from typing import TYPE_CHECKING, Any

from fastface.cli.describe import describe_changes, describe_people, describe_skipped
from fastface.cli.job_options import add_job_options, call_job
from fastface.cli.output import print_json, printable
from fastface.vault import is_encrypted

if TYPE_CHECKING:
    from fastface.pipeline import RunResult


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "run",
        parents=[common],
        help="group the faces of a folder of photos into people",
        description="Find, embed and group faces. The same command continues a stopped run.",
    )
    add_job_options(parser)
    parser.add_argument(
        "--method", default="auto", help="auto, overlap-linkage or chinese-whispers"
    )
    parser.add_argument("--no-report", action="store_true", help="tables only, no pages")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the job and say what came of it."""
    result = call_job(options, method=options.method, report=False if options.no_report else None)
    if options.json:
        print_json(
            {
                "folder": str(result.folder),
                "photos": result.n_photos,
                "faces": result.n_faces,
                "people": result.n_people,
                "skipped": result.n_skipped,
                "report": str(result.report) if result.report else None,
                "reused": result.reused,
            }
        )
    else:
        _print_result(result)
    return 0


def _print_result(result: RunResult) -> None:
    if result.reused:
        print("finished already, with the same photos and parameters:")
    print(f"{result.n_photos} photos, {result.n_faces} faces, {result.n_people} people")
    told = [describe_people(result.folder), describe_skipped(result.folder)]
    if not result.reused:
        told.append(describe_changes(result.folder))
    for line in chain(*told):
        print(line)
    print(f"tables: {printable(str(result.folder))}")
    if result.report:
        print(f"report: {printable(str(result.report))}")
    elif is_encrypted(result.folder):
        print("no report: its pages are not encrypted, `fastface report RUN` writes them")
