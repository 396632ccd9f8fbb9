"""A sealed file: AES-256-GCM in chunks, each bound to its place and the last one marked.

A file is ``magic · salt · chunk · chunk · …``.  Its key is derived from the folder's by HKDF-SHA256
over the salt, so that no two files share one; the nonce of a chunk is its number and whether it is
the last.  So chunks that are changed, moved or missing are noticed, and any of them can be read
without those before.  (The construction is STREAM: Hoang, Reyhanitabar, Rogaway, Vizár, "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015.)
"""

from __future__ import annotations

import io
import os
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from fastface.errors import CorruptFileError, MissingDependencyError

__all__ = ["MAGIC", "SealedReader", "SealedWriter", "cryptography"]

MAGIC = b"fastface sealed 1\n"
_SALT = 16
_HEADER = len(MAGIC) + _SALT
_CHUNK = 1 << 16
_TAG = 16


def cryptography(module: str) -> Any:
    """Return a module of the package `cryptography`."""
    try:
        return import_module(f"cryptography.{module}")
    except ImportError as error:
        raise MissingDependencyError.for_package(
            "cryptography", extra="encryption", purpose="Encryption at rest"
        ) from error


class _Cipher:
    """Seals and opens the chunks of one file."""

    def __init__(self, key: bytes, salt: bytes) -> None:
        hashes = cryptography("hazmat.primitives.hashes")
        hkdf = cryptography("hazmat.primitives.kdf.hkdf").HKDF
        derived = hkdf(hashes.SHA256(), 32, salt, b"fastface file").derive(key)
        self._aead = cryptography("hazmat.primitives.ciphers.aead").AESGCM(derived)

    def seal(self, chunk: bytes, index: int, *, last: bool) -> bytes:
        sealed: bytes = self._aead.encrypt(_nonce(index, last), chunk, None)
        return sealed

    def open(self, chunk: bytes, index: int, *, last: bool) -> bytes:
        content: bytes = self._aead.decrypt(_nonce(index, last), chunk, None)
        return content


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, "big") + bytes([last])


class SealedWriter(io.RawIOBase):
    """Seals what is written, from the first byte to the last; ends the file when closed.

    Parameters
    ----------
    file : binary file
        Open for writing; closed with this one.
    key : bytes
        The folder's.
    """

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        super().__init__()
        salt = os.urandom(_SALT)
        self._file, self._cipher = file, _Cipher(key, salt)
        self._waiting = bytearray()
        self._chunks = self._written = 0
        file.write(MAGIC + salt)

    def writable(self) -> bool:
        """Whether it can be written: yes."""
        return True

    def tell(self) -> int:
        """Return how much was written."""
        return self._written

    def write(self, data: Any, /) -> int:
        """Take bytes."""
        content = memoryview(data)
        if not content.nbytes:
            return 0  # which cannot be cast
        content = content.cast("B")
        self._waiting += content
        self._written += len(content)
        # The last chunk must be marked, so a full one waits until more follows.
        while len(self._waiting) > _CHUNK:
            self._put(bytes(self._waiting[:_CHUNK]), last=False)
            del self._waiting[:_CHUNK]
        return len(content)

    def _put(self, chunk: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.seal(chunk, self._chunks, last=last))
        self._chunks += 1

    def close(self) -> None:
        """Write the last chunk."""
        if not self.closed:
            try:
                self._put(bytes(self._waiting), last=True)
            finally:
                super().close()
                self._file.close()


class SealedReader(io.RawIOBase):
    """Opens a sealed file, chunk by chunk, wherever it is read.

    Parameters
    ----------
    path : Path
    key : bytes
        The folder's.

    Raises
    ------
    CorruptFileError
        Here and when read, if the file is not as it was written.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        super().__init__()
        self._path = path
        self._file = path.open("rb")
        body = os.fstat(self._file.fileno()).st_size - _HEADER
        header = self._file.read(_HEADER)
        self._chunks = -(-body // (_CHUNK + _TAG))
        self._size = body - _TAG * self._chunks
        if header[: len(MAGIC)] != MAGIC or self._size < 0 or self._chunks < 1:
            self._file.close()
            raise self._damaged()
        self._cipher = _Cipher(key, header[len(MAGIC) :])
        self._position = 0
        self._index, self._chunk = -1, b""

    def _damaged(self) -> CorruptFileError:
        return CorruptFileError(f"{self._path} was cut off or changed after it was encrypted")

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read anywhere: yes."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Change the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer as far as the chunk at the position reaches."""
        target = memoryview(buffer).cast("B")
        index, start = divmod(self._position, _CHUNK)
        if self._position >= self._size:
            if self._size == 0:
                self._load(0)  # an empty file, too, must be as it was written
            return 0
        content = self._load(index)[start : start + len(target)]
        target[: len(content)] = content
        self._position += len(content)
        return len(content)

    def _load(self, index: int) -> bytes:
        if index != self._index:
            self._file.seek(_HEADER + index * (_CHUNK + _TAG))
            sealed = self._file.read(_CHUNK + _TAG)
            invalid = cryptography("exceptions").InvalidTag
            try:
                self._chunk = self._cipher.open(sealed, index, last=index == self._chunks - 1)
            except invalid as error:
                raise self._damaged() from error
            self._index = index
        return self._chunk

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
