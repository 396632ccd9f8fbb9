"""The report: a folder of plain pages that opens from disk with no network and no JavaScript."""

from __future__ import annotations

from .write import write_report

__all__ = ["write_report"]
