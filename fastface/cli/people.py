"""``fastface people``: who is there, and corrections that last."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastface.cli.describe import describe_change
from fastface.cli.output import print_json, printable
from fastface.errors import MissingDependencyError

if TYPE_CHECKING:
    from fastface.pipeline import People
    from fastface.pipeline.history import Record

_DESCRIPTION = """\
Look at the people of a run folder, and correct them. Corrections change the tables at once and are
kept in RUN/history.jsonl: later runs in the same folder, with --force and other photos too, group
all other faces around them. PERSON is an id, or a name that one person bears; FACE is a number in
the report and in faces.parquet.
"""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "people", help="list, merge, split and name people", description=_DESCRIPTION
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, text: str, call: Callable[[Any, People], Record]) -> Any:
        action = actions.add_parser(name, parents=[common], help=text, description=f"{text}.")
        action.add_argument("run", metavar="RUN", help="the run folder")
        action.set_defaults(call=_call, correct=call)
        return action

    listed = add("list", "who is there", lambda _, __: None)  # type: ignore[arg-type, return-value]
    listed.add_argument("--sort", default="size", help="size, doubt or name (%(default)s)")
    listed.set_defaults(call=_list)

    merge = add(
        "merge",
        "people are one: the first keeps its id",
        lambda options, people: people.merge(options.people, anyway=options.anyway),
    )
    merge.add_argument("people", metavar="PERSON", nargs="+")
    merge.add_argument(
        "--anyway", action="store_true", help="though an earlier correction makes them two"
    )

    split = add(
        "split",
        "faces of a person are another, new person",
        lambda options, people: people.split(options.person, options.faces),
    )
    split.add_argument("person", metavar="PERSON")
    split.add_argument("--faces", type=int, nargs="+", metavar="FACE", required=True)

    move = add(
        "move",
        "faces are of another person",
        lambda options, people: people.move(options.faces, options.to),
    )
    move.add_argument("--faces", type=int, nargs="+", metavar="FACE", required=True)
    move.add_argument("--to", metavar="PERSON", required=True)

    apart = add(
        "apart",
        "two people are two, however alike",
        lambda options, people: people.apart(*options.people),
    )
    apart.add_argument("people", metavar="PERSON", nargs=2)

    name = add(
        "name",
        "give a person a name, or none",
        lambda options, people: people.name(options.person, options.name),
    )
    name.add_argument("person", metavar="PERSON")
    name.add_argument("name", metavar="NAME", nargs="?", help="without it, the name is taken away")

    undo = add(
        "undo",
        "take back a correction, the last by default",
        lambda options, people: people.undo(options.number),
    )
    undo.add_argument("number", metavar="NUMBER", type=int, nargs="?", help="as history shows it")

    history = add("history", "what was corrected, and what became of people", lambda _, __: None)  # type: ignore[arg-type, return-value]
    history.set_defaults(call=_history)


def _open(options: argparse.Namespace) -> People:
    try:
        from fastface.pipeline import People
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_package(
            error.name or "a package", extra="faces,report", purpose="Working on a run folder"
        ) from error
    return People(options.run)


def _call(options: argparse.Namespace) -> int:
    record = options.correct(options, _open(options))
    if options.json:
        print_json(asdict(record))
    else:
        print(printable(str(record)))
        print(f"`fastface report {printable(options.run)}` shows it on the page")
    return 0


def _list(options: argparse.Namespace) -> int:
    people = _open(options).everybody(options.sort)
    if options.json:
        print_json([asdict(person) for person in people])
        return 0
    print("     id   faces  photos  sure  name")
    for person in people:
        print(
            f"{person.person_id:7} {person.n_faces:7} {person.n_photos:7}"
            f"  {person.confidence:.2f}  {printable(person.name or '')}".rstrip()
        )
    return 0


def _history(options: argparse.Namespace) -> int:
    records = _open(options).history()
    if options.json:
        print_json([asdict(record) for record in records])
        return 0
    undone = {record.undoes for record in records}
    for record in records:
        print(printable(str(record)) + (" (taken back)" if record.number in undone else ""))
        for change in record.changes:
            print(f"     {describe_change(change)}")
    return 0
