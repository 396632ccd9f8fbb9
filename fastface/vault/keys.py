"""The key of an encrypted folder, and what it is unlocked by.

Every folder has a random key of its own.  ``encryption.json`` holds it wrapped by another, which
comes from a file (``FASTFACE_KEY_FILE``, by HKDF) or a passphrase (``FASTFACE_PASSPHRASE``, by
scrypt), so that these can be wrong and nothing is damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from fastface import private
from fastface.errors import CorruptFileError, EncryptionError, InvalidInputError
from fastface.vault.sealed import cryptography

__all__ = ["make_key", "unlock"]

_FORMAT = "fastface-encryption-1"
_KEY_FILE = "FASTFACE_KEY_FILE"
_PASSPHRASE = "FASTFACE_PASSPHRASE"  # noqa: S105 - the name of a variable
_HOW = f"set {_KEY_FILE} to a file of 32 random bytes or more, or {_PASSPHRASE}"
_SHORTEST_KEY_FILE = 32
_LARGEST_FILE = 1 << 16
# 128 MiB and about a third of a second: what OWASP recommends for interactive use.
_SCRYPT = {"n": 1 << 17, "r": 8, "p": 1}
# A hostile folder must not make us compute for long.
_SCRYPT_LIMITS = {"n": 1 << 20, "r": 16, "p": 4}

_unlocked: dict[tuple[bytes, bytes], bytes] = {}


def make_key(path: Path) -> None:
    """Write ``encryption.json`` with a new key, wrapped by what the environment gives.

    Raises
    ------
    EncryptionError
        If the environment gives nothing.
    InvalidInputError
        If it gives a key that is too short.
    """
    kind, secret = _secret(None)
    salt = os.urandom(16)
    about: dict[str, Any] = {
        "format": _FORMAT,
        "cipher": "AES-256-GCM",
        "unlocked_by": kind,
        "salt": salt.hex(),
        **({"scrypt": _SCRYPT} if kind == "passphrase" else {}),
    }
    nonce = os.urandom(12)
    wrapped = _aead(kind, secret, salt, _SCRYPT).encrypt(nonce, os.urandom(32), None)
    about["wrapped_key"] = (nonce + wrapped).hex()
    part = path.with_name(f".{path.name}.part")
    with private.create(part) as file:
        file.write(json.dumps(about, indent=2).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def unlock(path: Path) -> bytes:
    """Return the key of a folder.

    Parameters
    ----------
    path : Path
        Its ``encryption.json``.

    Raises
    ------
    EncryptionError
        If the environment gives no key, or another one.
    CorruptFileError
        If the file is damaged.
    """
    content = path.read_bytes() if path.stat().st_size <= _LARGEST_FILE else b""
    try:
        about = json.loads(content)
        kind, costs = about["unlocked_by"], about.get("scrypt", {})
        salt, wrapped = bytes.fromhex(about["salt"]), bytes.fromhex(about["wrapped_key"])
        if about["format"] != _FORMAT or kind not in ("passphrase", "key file"):
            raise ValueError("unknown format")
        if kind == "passphrase" and not all(
            isinstance(costs[name], int) and 0 < costs[name] <= most
            for name, most in _SCRYPT_LIMITS.items()
        ):
            raise ValueError("impossible costs")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFileError(
            f"{path} is damaged: without it nothing in the folder can be read; put it back from"
            " a copy"
        ) from error
    kind, secret = _secret(kind, path.parent)
    known = content, hashlib.sha256(secret).digest()
    if known not in _unlocked:
        try:
            aead = _aead(kind, secret, salt, costs)
            _unlocked[known] = aead.decrypt(wrapped[:12], wrapped[12:], None)
        except (cryptography("exceptions").InvalidTag, ValueError) as error:
            raise EncryptionError(
                f"{path.parent} is encrypted with another {kind} than the one given"
            ) from error
    return _unlocked[known]


def _secret(kind: str | None, folder: Path | None = None) -> tuple[str, bytes]:
    """Return what the environment gives: a key file, or else a passphrase."""
    file, phrase = os.environ.get(_KEY_FILE), os.environ.get(_PASSPHRASE)
    if file and kind != "passphrase":
        return "key file", _read_key_file(Path(file).expanduser())
    if phrase and kind != "key file":
        return "passphrase", phrase.encode("utf-8", "surrogateescape")
    if kind is None:
        raise EncryptionError(f"encryption needs a key: {_HOW}")
    variable = _KEY_FILE if kind == "key file" else _PASSPHRASE
    raise EncryptionError(f"{folder} is encrypted with a {kind}: set {variable}")


def _read_key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE)
    except OSError as error:
        raise EncryptionError(f"{_KEY_FILE}: {path} cannot be read: {error.strerror}") from error
    if len(content) < _SHORTEST_KEY_FILE:
        raise InvalidInputError(
            f"{_KEY_FILE}: {path} holds {len(content)} bytes; {_SHORTEST_KEY_FILE} random ones are"
            " wanted, as from: head -c 32 /dev/urandom"
        )
    return content


def _aead(kind: str, secret: bytes, salt: bytes, costs: dict[str, int]) -> Any:
    if kind == "passphrase":
        scrypt = cryptography("hazmat.primitives.kdf.scrypt").Scrypt
        key = scrypt(salt=salt, length=32, **{name: costs[name] for name in _SCRYPT}).derive(secret)
    else:
        hashes = cryptography("hazmat.primitives.hashes")
        hkdf = cryptography("hazmat.primitives.kdf.hkdf").HKDF
        key = hkdf(hashes.SHA256(), 32, salt, b"fastface key file").derive(secret)
    return cryptography("hazmat.primitives.ciphers.aead").AESGCM(key)
