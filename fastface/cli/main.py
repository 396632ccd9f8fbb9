"""Parse the command line, call the subcommand, turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence

import fastface
from fastface.cli import (
    attributes,
    cluster,
    doctor,
    embed,
    engines,
    export,
    forget,
    models,
    people,
    report,
    run,
)
from fastface.cli.output import printable
from fastface.errors import FastfaceError, NoFacesError

__all__ = ["main"]

_EPILOG = """\
examples:
  fastface run photos/ --out people        who is who, with a page to look at
  fastface cluster embeddings.npy -o labels.npy
  fastface export dlib-resnet --precision int8 -o int8.onnx
  fastface doctor                          what is installed, and what to do about the rest

exit codes: 0 done, 1 error, 2 wrong arguments, 3 no photos or no faces, 130 stopped by Ctrl-C
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastface",
        description="Who is who in a collection of face photos.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastface {fastface.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--quiet", "-q", action="store_true", help="no progress")
    common.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    for module in (
        run,
        embed,
        cluster,
        people,
        attributes,
        report,
        forget,
        export,
        models,
        engines,
        doctor,
    ):
        module.add_parser(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; ``sys.argv`` by default.

    Returns
    -------
    int
        The exit code: 0 done, 1 error, 3 nothing to work on, 130 stopped by Ctrl-C.  Wrong
        arguments raise ``SystemExit(2)``.
    """
    options = _parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _call(options)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"fastface: warning: {printable(str(message))}", file=sys.stderr)


def _call(options: argparse.Namespace) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A photo's name that the terminal cannot show must not fail a job that is done.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code: int = options.call(options)
    except FastfaceError as error:
        if os.environ.get("FASTFACE_DEBUG") == "1":
            raise
        print(f"fastface: error: {printable(str(error))}", file=sys.stderr)
        return 3 if isinstance(error, NoFacesError) else 1
    except KeyboardInterrupt:
        more = "; the same command goes on where it was" if "resumes" in options else ""
        print(f"\nfastface: stopped{more}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (as in `| head`): nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
