"""``fastface forget``: remove people and photos from a run folder, and prove it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastface.cli.output import print_json, printable
from fastface.errors import MissingDependencyError

if TYPE_CHECKING:
    from fastface.pipeline import Removal

_EPILOG = """\
Faces, crops, vectors, names, and the pages that showed them are removed; then every byte of the
folder is searched for them. Other people keep their numbers. The photos themselves, and copies of
the folder elsewhere, are not touched.

A list of content hashes (forgotten.json) keeps `fastface run` from bringing them back;
`fastface run --force --include-forgotten` does so when asked. A new photo of a person who was
forgotten shows them as somebody new: to know them, one would have to keep their vector.
"""
_SHOWN = 4


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "forget",
        parents=[common],
        help="remove people and photos from a run folder, and prove it",
        description="Remove people and photos from a run folder, with everything made of them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument(
        "what",
        nargs="+",
        metavar="PERSON|PHOTO",
        help="a person's number or name, or a photo's path; person: or photo: before it says which",
    )
    parser.add_argument("--photos", metavar="FOLDER", help="where the photos are now")
    parser.set_defaults(call=call, repeatable=True)


def call(options: argparse.Namespace) -> int:
    """Forget, and say what is gone."""
    try:
        from fastface.pipeline import forget
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="faces,report", purpose="Working on run folders"
        ) from error
    removal = forget(options.run, options.what, photos=options.photos)
    if options.json:
        print_json(asdict(removal))
        return 0
    for line in _describe(removal):
        print(line)
    return 0


def _describe(removal: Removal) -> Iterator[str]:
    yield f"removed {removal.people} people, {removal.photos} photos, {removal.faces} faces"
    yield (
        f"looked through every byte of {removal.files} files: no trace of {removal.vectors}"
        f" vectors, {removal.crops} crops and {removal.texts} names"
    )
    if removal.shared:
        yield f"  {removal.shared} vectors or crops also belong to faces that stay"
    if removal.untraceable:
        yield (
            "  gone from the tables, but too short or part of other names to look for in every"
            f" byte: {_join(removal.untraceable)}"
        )
    if removal.unreadable:
        yield f"  no longer there, so not known if they come back: {_join(removal.unreadable)}"
    if removal.shards:
        yield f"  {removal.shards} finished pieces of the job will be made again"
    for name in removal.removed:
        yield f"  {name}/ showed them and is gone: `fastface {name} RUN` makes it again"


def _join(names: tuple[str, ...]) -> str:
    shown = ", ".join(printable(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
