"""Encryption at rest: files of a run folder that holds ``encryption.json`` are sealed.

Whoever reads or writes such files need not know: they ask for `reading` or `writing`, and get the
file itself where nothing is encrypted.
"""

from __future__ import annotations

from fastface.vault.files import (
    ENCRYPTION_FILE,
    is_encrypted,
    load_array,
    read_bytes,
    reading,
    seal_folder,
    write_bytes,
    writing,
)
from fastface.vault.tables import open_table, read_columns

__all__ = [
    "ENCRYPTION_FILE",
    "is_encrypted",
    "load_array",
    "open_table",
    "read_bytes",
    "read_columns",
    "reading",
    "seal_folder",
    "write_bytes",
    "writing",
]
