"""Looking for what must be gone: a search of every byte of a folder.

Files that pack what they hold (Parquet, zip) are searched as they lie and unpacked, encrypted ones
decrypted.
"""

from __future__ import annotations

import hashlib
import html
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastface.report.text import visible
from fastface.vault import reading

__all__ = ["Trace", "find_traces", "text_traces"]

_KEY = 8
_BLOCK = 1 << 22
_TABLE_ROWS = 4096
_SHORTEST_TEXT = 3


@dataclass(frozen=True)
class Trace:
    """What to look for, without being it: eight of its bytes and a digest of all.

    Attributes
    ----------
    kind : str
        ``"vector"``, ``"crop"`` or ``"text"``.
    key : str
        Eight bytes of it in hexadecimal; fewer where it is shorter.
    offset : int
        Where in it they are.
    length : int
    sha256 : str
    """

    kind: str
    key: str
    offset: int
    length: int
    sha256: str

    @classmethod
    def of(cls, kind: str, content: bytes) -> Trace:
        """Describe some bytes, by those eight of them that are least likely to occur elsewhere."""
        starts = range(0, max(1, len(content) - _KEY + 1), max(1, len(content) // 64))
        start = max(starts, key=lambda at: len(set(content[at : at + _KEY])))
        key = content[start : start + _KEY].hex()
        return cls(kind, key, start, len(content), hashlib.sha256(content).hexdigest())

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def text_traces(texts: Iterable[str], kept: Iterable[str]) -> tuple[list[Trace], list[str]]:
    """Return traces of texts in every spelling that files use, and the texts with none.

    A text that is part of one that stays (``a.jpg`` of ``aa.jpg``), or very short, is found
    everywhere, which proves nothing; it is looked for in the tables' cells instead.

    Parameters
    ----------
    texts : iterable of str
        Names of people and photos.
    kept : iterable of str
        All texts that stay.
    """
    everything = "\0".join(kept)
    traces: dict[str, Trace] = {}
    untraceable = []
    for text in dict.fromkeys(texts):
        if len(text.encode()) < _SHORTEST_TEXT or text in everything:
            untraceable.append(text)
            continue
        spellings = (
            text,
            html.escape(visible(text)),
            json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1],
            quote(text),
        )
        for spelling in spellings:
            traces.setdefault(spelling, Trace.of("text", spelling.encode()))
    return list(traces.values()), untraceable


def find_traces(folder: Path, traces: Sequence[Trace], *, skip: Sequence[Path] = ()) -> list[str]:
    """Search every file below a folder.

    Parameters
    ----------
    folder : Path
        Links in it are not followed.
    traces : sequence of Trace
        What to look for.
    skip : sequence of Path
        Folders to leave out.

    Returns
    -------
    list of str
        ``"file: kind"`` for every file with a trace.
    """
    search = _Search(traces)
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or any(s in path.parents for s in skip):
            continue
        kinds = {kind for blocks in _views(path) for kind in search.kinds(blocks)}
        kinds |= search.kinds(iter([str(path.relative_to(folder)).encode("utf-8", "replace")]))
        found += [f"{path.relative_to(folder)}: {kind}" for kind in sorted(kinds)]
    return found


class _Search:
    """Many needles at once: a table of their first two bytes, then their keys, then digests."""

    def __init__(self, traces: Sequence[Trace]) -> None:
        self._whole = [t for t in traces if len(t.key) == 2 * _KEY]
        self._short = [t for t in traces if len(t.key) < 2 * _KEY]
        keys = np.array([_number(bytes.fromhex(t.key)) for t in self._whole], np.uint64)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._begins = np.zeros(1 << 16, bool)
        self._begins[(self._keys & np.uint64(0xFFFF)).astype(np.int64)] = True
        self._overlap = max((t.length for t in traces), default=1)

    def kinds(self, blocks: Iterator[bytes]) -> set[str]:
        """Return the kinds of what is found in a stream."""
        found: set[str] = set()
        before = b""
        for block in blocks:
            window = before + block
            found |= self._in(window)
            # Needles are found by a key in their middle: both sides of it must be there.
            before = window[-2 * self._overlap :]
        return found

    def _in(self, window: bytes) -> set[str]:
        found = {t.kind for t in self._short if bytes.fromhex(t.key) in window}
        if not len(self._keys) or len(window) < _KEY:
            return found
        data = np.frombuffer(window, np.uint8)
        pairs = data[:-1].astype(np.uint16) | (data[1:].astype(np.uint16) << 8)
        at = np.flatnonzero(self._begins[pairs[: len(data) - _KEY + 1]])
        numbers = np.zeros(len(at), np.uint64)
        for byte in range(_KEY):
            numbers |= data[at + byte].astype(np.uint64) << np.uint64(8 * byte)
        first = np.searchsorted(self._keys, numbers, "left")
        last = np.searchsorted(self._keys, numbers, "right")
        for hit in np.flatnonzero(last > first):
            for place in range(first[hit], last[hit]):
                trace = self._whole[self._order[place]]
                start = int(at[hit]) - trace.offset
                content = window[max(start, 0) : start + trace.length]
                if start >= 0 and hashlib.sha256(content).hexdigest() == trace.sha256:
                    found.add(trace.kind)
        return found


def _number(key: bytes) -> int:
    return int.from_bytes(key, "little")


def _views(path: Path) -> Iterator[Iterator[bytes]]:
    """Yield the content of a file as it lies, then what it packs."""
    with reading(path) as source:
        file = source.open("rb") if isinstance(source, Path) else source
        with file:
            magic = file.read(4)
            file.seek(0)
            yield _blocks(file)
    with reading(path) as source:
        yield from _unpacked(source, magic)


def _unpacked(source: Path | BinaryIO, magic: bytes) -> Iterator[Iterator[bytes]]:
    if magic == b"PAR1":
        yield _cells(source)
    elif magic == b"PK\x03\x04":
        with zipfile.ZipFile(source) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    yield _blocks(stream)


def _blocks(file: BinaryIO | Any) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _cells(source: Path | BinaryIO) -> Iterator[bytes]:
    with pq.ParquetFile(source) as file:
        for batch in file.iter_batches(_TABLE_ROWS):
            for column in batch.columns:
                for buffer in column.buffers():
                    if buffer is not None:
                        yield buffer.to_pybytes()


def row_traces(rows: NDArray[Any]) -> list[Trace]:
    """Return a trace of every row of a matrix."""
    return [Trace.of("vector", row.tobytes()) for row in np.ascontiguousarray(rows)]
