"""What subcommands share: where progress goes, and results as JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any

from fastface.progress import NullProgress, Progress, TerminalProgress

__all__ = ["choose_progress", "print_json"]


def choose_progress(options: argparse.Namespace) -> Progress:
    """Return silence for ``--quiet``, else progress on stderr."""
    return NullProgress() if options.quiet else TerminalProgress()


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
