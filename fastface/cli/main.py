"""Parse the command line, call the subcommand, turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import fastface
from fastface.cli import (
    attributes,
    bench,
    cluster,
    doctor,
    embed,
    engines,
    export,
    forget,
    models,
    people,
    plan,
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

exit codes: 0 done, 1 error, 2 wrong arguments, 3 no photos or no faces, 130 stopped by Ctrl-C,
143 by SIGTERM
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
        bench,
        plan,
        doctor,
    ):
        module.add_parser(commands, common)
    return parser


class _TerminatedError(KeyboardInterrupt):
    """Somebody asked this process to end: whatever Ctrl-C cleans up is cleaned up for them too."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end what is inside as Ctrl-C does."""

    def terminate(*_: object) -> None:
        raise _TerminatedError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; ``sys.argv`` by default.

    Returns
    -------
    int
        The exit code: 0 done, 1 error, 3 nothing to work on, 130 stopped by Ctrl-C, 143 by
        SIGTERM.  Wrong arguments raise ``SystemExit(2)``.
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
        with _terminable():
            code: int = options.call(options)
    except FastfaceError as error:
        if os.environ.get("FASTFACE_DEBUG") == "1":
            raise
        print(f"fastface: error: {printable(str(error))}", file=sys.stderr)
        return 3 if isinstance(error, NoFacesError) else 1
    except KeyboardInterrupt as error:
        more = "; the same command goes on where it was" if "resumes" in options else ""
        print(f"\nfastface: stopped{more}", file=sys.stderr)
        return 143 if isinstance(error, _TerminatedError) else 130
    except BrokenPipeError:
        # The reader of our output has gone (as in `| head`): nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
