"""Files that are there are whole: how they are put in place, and one format with checksums."""

from __future__ import annotations

from fastface.storage.arrays import read_arrays, write_arrays
from fastface.storage.files import replacing, storage_errors, sync_folder

__all__ = ["read_arrays", "replacing", "storage_errors", "sync_folder", "write_arrays"]
