"""What subcommands share: where progress goes, and results as JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any

from fastface.progress import NullProgress, Progress, TerminalProgress

__all__ = ["choose_progress", "print_json", "printable"]


def choose_progress(options: argparse.Namespace) -> Progress:
    """Return silence for ``--quiet``, else progress on stderr."""
    return NullProgress() if options.quiet else TerminalProgress()


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def printable(text: str) -> str:
    """Escape what a terminal would obey or a line would break at: names of files are not ours."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
