"""Every error fastface raises on purpose.

All derive from `FastfaceError`, so one ``except`` catches them; each also derives from the
built-in that callers who do not know fastface would expect.  A message says what was given, what
is allowed, and what to do next.

::

    FastfaceError
    ├── InvalidInputError (ValueError)          an argument or array the call cannot work with
    ├── BackendUnavailableError (RuntimeError)  an explicit device or instruction set is absent
    ├── MissingDependencyError (ImportError)    an optional package is needed: names the extra
    ├── ModelError (ValueError)                 a model file cannot be found, read or trusted
    ├── ImageError (ValueError)                 a photo cannot be used; carries a reason code
    ├── NoFacesError (ValueError)               a whole job found nothing to work on
    └── StorageError (OSError)                  a file or folder of results cannot be used
        ├── RunMismatchError                    the run folder was made with other parameters
        ├── RunLockedError                      another process is working in the run folder
        ├── EncryptionError                     an encrypted folder, and no key or another one
        └── CorruptFileError                    a file is truncated or damaged
"""

from __future__ import annotations

__all__ = [
    "BackendUnavailableError",
    "CorruptFileError",
    "EncryptionError",
    "FastfaceError",
    "ImageError",
    "InvalidInputError",
    "MissingDependencyError",
    "ModelError",
    "NoFacesError",
    "RunLockedError",
    "RunMismatchError",
    "StorageError",
]


class FastfaceError(Exception):
    """Base of every error fastface raises on purpose."""


class InvalidInputError(FastfaceError, ValueError):
    """An argument or array that the call cannot work with."""


class BackendUnavailableError(FastfaceError, RuntimeError):
    """A device or instruction set was asked for by name and is not there."""


class MissingDependencyError(FastfaceError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""

    @classmethod
    def for_package(cls, package: str, *, extra: str, purpose: str) -> MissingDependencyError:
        """Return the error with the usual message: what is missing, what for, what brings it.

        Parameters
        ----------
        package : str
            Name on the package index.
        extra : str
            The extra of fastface that brings it.
        purpose : str
            What needs it; the beginning of a sentence.
        """
        return cls(f"{purpose} needs {package}: pip install 'fastface[{extra}]'")


class ModelError(FastfaceError, ValueError):
    """A model file that cannot be found, read or trusted."""


class ImageError(FastfaceError, ValueError):
    """A photo that cannot be used.

    Parameters
    ----------
    message : str
        What is wrong, for a person.
    reason : str
        A short code for tables and counting, such as ``"truncated"``.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel between worker processes; keyword-only arguments need help to.
        return _restore_image_error, (str(self), self.reason)


def _restore_image_error(message: str, reason: str) -> ImageError:
    return ImageError(message, reason=reason)


class NoFacesError(FastfaceError, ValueError):
    """A whole job found nothing to work on."""


class StorageError(FastfaceError, OSError):
    """A file or folder of results that cannot be read or written."""


class RunMismatchError(StorageError):
    """A run folder was made with other parameters or from other photos."""


class RunLockedError(StorageError):
    """Another process is working in the run folder."""


class EncryptionError(StorageError):
    """A folder is encrypted, and the key is missing or another one."""


class CorruptFileError(StorageError):
    """A file is truncated or damaged."""
