"""The ``fastface`` command: one file a subcommand."""

from __future__ import annotations

from fastface.cli.main import main

__all__ = ["main"]
