"""``fastface report``: write the pages of a run folder again."""

from __future__ import annotations

import argparse
from typing import Any

from fastface.cli.output import choose_progress, print_json, printable
from fastface.errors import MissingDependencyError


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "report",
        parents=[common],
        help="write the pages of a run folder",
        description="Write RUN/report from the tables of a finished run folder.",
    )
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("--photos", metavar="FOLDER", help="where the photos are now")
    parser.add_argument(
        "--sort",
        default="doubt",
        help="people: doubt (most doubtful first), size or name (%(default)s)",
    )
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Write the report."""
    try:
        from fastface.report import write_report
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="report", purpose="The report"
        ) from error
    page = write_report(
        options.run,
        photo_root=options.photos,
        order=options.sort,
        progress=choose_progress(options),
    )
    if options.json:
        print_json({"report": str(page)})
    else:
        print(f"report: {printable(str(page))}")
    return 0
